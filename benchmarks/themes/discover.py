"""Discovery and naming on labelled texts, with the shipped encoder: agreement, themes, coverage, CPU seconds.

Run: `python -m benchmarks.themes.discover --data ../shared/data [--cache FOLDER]`. The folder holds
`intents/banking77.jsonl.gz` (77 intents of one product) and `intents/clinc150.jsonl.gz` (150 intents, and texts that are out of
scope: they ought to stay unassigned and are left out of the agreement); the demo launch comes with the repository.
`--cache` keeps the embeddings between runs. CPU seconds are of one process with one BLAS thread.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from voice import demo
from voice.themes.assign import assign, theme_threshold
from voice.themes.discover import discover
from voice.themes.name import Name, name_themes
from voice.themes.vectors import Vectors, mean_directions

Embed = Callable[[Sequence[str]], Vectors]
NONE = ("oos", "misc")
"""Labels of texts that belong to no theme."""


@dataclass(frozen=True, slots=True)
class Labelled:
    texts: list[str]
    labels: NDArray[np.str_]
    vectors: Vectors

    def take(self, rows: NDArray[np.int64]) -> Labelled:
        return Labelled([self.texts[i] for i in rows], self.labels[rows], self.vectors[rows])

    @property
    def in_scope(self) -> NDArray[np.bool_]:
        return ~np.isin(self.labels, NONE)


@dataclass(frozen=True, slots=True)
class Score:
    """Agreement counts every unassigned text as a group of its own; coverage is of texts that have a theme."""

    n: int
    themes: int
    true_themes: int
    ami: float
    ari: float
    coverage: float
    rejected: float

    def __str__(self) -> str:
        return (
            f"n {self.n:6d}  themes {self.themes:4d} (true {self.true_themes:3d})  AMI {self.ami:.3f}  ARI {self.ari:.3f}"
            f"  coverage {self.coverage:.3f}  out of scope left out {self.rejected:.3f}"
        )


def score(data: Labelled, labels: NDArray[np.int64]) -> Score:
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

    scope = data.in_scope
    alone = np.where(labels >= 0, labels, len(labels) + np.arange(len(labels)))
    return Score(
        n=len(labels),
        themes=int(labels.max(initial=-1)) + 1,
        true_themes=len(set(data.labels[scope].tolist())),
        ami=float(adjusted_mutual_info_score(data.labels[scope], alone[scope])),
        ari=float(adjusted_rand_score(data.labels[scope], alone[scope])),
        coverage=float((labels[scope] >= 0).mean()) if scope.any() else float("nan"),
        rejected=float((labels[~scope] < 0).mean()) if (~scope).any() else float("nan"),
    )


def mean(scores: Sequence[Score]) -> str:
    def average(field: str) -> float:
        return float(np.mean([getattr(s, field) for s in scores]))

    return (
        f"themes {average('themes'):5.1f} (true {average('true_themes'):.0f})  AMI {average('ami'):.3f}  ARI {average('ari'):.3f}"
        f"  coverage {average('coverage'):.3f}  out of scope left out {average('rejected'):.3f}"
    )


def embedder(cache: Path | None) -> Embed:
    """The shipped encoder, in batches; with `cache`, results are kept there by a digest of the texts."""
    from voice.analysis.models import load_analyser

    analyser = load_analyser(threads=1)

    def embed(texts: Sequence[str]) -> Vectors:
        digest = hashlib.sha256("\x00".join([analyser.encoder_name, *texts]).encode()).hexdigest()[:16]
        kept = cache / f"{digest}.npy" if cache and len(texts) > 1000 else None
        if kept and kept.exists():
            return np.asarray(np.load(kept), dtype=np.float32)
        vectors = np.vstack([analyser.embed(texts[i : i + 128]) for i in range(0, len(texts), 128)])
        if kept:
            np.save(kept, vectors)
        return vectors

    return embed


def intents(path: Path, embed: Embed) -> Labelled:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    texts = [row["text"] for row in rows]
    return Labelled(texts, np.array([row["label"] for row in rows]), embed(texts))


def demo_launch(embed: Embed) -> Labelled:
    truth = {}
    for line in Path("tests/data/demo_truth.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        truth[row["external_id"]] = row["label"]
    rows = [row for row in demo.load(datetime.now(UTC)) if row.get("text")]
    texts = [f"{row['title']}. {row['text']}" if row.get("title") else row["text"] for row in rows]
    return Labelled(texts, np.array([truth[row["external_id"]] for row in rows]), embed(texts))


def project(data: Labelled, outside: Labelled, *, n: int, intents: int, noise: float, seed: int) -> Labelled:
    """About n texts: some intents with unequal shares, and out-of-scope texts."""
    rng = np.random.default_rng(seed)
    names = rng.choice(np.unique(data.labels[data.in_scope]), intents, replace=False)
    shares = 1 / np.arange(1, intents + 1) ** 0.7
    parts = []
    for name, share in zip(names, shares / shares.sum(), strict=True):
        pool = np.flatnonzero(data.labels == name)
        parts.append(rng.choice(pool, min(len(pool), max(4, round(share * n * (1 - noise)))), replace=False))
    inside = data.take(np.concatenate(parts))
    other = outside.take(rng.choice(np.flatnonzero(~outside.in_scope), int(n * noise), replace=False))
    return Labelled(
        inside.texts + other.texts,
        np.concatenate([inside.labels, other.labels]),
        np.vstack([inside.vectors, other.vectors]),
    )


def report_sets(banking: Labelled, clinc: Labelled) -> None:
    for name, data in (("banking77", banking), ("clinc150", clinc)):
        start = time.process_time()
        labels = discover(data.vectors, texts=data.texts).labels
        print(f"{name:10s} {score(data, labels)}  CPU {time.process_time() - start:.1f} s")


def report_projects(banking: Labelled, clinc: Labelled, seeds: int = 4) -> None:
    print(f"\nsmall projects, mean of {seeds} draws each; out-of-scope texts are CLINC150's")
    for name, data, n, k, noise in (
        ("clinc150", clinc, 250, 12, 0.25),
        ("clinc150", clinc, 600, 18, 0.25),
        ("banking77", banking, 400, 12, 0.2),
        ("banking77", banking, 1000, 25, 0.2),
        ("clinc150", clinc, 2500, 40, 0.2),
    ):
        scores = []
        for seed in range(seeds):
            drawn = project(data, clinc, n=n, intents=k, noise=noise, seed=seed)
            scores.append(score(drawn, discover(drawn.vectors, texts=drawn.texts).labels))
        print(f"{name:10s} n ~{n:5d}  {mean(scores)}")


def report_noise(clinc: Labelled) -> None:
    print("\nout-of-scope texts alone: each theme is false, or a topic their authors happened to share")
    pool = np.flatnonzero(~clinc.in_scope)
    for n in (30, 100, 300, len(pool)):
        drawn = clinc.take(np.random.default_rng(1).choice(pool, n, replace=False))
        labels = discover(drawn.vectors, texts=drawn.texts).labels
        print(f"n {n:5d}  themes {labels.max() + 1:3d}  assigned {(labels >= 0).mean():.3f}")


def named(data: Labelled, labels: NDArray[np.int64], embed: Embed) -> list[Name]:
    groups = [np.flatnonzero(labels == c) for c in range(labels.max() + 1)]
    return name_themes(
        [[data.texts[i] for i in group] for group in groups], [data.vectors[g] for g in groups], embed=embed
    )


def report_names(banking: Labelled, embed: Embed) -> None:
    labels = discover(banking.vectors, texts=banking.texts).labels
    start = time.process_time()
    names = named(banking, labels, embed)
    seconds = time.process_time() - start
    pure = []
    for theme, name in enumerate(names):
        label, n = Counter(banking.labels[labels == theme].tolist()).most_common(1)[0]
        if n >= 0.6 * (labels == theme).sum():
            pure.append((name.title, label.replace("_", " ").strip("?")))
    cosine = np.einsum("ij,ij->i", embed([title for title, _ in pure]), embed([label for _, label in pure]))
    print(
        f"\nnames, banking77: {len(pure)} of {len(names)} themes have a purity of .6; cosine of title to intent label:"
        f" mean {cosine.mean():.3f}, share >= .6 {(cosine >= 0.6).mean():.2f}; CPU {seconds:.1f} s for all names"
    )


def report_demo(data: Labelled, embed: Embed) -> None:
    labels = discover(data.vectors, texts=data.texts).labels
    print(f"\ndemo launch  {score(data, labels)}")
    for theme, name in enumerate(named(data, labels, embed)):
        members = data.labels[labels == theme]
        label, n = Counter(members.tolist()).most_common(1)[0]
        share = n / (data.labels == label).sum()
        print(
            f"  {len(members):4d}  purity {n / len(members):.2f}  of {label:20s} {share:.2f}"
            f"  {name.title:26s} {', '.join(name.keywords)}"
        )


def report_assign(data: Labelled, name: str) -> None:
    """Discover on a random half, then let the other half arrive item by item."""
    order = np.random.default_rng(0).permutation(len(data.texts))
    known, arriving = data.take(order[::2]), data.take(order[1::2])
    labels = discover(known.vectors, texts=known.texts).labels
    centroids = mean_directions(known.vectors, labels, int(labels.max()) + 1)
    thresholds = np.array(
        [theme_threshold(known.vectors[labels == c] @ centroid) for c, centroid in enumerate(centroids)]
    )
    start = time.process_time()
    index, _ = assign(arriving.vectors, centroids, thresholds)
    each = (time.process_time() - start) / len(index) * 1e6
    majority = [
        Counter(known.labels[labels == c].tolist()).most_common(1)[0][0] for c in range(len(centroids))
    ]
    right = np.array(
        [i >= 0 and majority[i] == label for i, label in zip(index, arriving.labels, strict=True)]
    )
    print(
        f"assign, {name:10s} {score(arriving, index)}  right label {right[index >= 0].mean():.3f}  CPU {each:.0f} us an item"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    if options.cache:
        options.cache.mkdir(parents=True, exist_ok=True)
    embed = embedder(options.cache)
    banking = intents(options.data / "intents" / "banking77.jsonl.gz", embed)
    clinc = intents(options.data / "intents" / "clinc150.jsonl.gz", embed)
    launch = demo_launch(embed)
    discover(banking.vectors[:100])  # loads hdbscan, which is not what the seconds below measure
    report_sets(banking, clinc)
    report_projects(banking, clinc)
    report_noise(clinc)
    report_names(banking, embed)
    print()
    for name, data in (("banking77", banking), ("clinc150", clinc), ("demo", launch)):
        report_assign(data, name)
    report_demo(launch, embed)


if __name__ == "__main__":
    main()
