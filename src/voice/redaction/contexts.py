"""Words around a number that say what it is. Each looks at a short window beside the number, never at the whole text."""

from __future__ import annotations

import re

BEFORE = 48
AFTER = 24

_PHONE_WORDS = (
    r"phone|tele?phone|tel|mobile|cell(?:phone)?|landline|whats?app|viber|signal|telegram|sms|fax|hotline|"
    r"call(?:ed|ing|s|back)?|ring(?:ing)?|dial(?:l?ed|l?ing)?|text(?:ed)?|reach(?:able)?|contact|voicemail|"
    r"(?:my|our|his|her|their|the|new|old|correct|whose) (?:\w+ )?(?:number|no\.?|digits)|"
    r"telefon(?:nummer)?|handy(?:nummer)?|mobil(?:nummer|funk)?|festnetz|rufnummer|durchwahl|rückruf(?:nummer)?|"
    r"r[üu]ft?|anrufen?|angerufen|erreichbar|erreichen|meiner? nummer|"
    r"téléphone|telephone|tél|portable|appel(?:er|ez|ler|é|le)?|rappel(?:er|ez|lez)?|joindre|joignable|"
    r"(?:mon|notre|son) numéro|"
    r"tel[ée]fono|m[óo]vil|celular|ll[áa]m(?:ar|e|en|eme|enme|ame)|(?:mi|su|nuestro) número|"
    r"cellulare|chiam(?:are|ate|atemi|ami|i)|(?:mio|nostro) numero|recapito|"
    r"telefoonnummer|telefoon|mobiel(?:e)?|gsm|bel(?:len|t|de)?|bereik(?:en|baar)|(?:mijn|ons) nummer|06-nummer|"
    r"telefone|telem[óo]vel|lig(?:ar|ue|uem|a|aram)|contacto|contato|(?:meu|nosso) número|zap"
)
_REFERENCE_NOUNS = (
    r"order|invoice|receipt|ticket|case|ref(?:erence)?|tracking|parcel|shipment|shipping|package|consignment|waybill|awb|"
    r"delivery|serial|s/n|sku|part|model|item|article|product|isbn(?:-?1[03])?|issn|ean|upc|gtin|asin|barcode|imei|meid|"
    r"build|version|commit|transaction|txn|booking|reservation|confirmation|pnr|policy|contract|licen[cs]e|incident|"
    r"customer|client|member(?:ship)?|loyalty|account|user|device|session|request|trace|event|error|code|id|timestamp|"
    r"iban|bic|swift|ssn|sin|nhs|bsn|nif|dni|nie|cpf|pesel|pps|ppsn|personnummer|passport|vat|national insurance|"
    r"epoch|line|page|row|total|amount|price|batch|lot|job|task|issue|bug|pr|claim|quote|po|rma|"
    r"bestell(?:ung|nummer|nr)?|auftrag(?:s?nummer|s?nr)?|rechnung(?:s?nummer|s?nr)?|sendung(?:s?nummer|s?nr)?|"
    r"paket(?:nummer)?|kunden(?:nummer|nr)?|vertrag(?:s?nummer|s?nr)?|artikel(?:nummer|nr)?|serien(?:nummer|nr)?|"
    r"vorgang(?:s?nummer|s?nr)?|fehler(?:code|nummer)?|buchung(?:s?nummer|s?nr)?|ticketnummer|bestelnummer|"
    r"commande|facture|suivi|colis|r[ée]f(?:[ée]rence)?|dossier|s[ée]rie|r[ée]servation|erreur|"
    r"pedido|factura|seguimiento|env[íi]o|referencia|cliente|art[íi]culo|incidencia|reserva|error|"
    r"ordine|fattura|tracciamento|tracking|spedizione|pratica|articolo|seriale|prenotazione|pacco|"
    r"bestelling|factuur(?:nummer)?|zending|ordernummer|klantnummer|artikelnummer|serienummer|pakket|"
    r"encomenda|fatura|rastreio|rastreamento|refer[êe]ncia|artigo|fedex|ups|usps|dhl|hermes|gls|dpd|colissimo|chronopost"
)
_NUMBER_WORD = (
    r"(?:number|num|no|nr|nummer|id|code|key|ref|n[º°o]|num[ée]ro|n[úu]mero|numero|de|di|do|del|des|of)"
)
_COLON = r"[\s:#.=(\"'-]"

_PHONE = re.compile(rf"(?<![^\W_])(?:{_PHONE_WORDS})(?![^\W_])", re.IGNORECASE)
_REFERENCE = re.compile(
    rf"(?<![^\W_])(?:{_REFERENCE_NOUNS})(?:{_COLON}{{0,3}}{_NUMBER_WORD}(?![^\W_])){{0,2}}(?![^\W_])|#",
    re.IGNORECASE,
)
_CARD = re.compile(
    r"(?<![^\W_])(?:(?:credit|debit|bank)?\s?card|visa|master\s?card|amex|american express|discover|maestro|diners|jcb|"
    r"kreditkarte|karte(?:nnummer)?|carte|cb|tarjeta|carta|kaart|creditcard|cart[ãa]o|pan|cc)(?![^\W_])",
    re.IGNORECASE,
)
_VERSION = re.compile(
    r"(?:(?<![^\W_])(?:v|ver|vers|version|versione|versi[óo]n|vers[ãa]o|versie|build|release|firmware|fw|driver|sdk|"
    r"patch|update[ds]?|upgrad(?:e|ed|ing)|downgraded|app|ios|ipados|macos|android|chrome|chromium|firefox|safari|"
    r"edge|opera|windows|linux|kernel|electron|node|plugin|extension|library|package|"
    r"section|chapter|clause|article|paragraph|figure|table|step|abschnitt|kapitel|ziffer|punkt|sezione|capitolo|secci[óo]n|"
    r"cap[íi]tulo|chapitre|sec[çc][ãa]o|hoofdstuk|paragraaf)"
    r"(?:\s(?:to|from|is|was|on|of|auf|von|à|de|a|from))?"
    r"[\s:=#(\"'v.-]{0,3}|[A-Za-z]/|[=~>]=|\^|@|§\s?)\Z",
    re.IGNORECASE,
)
_VERSION_RANGE = re.compile(
    r"(?<![\d.])\d+\.\d+\.\d+\s?(?:to|and|or|bis|und|à|et|a|y|e|en|->|-|/|,)\s?v?\Z", re.IGNORECASE
)
_RAISED = re.compile(
    r"(?<![^\W_])(?:version|bump\w*|upgrad\w*|downgrad\w*|updat\w*|patched|fixed|released|jar|jdk|java|maven|npm|pip)(?![^\W_])",
    re.IGNORECASE,
)
_IP = re.compile(
    r"(?<![^\W_])(?:ip(?:v[46])?|ip-?adress\w*|ip address|host|server|ping)(?![^\W_])", re.IGNORECASE
)


def holds_any(text: str, needles: tuple[str, ...]) -> bool:
    """Does one of the needles occur in the text? The cheap test before a pattern; a loop beats `any` by half."""
    for needle in needles:  # noqa: SIM110
        if needle in text:
            return True
    return False


def _last_end(pattern: re.Pattern[str], window: str) -> int:
    end = -1
    for match in pattern.finditer(window):
        end = match.end()
    return end


def _before(text: str, start: int) -> str:
    window = text[max(0, start - BEFORE) : start]
    return window[window.rfind("\n") + 1 :]


def _after(text: str, end: int) -> str:
    return text[end : end + AFTER].partition("\n")[0]


def names_phone(text: str, start: int, end: int) -> bool:
    """Do the words beside `start:end` speak of a telephone, and no nearer ones of an order, a parcel or the like?"""
    before = _before(text, start)
    phone = _last_end(_PHONE, before)
    if phone >= 0:
        return phone > _last_end(_REFERENCE, before)
    return _PHONE.search(_after(text, end)) is not None and not names_reference(text, start)


def beside(words: re.Pattern[str], text: str, start: int, end: int) -> bool:
    """Does one of the words stand in the window before or after `start:end`?"""
    return words.search(_before(text, start)) is not None or words.search(_after(text, end)) is not None


def names_reference(text: str, start: int) -> bool:
    """Is the nearest telling word before `start` that of an order, a parcel, a serial number or the like?"""
    before = _before(text, start)
    reference = _last_end(_REFERENCE, before)
    return reference >= 0 and reference > max(_last_end(_PHONE, before), _last_end(_CARD, before))


def names_card(text: str, start: int) -> bool:
    """Does the text just before `start` speak of a payment card?"""
    return _CARD.search(_before(text, start)) is not None


def names_version(text: str, start: int) -> bool:
    """Do the words just before `start` announce a software version rather than an address?"""
    before = _before(text, start)
    if _IP.search(before[-16:]):
        return False
    return any(pattern.search(before) for pattern in (_VERSION, _VERSION_RANGE, _RAISED))


def names_ip(text: str, start: int) -> bool:
    """Does the text just before `start` speak of an IP address or a machine?"""
    return _IP.search(_before(text, start)) is not None or text[max(0, start - 3) : start] == "://"


def mentions_phone(text: str) -> bool:
    """Does the text speak of a telephone anywhere? The cheap test before the costly ones."""
    return _PHONE.search(text) is not None
