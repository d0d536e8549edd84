"""Street addresses, where a house number beside a word for a street makes them reliable, in seven languages."""

from __future__ import annotations

import re
from collections.abc import Iterator

from voice.redaction.contexts import holds_any
from voice.redaction.kinds import Span

_UP = "A-ZÀ-ÖØ-Þ"
_LOW = "a-zà-öø-ÿ"
_NAME = rf"[{_UP}][{_UP}{_LOW}'-]{{1,30}}"
_TOWN = rf"{_NAME}(?:[ -](?:{_NAME}|am|an der|bei|de|del|di|sur|sous|en|la|le)){{0,3}}"
_HOUSE = r"\d{1,4}(?:\s?[a-zA-Z](?![a-zA-Z]))?(?:\s?[-/]\s?\d{1,4}[a-z]?)?"
_POSTCODE_EU = rf"(?:,?\s(?:D-|F-|E-|I-|CH-|A-|L-|B-)?\d{{4,5}}(?:\s?[A-Z]{{2}}(?![a-zA-Z]))?\s{_TOWN})?"

_ENGLISH = re.compile(
    rf"(?<![\w./,:#$€£\x01-])\d{{1,5}}[A-Za-z]?(?:\s?-\s?\d{{1,5}})?,?\s(?:(?:[NSEW]|North|South|East|West|Old|New|Upper|Lower)\.?\s)?"
    rf"(?:(?:{_NAME}|St\.|\d{{1,3}}(?:st|nd|rd|th))\s){{1,3}}?"
    r"(?:Street|Str?\.?|Road|Rd\.?|Avenue|Ave\.?|Boulevard|Blvd\.?|Lane|Ln\.?|Drive|Dr\.?|Court|Ct\.?|Square|Sq\.?|Terrace|"
    r"Place|Pl\.?|Way|Close|Crescent|Highway|Hwy\.?|Parkway|Pkwy\.?|Circle|Cir\.?|Gardens|Row|Mews|Grove|Trail|Walk|Quay)(?![\w-])"
    r"(?:,?\s(?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|#)\.?\s?[\w-]{1,6})?"
    rf"(?:,\s{_TOWN}(?=,|\s[A-Z]{{1,2}}\d|\s[A-Z]{{2}}\s\d{{5}}|\s\d{{5}}))?"
    r"(?:,?\s[A-Z]{2}\s\d{5}(?:-\d{4})?|,?\s[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2})?(?![0-9])"
)
_LOWER_ENGLISH = re.compile(
    r"(?<![\w./,:#$€£\x01-])\d{1,5}[a-z]?\s[a-z]{3,20}\s(?:street|avenue|boulevard|lane|road|crescent)(?![\w-])"
)
_GERMAN_LEAD = r"(?:Alte|Neue|Große|Kleine|Obere|Untere|Innere|Äußere|Hintere|Vordere|Lange|Breite|Sankt|St\.|Am|An der|Zum|Zur)\s"
_GERMAN = re.compile(
    rf"(?<![\w\x01-])(?:{_GERMAN_LEAD})?(?:{_NAME}[ -](?:Straße|Strasse|Str\.|Allee|Weg|Platz|Gasse|Ufer|Damm|Ring|Chaussee)"
    rf"|(?P<compound>[{_UP}][{_UP}{_LOW}-]{{2,30}}?(?:straße|strasse|str\.|allee|weg|platz|gasse|ufer|chaussee))"
    rf"|(?P<weak>[{_UP}][{_UP}{_LOW}-]{{2,30}}?(?:ring|damm|markt|steig)(?=\s{_HOUSE},?\s(?:D-)?\d{{5}}\s[{_UP}])))"
    rf"\s{_HOUSE}(?![\w%€$.,]*\d)(?!\s?(?:%|€|GB|MB|km|mal|Uhr)){_POSTCODE_EU}"
)
# "Am Alten Markt 3", "Unter den Linden 5": only the postcode behind tells them from other places in a sentence.
_GERMAN_PLACE = re.compile(
    rf"(?<![\w\x01-])(?:Am|An der|An den|Auf der|Auf dem|Im|In der|In den|Zum|Zur|Unter den|Hinter der|Vor dem)\s{_NAME}"
    rf"(?:[ -]{_NAME}){{0,2}}\s{_HOUSE},?\s(?:D-)?\d{{5}}\s{_TOWN}"
)
_FRENCH = re.compile(
    rf"(?<![\w./,:#$€£\x01-])\d{{1,4}}(?:\s?(?:bis|ter|quater|[A-D]))?,?\s(?:[Rr]ue|[Aa]venue|[Aa]v\.|[Bb]oulevard|[Bb]d\.?|[Pp]lace|[Cc]hemin|[Aa]llée|[Ii]mpasse|"
    rf"[Qq]uai|[Rr]oute|[Cc]ours|[Ss]quare|[Ff]aubourg|[Pp]assage)\s(?:(?:de la|de l'|de|du|des|d'|aux?|l'|la|le|les)\s?)?(?:{_NAME}|\d{{1,2}} {_NAME})"
    rf"(?:[ -](?:(?:de la|de|du|des|et|la|le)[ -])?{_NAME}){{0,3}}{_POSTCODE_EU}"
)
_SPANISH = re.compile(
    rf"(?<![\w\x01])(?:[Cc]alle|C/|[Cc]/|[Aa]venida|[Aa]vda\.?|Av\.|[Pp]laza|[Pp]aseo|[Cc]amino|[Cc]arretera|[Rr]onda|[Tt]ravesía|[Rr]ua|[Pp]raça|[Tt]ravessa|[Aa]lameda|[Ll]argo)\s?"
    rf"(?:(?:de la|de las|de los|del|de|da|das|do|dos|la|el)\s)?{_NAME}(?:\s(?:(?:de la|de las|de los|del|de|da|das|do|dos|y|e)\s)?{_NAME}){{0,3}}"
    rf",?\s(?:(?:n[º°.]{{1,2}}|núm\.|número|num\.)\s?)?\d{{1,4}}(?![\d.%€$]|,\d)(?:\s?[a-zA-Z](?![a-zA-Z]))?(?:,?\s\d{{1,2}}[ºª°](?:\s?[A-Z](?![a-zA-Z]))?)?(?:,?\s\d{{4,5}}(?:-\d{{3}})?\s{_TOWN})?"
)
_ITALIAN = re.compile(
    rf"(?<![\w\x01])(?P<word>[Vv]ia|[Vv]iale|[Pp]iazza|[Cc]orso|[Ll]argo|[Vv]icolo|[Ss]trada|[Pp]iazzale|[Ll]ungotevere|[Cc]ontrada)\s"
    rf"(?:(?:della|delle|dei|degli|del|dell'|di|dal|San|Santa|XX|IV|\d{{1,2}})\s?)?{_NAME}(?:\s(?:(?:della|delle|dei|del|di|e)\s)?{_NAME}){{0,2}}"
    rf"(?P<comma>,)?\s(?:n\.\s?)?\d{{1,4}}(?![\d.%€$]|,\d)(?:\s?/?[a-zA-Z](?![a-zA-Z]))?(?P<town>,?\s\d{{5}}\s{_TOWN})?"
)
_DUTCH = re.compile(
    rf"(?<![\w\x01-])(?P<compound>(?:{_NAME}[ -]){{0,2}}?[{_UP}][{_UP}{_LOW}-]{{1,30}}?(?:straat|laan|weg|plein|gracht|kade|dreef|singel|steeg|hof|dijk|plantsoen))"
    rf"\s\d{{1,4}}(?:\s?-?[a-zA-Z]{{1,2}}(?![a-zA-Z]))?(?![\w%€$.,]*\d)(?:,?\s\d{{4}}\s?[A-Z]{{2}}(?![a-zA-Z])(?:,?\s{_TOWN})?)?"
)
# Compounds that end like a street and are none.
_NO_STREET = re.compile(
    r"(?:arbeits|park|sitz|stell|speicher|start|spiel|steck|bau|lager|camping|lade|flug|tabellen|spitzen|renn|tor|liege|schlaf|fahrrad)platz\Z"
    r"|(?:um|rück|aus|hin|her|lern|lösungs|update|upgrade|verkehrs|heim|kommunikations|zahlungs|vertriebs|mittel|fuß|rad|bestell|snel|onder)weg\Z"
    r"|(?:bahn|fried|ge)hof\Z",
    re.IGNORECASE,
)
_NO_NAME = re.compile(
    r"\d+\s(?:Google|One|Hard|Flash|Test|USB|Solid|Easy|Best|Only|Right|Wrong|Better|New|The|Big|Two|Disk)\s(?:Drive|Way|Place|Row)\b"
)
_ITALIAN_WORDS = re.compile(
    r"(?<!\w)(?:abit\w+|indirizzo|vivo|resident\w|residenza|domicili\w+|sede|spedi\w+|consegn\w+|casa|negozio|ufficio|in|"
    r"presso|alla|della|il|mi|non|è|pacco)(?!\w)",
    re.IGNORECASE,
)
_LIVES = re.compile(
    r"(?<!\w)(?:liv(?:e|es|ing)|address|ship\w*|deliver\w*|send|sent|moved?|house|home|parcel|post)(?!\w)",
    re.IGNORECASE,
)
_WINDOW = 60


def _is_via(text: str, match: re.Match[str]) -> bool:
    """English says "via Chrome 120": the Italian street needs a comma, a postcode or Italian around it."""
    if match["word"].lower() != "via" or match["comma"] or match["town"]:
        return True
    before = text[max(0, match.start() - _WINDOW) : match.start()]
    return _ITALIAN_WORDS.search(before) is not None


def _compounds(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    for match in pattern.finditer(text):
        if match["compound"] is None or not _NO_STREET.search(match["compound"]):
            yield Span("address", *match.span())


def find_addresses(text: str, lowered: str) -> Iterator[Span]:
    """Street addresses in a folded text that holds digits; `lowered` is the same text in lower case."""
    for match in _ENGLISH.finditer(text):
        if not _NO_NAME.match(match.group()):
            yield Span("address", *match.span())
    if holds_any(lowered, ("street", "avenue", "boulevard", " lane", " road", "crescent")):
        for match in _LOWER_ENGLISH.finditer(text):
            if _LIVES.search(text[max(0, match.start() - _WINDOW) : match.start()]):
                yield Span("address", *match.span())
    if holds_any(lowered, _GERMAN_STEMS):
        yield from _compounds(_GERMAN, text)
    for match in _GERMAN_PLACE.finditer(text):
        yield Span("address", *match.span())
    if holds_any(lowered, _DUTCH_STEMS):
        yield from _compounds(_DUTCH, text)
    for pattern, stems in ((_FRENCH, _FRENCH_STEMS), (_SPANISH, _SPANISH_STEMS)):
        if holds_any(lowered, stems):
            for match in pattern.finditer(text):
                yield Span("address", *match.span())
    if holds_any(lowered, _ITALIAN_STEMS):
        for match in _ITALIAN.finditer(text):
            if _is_via(text, match):
                yield Span("address", *match.span())


_GERMAN_STEMS = (
    "straße", "strasse", "str.", "allee", "weg", "platz", "gasse", "ufer", "damm", "ring ", "chaussee", "steig", "markt",
)  # fmt: skip
_DUTCH_STEMS = (
    "straat", "laan", "weg", "plein", "gracht", "kade", "dreef", "singel", "steeg", "hof", "dijk", "plantsoen",
)  # fmt: skip
_FRENCH_STEMS = (
    "rue ", "avenue ", "av.", "boulevard ", "bd", "place ", "chemin ", "allée ", "impasse ", "quai ", "route ", "cours ",
    "square ", "faubourg ", "passage ",
)  # fmt: skip
_SPANISH_STEMS = (
    "calle ", "c/", "avenida ", "avda", "av.", "plaza ", "paseo ", "camino ", "carretera ", "ronda ", "travesía ", "rua ",
    "praça ", "travessa ", "alameda ", "largo ",
)  # fmt: skip
_ITALIAN_STEMS = (
    "via ", "viale ", "piazza ", "corso ", "largo ", "vicolo ", "strada ", "piazzale ", "lungotevere ",
    "contrada ",
)  # fmt: skip
