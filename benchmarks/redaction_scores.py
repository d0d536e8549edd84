"""How well personal data is found in a labelled corpus: precision and recall for each kind.

Run: `python -m benchmarks.redaction_scores` (`--misses` also prints what went wrong).
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CORPUS = Path(__file__).parents[1] / "tests/unit/redaction/corpus.jsonl"

# The corpus labels the least that must go. A phone's extension and an address's town and postcode may go with it:
# as many letters and digits as this may follow a label.
_MAY_FOLLOW = {"phone": 12, "address": 40}

# kind, start, end
Found = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Text:
    """One labelled text: `gold` are the kinds and values that must go; everything else must stay."""

    text: str
    gold: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Score:
    """Counts for one kind. `wrong` are spans that mask what no label names, or more than a label names."""

    labels: int = 0
    hit: int = 0
    spans: int = 0
    wrong: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def precision(self) -> float:
        """Spans that mask a label of their kind and nothing besides, of all spans; 1 when there is none."""
        return 1 - self.wrong / self.spans if self.spans else 1.0

    @property
    def recall(self) -> float:
        """Labels that are gone, of all labels; 1 when there is none."""
        return self.hit / self.labels if self.labels else 1.0


def load(path: Path = CORPUS) -> list[Text]:
    """The corpus: one JSON object a line, `{"text", "found": [{"type", "value"}]}`.

    Raises ValueError where a labelled value does not occur in its text.
    """
    texts = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        gold = tuple((label["type"], label["value"]) for label in row["found"])
        if missing := [value for _, value in gold if value not in row["text"]]:
            raise ValueError(f"line {number}: {missing} not in the text")
        texts.append(Text(row["text"], gold))
    return texts


def _positions(text: Text) -> list[Found]:
    """Where each label lies. The same value labelled twice takes its first and its second occurrence."""
    after: dict[str, int] = defaultdict(int)
    places = []
    for kind, value in text.gold:
        start = text.text.find(value, after[value])
        start = text.text.find(value) if start < 0 else start
        after[value] = start + len(value)
        places.append((kind, start, start + len(value)))
    return places


def _open(text: str, start: int, end: int, hidden: Iterable[Found]) -> list[int]:
    """The letters and digits of `start:end` that lie outside the hidden ranges, by position."""
    covered = {position for _, low, high in hidden for position in range(low, high)}
    return [
        position for position in range(start, end) if text[position].isalnum() and position not in covered
    ]


def _is_wrong(text: str, span: Found, gold: Sequence[Found]) -> bool:
    kind, start, end = span
    met = [high for other, low, high in gold if other == kind and low < end and start < high]
    if not met:
        return True
    excess = _open(text, start, end, gold)
    return bool(excess) and (excess[0] < max(met) or len(excess) > _MAY_FOLLOW.get(kind, 0))


def score(texts: Sequence[Text], find: Callable[[str], Iterable[Found]]) -> Mapping[str, Score]:
    """Scores for each kind. A label is hit when a span of its kind takes its place and none of its letters or digits
    stays readable; a span is wrong when it meets no label of its kind, or takes a letter or digit that no label names.
    """
    scores: dict[str, Score] = defaultdict(Score)
    for text in texts:
        gold = _positions(text)
        spans = list(find(text.text))
        for kind, start, end in gold:
            met = any(other == kind and low < end and start < high for other, low, high in spans)
            hit = met and not _open(text.text, start, end, spans)
            scores[kind].labels += 1
            scores[kind].hit += hit
            if not hit:
                scores[kind].notes.append(f"missed {text.text[start:end]!r} in {text.text!r}")
        for kind, start, end in spans:
            wrong = _is_wrong(text.text, (kind, start, end), gold)
            scores[kind].spans += 1
            scores[kind].wrong += wrong
            if wrong:
                scores[kind].notes.append(f"wrong {text.text[start:end]!r} in {text.text!r}")
    return scores


def table(scores: Mapping[str, Score]) -> str:
    """The scores as a Markdown table."""
    lines = [
        "| kind | labels | found | spans | wrong | precision | recall |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {kind} | {one.labels} | {one.hit} | {one.spans} | {one.wrong} | {one.precision:.3f} | {one.recall:.3f} |"
        for kind, one in sorted(scores.items())
    ]
    return "\n".join(lines)


def ours(text: str) -> list[Found]:
    """What Voice's redactor finds, in the shape that `score` reads."""
    from voice.redaction import Redactor

    return [(span.kind, span.start, span.end) for span in Redactor().find(text)]


def main() -> None:
    """Print the table for Voice's redactor over the corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--misses", action="store_true", help="print every label missed and every span wrong")
    options = parser.parse_args()
    texts = load(options.corpus)
    scores = score(texts, ours)
    print(f"{len(texts)} texts, {sum(one.labels for one in scores.values())} labels\n\n{table(scores)}")
    if options.misses:
        for kind, one in sorted(scores.items()):
            print(*(f"{kind}: {note}" for note in one.notes), sep="\n")


if __name__ == "__main__":
    main()
