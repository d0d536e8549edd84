"""The checks of national identity numbers. Each takes the number without separators, in capitals, in its right shape."""

from __future__ import annotations

from voice.redaction.validators import luhn

_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_FISCAL_ODD_LETTERS = (
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23
)  # fmt: skip
# Digits count like the letters of the same rank.
_FISCAL_ODD = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", _FISCAL_ODD_LETTERS, strict=True)) | dict(
    zip("0123456789", _FISCAL_ODD_LETTERS[:10], strict=True)
)
_NINO_UNUSED = frozenset(("BG", "GB", "NK", "KN", "TN", "NT", "ZZ"))
# Verhoeff's dihedral group D5 and its permutation (Verhoeff 1969), as UIDAI uses them for Aadhaar.
_D5 = tuple(
    tuple(int(digit) for digit in row)
    for row in (
        "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
        "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
    )
)  # fmt: skip
_PERMUTED = tuple(
    tuple(int(digit) for digit in row)
    for row in (
        "0123456789", "1576283094", "5803796142", "8916043527",
        "9453126870", "4286573901", "2793806415", "7046913258",
    )
)  # fmt: skip


def _weighted(digits: str, weights: range) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def is_ssn(value: str) -> bool:
    """US social security numbers as issued since 2011 (SSA), and taxpayer numbers in their ranges (IRS)."""
    area, group, serial = value[:3], int(value[3:5]), value[5:]
    if area in {"000", "666"} or group == 0 or serial == "0000":
        return False
    return area[0] != "9" or group in {*range(50, 66), *range(70, 89), 90, 91, 92, *range(94, 100)}


def is_nino(value: str) -> bool:
    """UK National Insurance number: no check digit, only prefixes never given out (HMRC NIM39110)."""
    return value[:2] not in _NINO_UNUSED


def is_dni(value: str) -> bool:
    """Spanish DNI and NIE: the letter is the number modulo 23."""
    number = value[:-1].translate({ord("X"): "0", ord("Y"): "1", ord("Z"): "2"})
    return _DNI_LETTERS[int(number) % 23] == value[-1]


def is_codice_fiscale(value: str) -> bool:
    """Italian tax code: the last letter checks the fifteen characters before it (D.M. 23/12/1976)."""
    total = 0
    for index, character in enumerate(value[:15]):
        even = int(character) if character.isdigit() else ord(character) - 65
        total += even if index % 2 else _FISCAL_ODD[character]
    return chr(65 + total % 26) == value[15]


def is_nir(value: str) -> bool:
    """French social security number with its key, 97 less the number modulo 97."""
    number = value[:13].replace("2A", "19").replace("2B", "18")
    return number.isdigit() and 97 - int(number) % 97 == int(value[13:])


def is_cpf(value: str) -> bool:
    """Brazilian CPF: two check digits modulo 11."""
    first = _weighted(value, range(10, 1, -1)) * 10 % 11 % 10
    second = _weighted(value, range(11, 1, -1)) * 10 % 11 % 10
    return len(set(value)) > 1 and value[9:] == f"{first}{second}"


def is_bsn(value: str) -> bool:
    """Dutch citizen service number: the "eleven test"."""
    return (_weighted(value[:8], range(9, 1, -1)) - int(value[8])) % 11 == 0 and value != "000000000"


def is_steuer_id(value: str) -> bool:
    """German tax identification number: ISO 7064 MOD 11,10."""
    product = 10
    for digit in value[:10]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(value[10])


def is_aadhaar(value: str) -> bool:
    """Indian Aadhaar number: Verhoeff."""
    check = 0
    for index, digit in enumerate(reversed(value)):
        check = _D5[check][_PERMUTED[index % 8][int(digit)]]
    return check == 0


def is_nif(value: str) -> bool:
    """Portuguese tax number: one check digit modulo 11."""
    remainder = _weighted(value[:8], range(9, 1, -1)) % 11
    return int(value[8]) == (0 if remainder < 2 else 11 - remainder)


def is_pesel(value: str) -> bool:
    """Polish PESEL: weights 1, 3, 7, 9 repeating."""
    total = sum(int(digit) * (1, 3, 7, 9)[index % 4] for index, digit in enumerate(value[:10]))
    return -total % 10 == int(value[10])


def is_sin(value: str) -> bool:
    """Canadian social insurance number: Luhn."""
    return luhn(value)


def is_rrn(value: str) -> bool:
    """Belgian national register number: modulo 97, with a leading 2 for births from 2000 on."""
    return int(value[9:]) in {97 - int(value[:9]) % 97, 97 - int("2" + value[:9]) % 97}


def is_ahv(value: str) -> bool:
    """Swiss AHV/AVS number: an EAN-13 that begins with 756."""
    return _weighted_ean(value) == 0


def _weighted_ean(value: str) -> int:
    return sum(int(digit) * (3 if index % 2 else 1) for index, digit in enumerate(value)) % 10


def is_personnummer(value: str) -> bool:
    """Swedish personal number, with or without the century: Luhn over its last ten digits."""
    return luhn(value.replace("+", "")[-10:])


def is_pps(value: str) -> bool:
    """Irish PPS number: one check letter modulo 23, over the second letter too where there is one."""
    second = ord(value[8]) - 64 if len(value) == 9 and value[8] != "W" else 0
    return "WABCDEFGHIJKLMNOPQRSTUV"[(_weighted(value[:7], range(8, 1, -1)) + second * 9) % 23] == value[7]


def is_nhs(value: str) -> bool:
    """NHS number of England and Wales: one check digit modulo 11."""
    return -_weighted(value[:9], range(10, 1, -1)) % 11 == int(value[9])
