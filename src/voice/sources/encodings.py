"""Which character encoding a text file is written in."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from charset_normalizer import from_bytes

from voice.errors import Invalid

_BLOCK = 1 << 20
_SAMPLE = 1 << 16
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What spreadsheets and survey tools write when it is not Unicode, the likelier first: ties go to the earlier one.
_LEGACY = (
    "cp1252",
    "cp1250",
    "cp1251",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
    "cp932",
    "gb18030",
    "cp949",
    "big5",
    "cp874",
    "koi8_r",
    "mac_roman",
)
# Dashes, curly quotes, ellipsis, €, ©, ®, ° and the no-break space: the same bytes in every Windows code page.
_WINDOWS_PUNCTUATION = frozenset(b"\x80\x85\x91\x92\x93\x94\x95\x96\x97\xa0\xa9\xae\xb0")
_UTF16_ZEROS = 0.3
_MOSTLY_UTF8 = 10


@dataclass(frozen=True, slots=True)
class Encoding:
    """A codec's name, and what its user should know about how it was found."""

    name: str
    note: str = ""


def named_encoding(name: str) -> Encoding:
    """The encoding a person asked for. Raises Invalid for a name that no text codec has."""
    try:
        "a".encode(codecs.lookup(name).name)
    except (LookupError, ValueError):
        raise Invalid.field(
            "--encoding", f"{name!r} is unknown; try utf-8, cp1252, utf-16 or shift_jis"
        ) from None
    return Encoding(name)


def detect_encoding(path: Path) -> Encoding:
    """The encoding of a text file: byte-order mark, UTF-16 without one, UTF-8, else the likeliest legacy code page.

    The whole file is read once, a block at a time, because the first letter that is not ASCII may come late.
    """
    with path.open("rb") as file:
        head = file.read(_SAMPLE)
    for bom, name in _BOMS:
        if head.startswith(bom):
            return Encoding(name)
    if (utf16 := _utf16_without_bom(head)) is not None:
        return Encoding(utf16)
    wrong, right, sample = _read_as_utf8(path)
    if not wrong:
        return Encoding("utf-8")
    if right >= _MOSTLY_UTF8 * wrong:
        return Encoding(
            "utf-8", f"{wrong} damaged characters (not UTF-8) were replaced by \N{REPLACEMENT CHARACTER}"
        )
    guess = _likeliest_legacy(sample)
    return Encoding(
        guess, f"the file is not UTF-8; its encoding was guessed as {guess}; --encoding names another"
    )


def _utf16_without_bom(head: bytes) -> str | None:
    half = len(head) // 2
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > _UTF16_ZEROS * half and even < odd / 10:
        return "utf-16-le"
    if even > _UTF16_ZEROS * half and odd < even / 10:
        return "utf-16-be"
    return None


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _read_as_utf8(path: Path) -> tuple[int, int, bytes]:
    """Damaged characters, sound characters beyond ASCII, and lines that hold bytes beyond ASCII."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    wrong = right = 0
    sample = bytearray()
    for block in _blocks(path):
        if block.isascii() and not decoder.getstate()[0]:
            continue
        text = decoder.decode(block)
        damaged = text.count("\N{REPLACEMENT CHARACTER}") - block.count("\N{REPLACEMENT CHARACTER}".encode())
        wrong += damaged
        right += len(text) - len(text.encode("ascii", "ignore")) - damaged
        if damaged and len(sample) < _SAMPLE:
            lines = b"\n".join(line for line in block.split(b"\n") if not line.isascii())
            sample += lines[: _SAMPLE - len(sample)]
    wrong += len(decoder.decode(b"", final=True))
    return wrong, right, bytes(sample)


def _likeliest_legacy(sample: bytes) -> str:
    if all(byte < 128 or byte in _WINDOWS_PUNCTUATION for byte in sample):
        return _LEGACY[0]
    ranked = [
        (match.coherence - match.chaos, -_LEGACY.index(name))
        for match in from_bytes(sample, cp_isolation=list(_LEGACY))
        for name in match.could_be_from_charset
        if name in _LEGACY
    ]
    return _LEGACY[-max(ranked)[1]] if ranked else _LEGACY[0]
