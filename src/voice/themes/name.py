"""Name: a title and keywords for a theme, in the words of the people who wrote.

A title is the phrase of two to five words that is central to the theme, much more common in it than in the other themes, and
frequent. The recipe and how it compares with c-TF-IDF and KeyBERT are in docs/develop/themes.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from voice.themes.vectors import Vectors, mean_directions
from voice.themes.words import FILLER, NEGATIONS, RUDE, comparable, is_content, is_edge, segments, stem

VERSION = "name-1"

Phrase = tuple[str, ...]
"""Case-folded words as they stand in a text."""
Family = tuple[str, ...]
"""What phrases that say the same share, sorted: the stems of their words without the inner stop words."""

MAX_TEXTS = 200
"""Texts of a theme that are read: the most central ones."""
MAX_PHRASES = 60
"""Phrases of a theme that are embedded."""
VAGUE = 0.08
"""Taken off for a first or last word such as "time" or "wrong" that many themes share."""
ONE_WORD = 0.30
"""A single word must score this much better than a phrase: it is always more frequent, and says less."""
LONGEST = 5
MIN_TEXTS, MIN_SHARE = 3, 0.03
"""A phrase must be in this many texts and this share of them."""
CENTRAL, CONTRAST, FREQUENT = 0.70, 0.20, 0.10
KEYWORDS = (3, 6)
PRIOR = 0.2
"""Imaginary texts of the pooled rate in the log-odds prior, as a share of all texts: so much that a phrase seen only here
does not lose to one that is also seen elsewhere."""
LONGEST_ACRONYM = 5
"""Longer words in capitals are shouted."""
QUOTE_WORDS, QUOTE_CHARACTERS = 6, 40
UNNAMED = "Unnamed theme"


@dataclass(frozen=True, slots=True)
class Name:
    """A title in sentence case, three to six keywords (fewer when the texts hold fewer), and the title's score, 0..1."""

    title: str
    keywords: tuple[str, ...]
    score: float


@dataclass(frozen=True, slots=True)
class _Group:
    texts: list[str]
    centroid: Vectors
    counts: Counter[Family]
    phrases: dict[Family, Counter[Phrase]]

    def phrase(self, family: Family) -> Phrase:
        """How the family is mostly put, the shortest way first."""
        forms = self.phrases[family]
        return min(forms, key=lambda phrase: (-forms[phrase], len(phrase), phrase))


def name_themes(
    groups: Sequence[Sequence[str]],
    vectors: Sequence[Vectors],
    *,
    embed: Callable[[Sequence[str]], Vectors],
    taken: Collection[str] = (),
) -> list[Name]:
    """Name every group of texts, given the (n, d) unit vectors of its texts.

    `embed` turns phrases into unit vectors of the same space and is called once at most. No two names, nor a name and
    one of `taken`, are equal when case, order, stop words and common endings are ignored. Groups are contrasted with
    each other, so pass all themes of a project and not only the new one. Addresses and [placeholders] never appear.

    Raises ValueError when a group and its vectors differ in length or a group is empty.
    """
    if len(groups) != len(vectors) or any(
        len(g) != len(v) or not g for g, v in zip(groups, vectors, strict=True)
    ):
        raise ValueError("each group needs texts and as many vectors")
    read = [_read(texts, rows) for texts, rows in zip(groups, vectors, strict=True)]
    everywhere: Counter[Family] = Counter()
    for group in read:
        everywhere.update(group.counts)
    documents = sum(len(group.texts) for group in read)
    spelling = _spelling(read)
    contrasts = [_contrast(group, everywhere, documents) for group in read]
    ranked = _rank(read, contrasts, spelling, embed)
    used = {comparable(title) for title in taken}
    names: dict[int, Name] = {}
    for index in sorted(range(len(read)), key=lambda i: (-ranked[i][0][1] if ranked[i] else 0.0, i)):
        title, score = _first_free(ranked[index], used)
        used.add(comparable(title))
        names[index] = Name(title, _keywords(read[index], contrasts[index], spelling), score)
    return [names[index] for index in range(len(read))]


def _read(texts: Sequence[str], vectors: Vectors) -> _Group:
    """The most central distinct texts, most central first, and in how many of them each family occurs."""
    centroid = mean_directions(vectors, np.zeros(len(vectors), dtype=np.int64), 1)
    distinct: dict[str, None] = {}
    for i in np.argsort(-(vectors @ centroid[0]), kind="stable"):
        distinct.setdefault(texts[i][:10_000])
        if len(distinct) == MAX_TEXTS:
            break
    counts: Counter[Family] = Counter()
    phrases: dict[Family, Counter[Phrase]] = {}
    for text in distinct:
        found = set(_phrases(text))
        counts.update({family for family, _ in found})
        for family, phrase in found:
            phrases.setdefault(family, Counter())[phrase] += 1
    return _Group(list(distinct), centroid, counts, phrases)


def _phrases(text: str) -> Iterator[tuple[Family, Phrase]]:
    """Every run of one to five words that begins and ends on a word fit for it and says something."""
    for run in segments(text):
        folded = [word.casefold() for word in run]
        edge = [is_edge(word) for word in folded]
        content = [is_content(word) for word in folded]
        stems = [
            "not" if word in NEGATIONS else stem(word) if on else ""
            for word, on in zip(folded, edge, strict=True)
        ]
        for start in range(len(folded)):
            if not stems[start]:
                continue
            for end in range(start + 1, min(start + LONGEST, len(folded)) + 1):
                if folded[end - 1] in RUDE:
                    break
                family = sorted(filter(None, stems[start:end]))
                if edge[end - 1] and any(content[start:end]) and len(set(family)) == len(family):
                    yield tuple(family), tuple(folded[start:end])


def _spelling(groups: Sequence[_Group]) -> dict[str, str]:
    """How each word is mostly written, inside sentences where possible: "google" is "Google", "sms" is "SMS"."""
    inside: dict[str, Counter[str]] = {}
    opening: dict[str, Counter[str]] = {}
    for group in groups:
        for text in group.texts:
            if text.upper() == text:
                continue
            for run in segments(text):
                for position, word in enumerate(run):
                    (inside if position else opening).setdefault(word.casefold(), Counter())[word] += 1
    written = {}
    for folded in inside.keys() | opening.keys():
        forms = inside.get(folded) or opening[folded]
        best = min(forms, key=lambda w: (-forms[w], w))
        acronym = best.isupper() and 1 < len(best) <= LONGEST_ACRONYM
        written[folded] = (
            best if acronym or (folded in inside and not best.isupper()) or best == "I" else folded
        )
    return written


def _contrast(group: _Group, everywhere: Counter[Family], documents: int) -> dict[Family, float]:
    """Log-odds z of each family, here against all other groups, with an informative Dirichlet prior.

    Monroe, Colaresi and Quinn (2008), "Fightin' Words", with texts counted instead of words.
    """
    here_total, other_total = len(group.texts), documents - len(group.texts)
    contrast = {}
    for family, here in group.counts.items():
        other = everywhere[family] - here
        prior = PRIOR * everywhere[family]
        odds_here = (here + prior) / (here_total - here + PRIOR * documents - prior + 0.5)
        odds_other = (other + prior) / (other_total - other + PRIOR * documents - prior + 0.5)
        deviation = (1 / (here + prior) + 1 / (other + prior)) ** 0.5
        contrast[family] = float(np.log(odds_here / odds_other) / deviation)
    return contrast


def _rank(
    groups: Sequence[_Group],
    contrasts: Sequence[dict[Family, float]],
    spelling: dict[str, str],
    embed: Callable[[Sequence[str]], Vectors],
) -> list[list[tuple[str, float]]]:
    """For every group its titles with scores, best first, then openings of texts."""
    weights = [_weights(group, contrast) for group, contrast in zip(groups, contrasts, strict=True)]
    titled = [
        {family: _title(group.phrase(family), spelling) for family in scored}
        for group, scored in zip(groups, weights, strict=True)
    ]
    titles = sorted({title for by_family in titled for title in by_family.values()})
    embedded = dict(zip(titles, embed(titles), strict=True)) if titles else {}
    ranked = []
    for group, scored, by_family in zip(groups, weights, titled, strict=True):
        options = []
        for family, weight in scored.items():
            title = by_family[family]
            score = weight + CENTRAL * max(float(embedded[title] @ group.centroid[0]), 0.0)
            options.append((ONE_WORD * (len(family) == 1) - score, title, score))
        ranked.append([(title, score) for _, title, score in sorted(options)] + _quotes(group))
    return ranked


def _weights(group: _Group, contrast: dict[Family, float]) -> dict[Family, float]:
    """The part of the score that needs no embedding, for the families worth embedding."""
    fewest = max(MIN_TEXTS, MIN_SHARE * len(group.texts))
    frequent = [family for family, n in group.counts.items() if n >= fewest]
    if not frequent:
        frequent = [family for family, n in group.counts.items() if n >= 2]
    if not frequent:
        return {}
    sharpest = max(1e-9, max(contrast[family] for family in frequent))
    commonest = float(np.log1p(max(group.counts[family] for family in frequent)))
    weight = {}
    for family in frequent:
        phrase = group.phrase(family)
        weight[family] = (
            CONTRAST * max(contrast[family], 0.0) / sharpest
            + FREQUENT * float(np.log1p(group.counts[family])) / commonest
            - VAGUE * ((phrase[0] in FILLER) + (phrase[-1] in FILLER))
        )
    best = sorted(weight, key=lambda family: (len(family) == 1, -weight[family], family))
    return {family: weight[family] for family in best[:MAX_PHRASES]}


def _quotes(group: _Group) -> list[tuple[str, float]]:
    """Openings of the most central texts: the title when no phrase is shared."""
    quotes = []
    for text in group.texts[:10]:
        words = next(segments(text), [])[:QUOTE_WORDS]
        title = " ".join(words)[:QUOTE_CHARACTERS].strip()
        if any(character.isalpha() for character in title):
            quotes.append((title[0].upper() + title[1:], 0.0))
    return quotes


def _title(phrase: Phrase, spelling: dict[str, str]) -> str:
    words = [spelling.get(word, word) for word in phrase]
    if words[0].islower():
        words[0] = words[0][0].upper() + words[0][1:]
    return " ".join(words)


def _first_free(ranked: Sequence[tuple[str, float]], used: Collection[tuple[str, ...]]) -> tuple[str, float]:
    for title, score in ranked:
        if comparable(title) not in used:
            return title, min(max(score, 0.0), 1.0)
    base = ranked[0][0] if ranked else UNNAMED
    number = 1 if comparable(base) not in used else 2
    while comparable(f"{base} {number}") in used:
        number += 1
    return (base if number == 1 else f"{base} {number}"), 0.0


def _keywords(group: _Group, contrast: dict[Family, float], spelling: dict[str, str]) -> tuple[str, ...]:
    """The words that set the theme apart, one of each family of endings."""
    fewest, most = KEYWORDS
    words = [family for family in group.counts if len(family) == 1]
    words.sort(key=lambda family: (group.counts[family] < 2, -contrast[family], family))
    chosen: list[str] = []
    for family in words[:most]:
        if len(chosen) >= fewest and (group.counts[family] < 2 or contrast[family] <= 0):
            break
        chosen.append(" ".join(spelling.get(word, word) for word in group.phrase(family)))
    return tuple(chosen)
