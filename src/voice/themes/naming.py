"""Sticky names: a theme keeps its name unless a machine gave it and the theme became something else.

A young theme is named again whenever it has doubled; later its name changes only when it is found outgrown by two
evaluations running. What a person named is never renamed, and no two themes of a project have one name.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from voice.db.tables import Theme
from voice.themes.name import Name, name_themes
from voice.themes.vectors import Vectors
from voice.themes.words import comparable, segments, stem

DOUBTS = 2
"""Evaluations in a row that must find a name outgrown before it changes."""
FADED = 0.5
"""A name is outgrown when less than this share of the best name's texts would carry it."""
GROWN = 2
"""Growth, since it was named, at which a machine's name is made anew."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a theme is called from now on, and what is remembered to decide that again."""

    title: str
    keywords: tuple[str, ...]
    doubts: int
    size: int


def name_clusters(
    texts: Mapping[int, Sequence[str]],
    vectors: Mapping[int, Vectors],
    continued: Mapping[int, Theme],
    *,
    others: Collection[str],
    embed: Callable[[Sequence[str]], Vectors],
) -> dict[int, Named]:
    """A name for every cluster; `continued` says which theme a cluster goes on with, `others` what else is taken."""
    keys = sorted(texts)
    if not keys:
        return {}

    def best(taken: Collection[str]) -> dict[int, Name]:
        found = name_themes([texts[k] for k in keys], [vectors[k] for k in keys], embed=embed, taken=taken)
        return dict(zip(keys, found, strict=True))

    fresh = best(others)
    named = {k: _decide(continued.get(k), fresh[k], texts[k]) for k in keys}
    kept = {k: n.title for k, n in named.items() if n.title != fresh[k].title}
    taken = {comparable(title) for title in kept.values()}
    if any(comparable(named[k].title) in taken for k in keys if k not in kept):
        fresh = best([*others, *kept.values()])
        named |= {k: _decide(continued.get(k), fresh[k], texts[k]) for k in keys if k not in kept}
    return named


def _decide(theme: Theme | None, fresh: Name, texts: Sequence[str]) -> Named:
    anew = Named(fresh.title, fresh.keywords, 0, len(texts))
    if theme is None:
        return anew
    keep = Named(theme.name, fresh.keywords, 0, theme.named_size)
    if theme.name_source == "person" or comparable(theme.name) == comparable(fresh.title):
        return keep
    if len(texts) >= GROWN * theme.named_size:
        return anew
    if not outgrown(theme.name, fresh.title, texts):
        return keep
    doubts = theme.name_doubts + 1
    return anew if doubts >= DOUBTS else Named(theme.name, fresh.keywords, doubts, theme.named_size)


def outgrown(name: str, best: str, texts: Sequence[str]) -> bool:
    """True when the words of `name` occur in less than half as many texts as the words of the `best` name."""
    spoken = [_stems(text) for text in texts]
    return _carried(name, spoken) < FADED * _carried(best, spoken)


def _stems(text: str) -> set[str]:
    return {stem(word.casefold()) for run in segments(text) for word in run}


def _carried(name: str, spoken: Sequence[set[str]]) -> int:
    words = set(comparable(name))
    return sum(1 for stems in spoken if words <= stems) if words else 0
