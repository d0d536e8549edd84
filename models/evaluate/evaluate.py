"""Measure the shipped model: `python models/evaluate/evaluate.py --data ../shared/data`.

Sentiment: macro-F1 per test source, argmax; sources without neutral rows (pros_cons, huliu_products) mask it.
VADER (Hutto & Gilbert 2014) stands beside it: compound from 0.05 is positive, to -0.05 negative; for the binary
sources its sign decides, and a tie is negative, which suits it best. Everything else is measured on texts written for this repository.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from voice.analysis.analyser import Analyser
from voice.analysis.language import detect
from voice.analysis.models import load_analyser
from voice.analysis.records import INTENTS, LABELS, URGENCIES, Verbatim
from voice.analysis.topics import TopicSpace, load_taxonomy

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
BINARY = ("pros_cons", "huliu_products")
Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Rows of a JSONL file, plain or gzipped."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def macro_f1(truth: Sequence[Any], said: Sequence[Any], labels: Sequence[Any]) -> float:
    """Macro-F1 in percent over the labels that occur in the truth."""
    present = [label for label in labels if label in set(truth)]
    return 100 * float(f1_score(truth, said, labels=present, average="macro", zero_division=0))


def vader_label(compound: float, *, binary: bool) -> str:
    """VADER's label by its authors' thresholds, or by sign alone."""
    if binary:
        return "positive" if compound > 0 else "negative"
    return "positive" if compound >= 0.05 else "negative" if compound <= -0.05 else "neutral"


def calibration_error(confidence: NDArray[Any], right: NDArray[Any], bins: int = 10) -> float:
    """Expected calibration error over equal-width bins."""
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[bin_of == b].mean() - right[bin_of == b].mean()) * (bin_of == b).mean()
        for b in np.unique(bin_of)
    ]
    return float(sum(gaps))


def sentiment(analyser: Analyser, data: Path, per_source: int) -> None:
    """Print macro-F1 per source for the model and for VADER, then calibration and what abstaining buys."""
    launch = [
        {"text": row["text"], "label": row["sentiment"], "source": "launch (ours)"}
        for row in read_rows(HERE / "intent.jsonl")
    ]
    rows: list[Row] = []
    taken: Counter[str] = Counter()
    for row in [*launch, *read_rows(data / "sentiment" / "test.jsonl.gz")]:
        taken[row["source"]] += 1
        if not per_source or taken[row["source"]] <= per_source:
            rows.append(row)
    encoded = analyser.encode([row["text"] for row in rows])
    vader = SentimentIntensityAnalyzer()
    print(f"{'source':18} {'n':>6} {'VADER':>7} {analyser.encoder_name:>13}")
    scores = []
    for source in sorted({row["source"] for row in rows}):
        index = [i for i, row in enumerate(rows) if row["source"] == source]
        truth = [rows[i]["label"] for i in index]
        binary = source in BINARY
        probabilities = encoded.sentiment[index] * ([1, 0, 1] if binary else [1, 1, 1])
        ours = [LABELS[k] for k in probabilities.argmax(1)]
        base = [vader_label(vader.polarity_scores(rows[i]["text"])["compound"], binary=binary) for i in index]
        pair = macro_f1(truth, base, LABELS), macro_f1(truth, ours, LABELS)
        if "(ours)" not in source:
            scores.append(pair)
        print(f"{source:18} {len(index):6} {pair[0]:7.1f} {pair[1]:13.1f}")
    mean = np.mean(scores, 0)
    print(f"{'mean of the ' + str(len(scores)):18} {'':6} {mean[0]:7.1f} {mean[1]:13.1f}   (without launch)")
    public = [i for i, row in enumerate(rows) if row["source"] not in (*BINARY, "launch (ours)")]
    confidence = encoded.sentiment[public].max(1)
    right = np.array([LABELS[encoded.sentiment[i].argmax()] == rows[i]["label"] for i in public])
    sure = confidence >= 0.5
    print(
        f"three-class rows n={len(public)}: accuracy {100 * right.mean():.1f} %, calibration error "
        f"{calibration_error(confidence, right):.3f}; sure on {100 * sure.mean():.1f} %, right there "
        f"{100 * right[sure].mean():.1f} %, elsewhere {100 * right[~sure].mean():.1f} %"
    )


def demo(analyser: Analyser, space: TopicSpace) -> None:
    """Print the sentiment of the demo launch against what was planted, English only. It was never trained or tuned on."""
    truth = {row["external_id"]: row for row in read_rows(REPOSITORY / "tests" / "data" / "demo_truth.jsonl")}
    rows = [
        row
        for row in read_rows(REPOSITORY / "src" / "voice" / "demo" / "launch.jsonl")
        if row.get("text") and truth[row["external_id"]]["language"] == "en"
    ]
    read = analyser.read(
        [Verbatim(row["text"], row.get("title"), row.get("language")) for row in rows], space
    )
    planted = [truth[row["external_id"]]["sentiment"] for row in rows]
    table("demo launch, sentiment", planted, [result.sentiment.label for result in read], LABELS)
    vader = SentimentIntensityAnalyzer()
    said = [vader_label(vader.polarity_scores(row["text"])["compound"], binary=False) for row in rows]
    print(f"  VADER beside it: macro-F1 {macro_f1(planted, said, LABELS):.1f}")


def table(name: str, truth: list[str], said: list[str], labels: Sequence[str]) -> None:
    """Print accuracy, macro-F1 and the confusion matrix (rows are truth)."""
    accuracy = 100 * float(np.mean([a == b for a, b in zip(truth, said, strict=True)]))
    print(
        f"\n{name}: n={len(truth)}, accuracy {accuracy:.1f} %, macro-F1 {macro_f1(truth, said, labels):.1f}"
    )
    for label, counts in zip(labels, confusion_matrix(truth, said, labels=list(labels)), strict=True):
        print(f"  {label:10} {' '.join(f'{count:4}' for count in counts)}")


def topics(analyser: Analyser, space: TopicSpace) -> None:
    """Print multi-label precision, recall and F1 over topic assignments, per split."""
    for split in ("dev", "test"):
        rows = [row for row in read_rows(HERE / "topics.jsonl") if row["split"] == split]
        assigned = space.assign(analyser.embed([row["text"] for row in rows]))
        said = [{score.topic_id for score in scores} for scores in assigned]
        truth = [set(row["topics"]) for row in rows]
        hits = sum(len(a & b) for a, b in zip(said, truth, strict=True))
        precision, recall = hits / sum(map(len, said)), hits / sum(map(len, truth))
        first = [
            scores[0].topic_id in wanted
            for scores, wanted in zip(assigned, truth, strict=True)
            if scores and wanted
        ]
        silent = [not found for found, wanted in zip(said, truth, strict=True) if not wanted]
        print(
            f"\ntopics {split}: n={len(rows)}, precision {precision:.2f}, recall {recall:.2f}, F1 "
            f"{2 * precision * recall / (precision + recall):.2f}; first topic right {np.mean(first):.2f} of "
            f"{len(first)} answered; texts without topic left alone {sum(silent)} of {len(silent)}"
        )


def main() -> None:
    """Print every figure of the model card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--per-source", type=int, default=0, help="rows per sentiment source, 0 for all")
    parser.add_argument("--own-only", action="store_true", help="skip the shared sentiment sets")
    options = parser.parse_args()
    analyser = load_analyser()
    space = TopicSpace(load_taxonomy(), analyser.embed)
    if not options.own_only:
        sentiment(analyser, options.data, options.per_source)
    own = read_rows(HERE / "intent.jsonl")
    read = analyser.read([Verbatim(row["text"]) for row in own], space)
    table("intent (ours)", [row["intent"] for row in own], [result.intent for result in read], INTENTS)
    demo(analyser, space)
    for split in ("dev", "test"):
        rows = [row for row in read_rows(HERE / "urgency.jsonl") if row["split"] == split]
        read = analyser.read([Verbatim(row["text"]) for row in rows], space)
        table(
            f"urgency {split} (ours)", [row["urgency"] for row in rows], [r.urgency for r in read], URGENCIES
        )
    topics(analyser, space)
    rows = read_rows(HERE / "language.jsonl")
    for short in (True, False):
        some = [row for row in rows if (len(row["text"]) < 20) is short]
        right = sum(detect(row["text"]) == row["language"] for row in some)
        print(f"\nlanguage, {'under' if short else 'from'} 20 characters: {right} of {len(some)} right")


if __name__ == "__main__":
    main()
