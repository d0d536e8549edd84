"""How soon somebody should look: a score anyone can follow, with its reasons.

There is no licence-clean set of human-labelled urgencies to learn from, so the score is a sum of named cues, the
sentiment and the intensity of the writing. The weights were set on texts written for this repository.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from voice.analysis.records import Intent, Urgency

VERSION = "urgency-1"
MAX_CHARS = 5000

CRITICAL_FROM, HIGH_FROM, MEDIUM_FROM = 2.8, 1.9, 0.6


@dataclass(frozen=True, slots=True)
class Cue:
    """A named pattern that adds `weight` to the score once.

    Only a `grave` one can make a text critical: many people, lasting loss, other people's data, money, safety.
    """

    name: str
    weight: float
    pattern: re.Pattern[str]
    grave: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """Level, score (about −2..6) and the names of the cues that spoke, strongest first."""

    level: Urgency
    score: float
    reasons: tuple[str, ...]


def _cue(name: str, weight: float, *patterns: str, grave: bool = False) -> Cue:
    return Cue(name, weight, re.compile("|".join(patterns), re.IGNORECASE), grave)


_DATA = r"(?:data|files?|documents?|records?|photos?|pictures?|projects?|notes?|work|edits|database|backups?|history|report|archive|settings)"
_OTHERS = r"(?:other|another|different|someone else'?s|stranger|strangers)"

CUES = (
    _cue(
        "outage",
        2.2,
        r"\boutage\b",
        r"\b(?:is|are|was|been|went|goes) (?:completely |all )?(?:down|offline|unreachable|unavailable)\b",
        r"\bstands? still\b",
        grave=True,
    ),
    _cue(
        "everyone affected",
        1.0,
        r"\bnobody (?:in|at|can)\b",
        r"\bno one can\b",
        r"\bnone of (?:our|us|my)\b",
        r"\bfor (?:all|everyone|everybody|anyone)\b",
        r"\b(?:all|every|entire|whole) (?:of )?(?:our |my )?(?:\d+ )?(?:customers?|users?|viewers|employees|team|company|payments?|requests?|orders?|staff|offices?|shop)\b",
        r"\bproduction\b",
        grave=True,
    ),
    _cue(
        "data loss",
        2.0,
        rf"\b(?:deleted|wiped|erased|lost|vanished|disappeared|corrupted|overwr(?:ote|itten)|destroyed)\b.{{0,40}}\b{_DATA}\b",
        rf"\b{_DATA}\b.{{0,40}}\b(?:deleted|wiped|erased|lost|vanished|disappeared|gone|corrupted|overwritten|blank)\b",
        r"\bdata loss\b",
        grave=True,
    ),
    _cue(
        "security",
        2.4,
        r"\b(?:breach(?:ed)?|leak(?:ed|s)?|hacked|hacker|hijacked|vulnerability|ransomware|malware|attackers?|phishing|stolen|unauthori[sz]ed)\b",
        r"\b(?:someone|somebody|stranger) (?:else )?(?:got|logged|broke|is|was) (?:in|into|using)\b",
        grave=True,
    ),
    _cue(
        "privacy",
        2.2,
        rf"\b(?:see|sees|read|reads|access|shows?|shown|sent|visible|contain(?:s|ed)?|exposed?|details)\b.{{0,50}}\b(?:{_OTHERS}) (?:\w+ )?(?:customers?|compan(?:y|ies)|users?|people|patients?|accounts?|person)\b",
        r"\bprivate (?:\w+ )?(?:messages?|entries|notes|data|files)\b.{0,40}\b(?:visible|public|exposed)\b",
        r"\b(?:sees?|reads?|could read|can read)\b.{0,20}\bprivate\b",
        grave=True,
    ),
    _cue(
        "charged twice",
        2.0,
        r"\b(?:charged?|billed|debited|paid|payment|money|invoiced)\b.{0,50}\b(?:twice|double|two times|three times|several times|multiple times|again)\b",
        grave=True,
    ),
    _cue(
        "wrong charge",
        1.4,
        r"\b(?:charged|billed|debited|renewed|took|taken)\b.{0,50}\b(?:cancell?(?:ed|ing)|without|although|instead|never|consent|wrong|free trial)\b",
    ),
    _cue(
        "cannot log in",
        1.5,
        r"\b(?:can ?not|can'?t|could ?n[o']t|unable to|not able to|won'?t let me|impossible to)\s+(?:even )?(?:log|sign|get) ?(?:in|into|on)\b",
        r"\blocked out\b",
        r"\baccount (?:is|was|got) (?:locked|blocked|suspended)\b",
        r"\b(?:login|log-in|sign-in|sso|two-factor|2fa|reset)\b.{0,40}\b(?:fails?|failing|broken|invalid|never|doesn'?t|does not|not work)\b",
        r"\bcodes? never (?:arrives?|comes?)\b",
        r"\baccount does not exist\b",
    ),
    _cue(
        "cannot use it at all",
        1.3,
        r"\b(?:crash(?:es|ed)?|freezes?) (?:at|on|during|after) (?:start(?:up)?|launch|opening)\b",
        r"\b(?:does ?n[o']t|doesn'?t|won'?t|not) (?:even )?(?:open|start|load)\b",
        r"\b(?:white|blank|black) screen\b",
        r"\b(?:can'?t|cannot) use\b",
        r"\bnothing works\b",
        r"\bunusable\b",
    ),
    _cue(
        "blocked from work",
        1.3,
        r"\bblock(?:ed|ing|er)\b",
        r"\b(?:can ?not|can'?t|unable to)\b.{0,25}\b(?:work|do my job|deploy|ship|invoice|release|pay|order|check ?out|submit|sell|access|reach|print)\b",
        r"\b(?:payments?|checkout|orders?)\b.{0,30}\b(?:fails?|failing|declined|stopped|broken|not working)\b",
        r"\bby hand\b",
    ),
    _cue(
        "deadline",
        1.1,
        r"\b(?:urgent(?:ly)?|asap|emergency|immediately|right now|tonight|deadline)\b",
        r"\b(?:due|needs?|today|before|by|until|this) (?:today|tomorrow|tonight|on (?:mon|tues|wednes|thurs|fri)day|friday|afternoon|morning)\b",
        r"\b(?:is|are) (?:due|today|tonight|tomorrow)\b",
        r"\btoday\b.{0,3}[.!]?$",
        r"\b(?:starts?|leaves|closes) (?:in|tomorrow|tonight)\b",
    ),
    _cue(
        "leaving",
        1.1,
        r"\b(?:cancel|cancelling|terminate|close|closing|leaving) (?:my|our|all|the|this)\b.{0,30}\b(?:account|subscription|licen[cs]es?|contract|plan)\b",
        r"\b(?:switch(?:ing)?|moving|going) to (?:a |your )?(?:competitor|competition|another)\b",
        r"\bwill cancel\b",
        r"\bcancel(?:led)? because\b",
    ),
    _cue("refund", 1.0, r"\brefund(?:ed)?\b|\bmoney back\b|\bcharge ?back\b"),
    _cue(
        "legal",
        1.2,
        r"\b(?:lawyer|attorney|legal action|sue|suing|court|authority|regulator|theft|fraud|illegal|gdpr complaint)\b",
    ),
    _cue(
        "people at risk",
        1.6,
        r"\b(?:patients?|medical|injur(?:y|ed)|hospital|clinic|safety|smoke|fire alarm|alarm)\b",
        grave=True,
    ),
    _cue(
        "losing money",
        0.8,
        r"\blosing\b.{0,25}\b(?:money|thousands|customers|sales|revenue|euros|dollars)\b",
        r"\bsalaries\b",
        r"\bpayroll\b",
        grave=True,
    ),
    _cue(
        "broken",
        0.3,
        r"\b(?:not work(?:ing)?|doesn'?t work|broken|fails?|failed|errors?|crash(?:es|ed|ing)?|freez(?:es|ing)|bug(?:s|gy)?|wrong|stopped)\b",
    ),
    _cue(
        "minor",
        -1.2,
        r"\b(?:minor|tiny|cosmetic|typo|no rush|nice to have|not urgent|nothing urgent|not a big deal|some ?day|one day)\b",
        r"\bwhen you (?:have|get) (?:time|a moment|a chance)\b",
    ),
    _cue(
        "already solved",
        -2.4,
        r"\b(?:is|are|was|been|got) (?:now )?(?:gone|fixed|solved|resolved)\b(?! (?:by|or))",
        r"\b(?:works?|working|fast|fine) (?:again|now)\b",
        r"\bno (?:problems|complaints|issues)\b",
    ),
)

NEGATIVE_WEIGHT = 1.1
COMPLAINT_WEIGHT = 0.5
SHOUTING_WEIGHT = 0.4
_SHOUTED = re.compile(r"\b[A-Z]{4,}\b")


def judge(text: str, *, negative: float, intent: Mapping[Intent, float]) -> Judgement:
    """Urgency of one text, from its probability of being negative and its intent probabilities.

    A cue counts in full in a complaint, less in a calm question, and hardly in praise: "How do you protect against
    data loss?" is not a loss.
    """
    read = text[:MAX_CHARS].replace("\u2019", "'")
    calm = max(intent["praise"], intent["question"] * (1 - negative))
    found = [cue for cue in CUES if cue.pattern.search(read)]
    score = sum(cue.weight * (1 - calm) if cue.weight > 0 else cue.weight for cue in found)
    score += NEGATIVE_WEIGHT * negative + COMPLAINT_WEIGHT * intent["complaint"]
    reasons = [cue.name for cue in sorted(found, key=lambda cue: -abs(cue.weight))]
    if score >= MEDIUM_FROM and (len(_SHOUTED.findall(read)) > 1 or "!!" in read):
        score += SHOUTING_WEIGHT
        reasons.append("shouting")
    return Judgement(_level(score, grave=any(cue.grave for cue in found)), round(score, 3), tuple(reasons))


def _level(score: float, *, grave: bool) -> Urgency:
    if score >= CRITICAL_FROM and grave:
        return "critical"
    if score >= HIGH_FROM:
        return "high"
    return "medium" if score >= MEDIUM_FROM else "low"
