import pytest

from voice.analysis.records import Intent
from voice.analysis.urgency import CUES, judge

NOTHING: dict[Intent, float] = {"complaint": 0, "request": 0, "question": 0, "praise": 0, "other": 0}


def complaint(text: str, negative: float = 0.9) -> tuple[str, tuple[str, ...]]:
    judged = judge(text, negative=negative, intent={**NOTHING, "complaint": 1.0})
    return judged.level, judged.reasons


@pytest.mark.parametrize(
    ("text", "level", "reason"),
    [
        ("Your platform is down for all of us.", "critical", "outage"),
        ("It wiped my database.", "critical", "data loss"),
        ("Our tenant was hacked.", "critical", "security"),
        ("It shows other customers' orders.", "critical", "privacy"),
        ("I was charged twice.", "critical", "charged twice"),
        ("I cannot log in.", "high", "cannot log in"),
        ("We are blocked by this.", "high", "blocked from work"),
        ("I want my money back.", "high", "refund"),
        ("My lawyer will write to you.", "high", "legal"),
        ("The page is slow.", "medium", None),
        ("A minor thing, the icon is off.", "low", "minor"),
    ],
)
def test_cues_set_the_level_and_give_the_reason(text: str, level: str, reason: str | None) -> None:
    found, reasons = complaint(text)
    assert found == level
    assert reason is None or reason in reasons


def test_only_a_grave_cue_makes_a_text_critical() -> None:
    level, reasons = complaint(
        "URGENT!! I cannot log in, refund me today or my lawyer calls, we are blocked.", 1.0
    )
    assert level == "high"
    assert len(reasons) >= 5


@pytest.mark.parametrize("intent", ["question", "praise"])
def test_calm_words_about_grave_things_stay_low(intent: Intent) -> None:
    judged = judge("How do you protect against data loss?", negative=0.05, intent={**NOTHING, intent: 0.95})
    assert judged.level == "low"


def test_solved_is_less_urgent() -> None:
    assert complaint("The outage is solved.", 0.2)[0] == "low"


def test_shouting_counts_once_something_is_wrong() -> None:
    calm = judge("the search is slow", negative=0.9, intent={**NOTHING, "complaint": 1.0})
    loud = judge("the SEARCH is SLOW!!", negative=0.9, intent={**NOTHING, "complaint": 1.0})
    glad = judge("GREAT WORK!!", negative=0.0, intent={**NOTHING, "praise": 1.0})
    assert loud.score > calm.score
    assert "shouting" in loud.reasons
    assert glad.reasons == ()


def test_typographic_apostrophes_are_read() -> None:
    assert complaint("I can\u2019t log in")[1] == ("cannot log in",)


@pytest.mark.parametrize(
    "filler", ["charged ", "can not ", "data ", "private ", "login ", "a", "all our ", "is "]
)
def test_every_pattern_is_quick_on_hostile_text(filler: str) -> None:
    text = (filler * 10_000)[:10_000]
    assert judge(text, negative=0.5, intent=NOTHING).level in {"critical", "high", "medium", "low"}


def test_cue_names_are_unique() -> None:
    assert len({cue.name for cue in CUES}) == len(CUES)
