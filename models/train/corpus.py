"""Training texts: the shared sentiment and intent corpora, sampled so that no source drowns the others."""

from __future__ import annotations

import gzip
import json
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SENTIMENTS = ("negative", "neutral", "positive")
INTENTS = ("complaint", "request", "question", "praise", "other")

# GoEmotions and XED are volume rather than quality; film sentences are far from product feedback.
TRAIN_CAPS = {"goemotions": 9000, "xed_en": 3000, "vader_movies": 3000, "pros_cons": 5000}
DEFAULT_TRAIN_CAP = 4000
VALID_CAP = 500
LAUNCH_SOURCE = "launch"
WEAK_QUESTIONS, WEAK_REQUESTS = 250, 150

QUESTION_STARTS = (
    "what ",
    "how ",
    "when ",
    "where ",
    "which ",
    "who ",
    "why ",
    "is ",
    "are ",
    "does ",
    "do i ",
)
REQUEST_STARTS = (
    "please ",
    "can you ",
    "could you ",
    "i need you to ",
    "i want you to ",
    "i would like you to ",
)


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text; `source` names the data set it came from."""

    text: str
    label: str
    source: str


def read_jsonl(path: Path) -> list[dict[str, str]]:
    """Rows of a JSONL file, plain or gzipped."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _sample(rows: Iterable[Example], caps: dict[str, int], default: int, seed: int) -> list[Example]:
    by_source: dict[str, list[Example]] = defaultdict(list)
    for row in rows:
        by_source[row.source].append(row)
    chosen: list[Example] = []
    for source, members in sorted(by_source.items()):
        random.Random(seed).shuffle(members)
        chosen += members[: caps.get(source, default)]
    return chosen


def sentiment_rows(data: Path, split: str, *, seed: int) -> list[Example]:
    """Capped sentiment rows of `train` or `valid`; train also holds this repository's launch texts."""
    rows = [
        Example(row["text"], row["label"], row["source"])
        for row in read_jsonl(data / "sentiment" / f"{split}.jsonl.gz")
    ]
    if split != "train":
        return _sample(rows, {}, VALID_CAP, seed)
    launch = [Example(row["text"], row["sentiment"], LAUNCH_SOURCE) for row in own_rows()]
    return _sample(rows, TRAIN_CAPS, DEFAULT_TRAIN_CAP, seed) + launch


def own_rows() -> list[dict[str, str]]:
    """Feedback texts written for this repository: text, intent, sentiment."""
    return read_jsonl(Path(__file__).parent / "intent.jsonl")


def intent_rows(data: Path, *, seed: int) -> list[Example]:
    """This repository's intent texts, then a few CLINC150 questions and requests as weak examples."""
    rows = [Example(row["text"], row["intent"], LAUNCH_SOURCE) for row in own_rows()]
    clinc = [
        row["text"] for row in read_jsonl(data / "intents" / "clinc150.jsonl.gz") if row["split"] == "train"
    ]
    random.Random(seed).shuffle(clinc)
    questions = [text for text in clinc if text.startswith(QUESTION_STARTS)][:WEAK_QUESTIONS]
    requests = [text for text in clinc if text.startswith(REQUEST_STARTS)][:WEAK_REQUESTS]
    rows += [Example(text, "question", "clinc150") for text in questions]
    return rows + [Example(text, "request", "clinc150") for text in requests]
