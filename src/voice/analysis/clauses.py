"""Clauses of a text, as offsets."""

from __future__ import annotations

import re

MIN_WORDS = 3
MAX_CLAUSES = 40
MAX_CHARS = 10_000

# A sentence end needs a space after it, so 4.2, file.txt and URLs stay whole. Every run is entered once only, at its
# start, so that hostile runs of spaces or marks cost linear time.
_BREAK = re.compile(
    r"(?<![.!?…])[.!?…]++[\"')\]]*(?=\s|$)|[。！？]|[;\n]|(?:,|(?<=\S))\s+(?=(?:but|however|although|though|whereas|yet)\b)",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def clauses(text: str) -> list[tuple[int, int]]:
    """(start, end) of each clause: no surrounding space, at least three words, in order, never overlapping.

    Clauses end at sentence ends, semicolons, line breaks, and before but, however, although, though, whereas,
    yet. What is shorter than three words is left out. At most 40, from the first 10,000 characters.
    """
    found: list[tuple[int, int]] = []
    start = 0
    body = text[:MAX_CHARS]
    for end in [*(match.end() for match in _BREAK.finditer(body)), len(body)]:
        piece = body[start:end]
        left = start + len(piece) - len(piece.lstrip())
        right = start + len(piece.rstrip())
        if left < right and len(_WORD.findall(piece)) >= MIN_WORDS:
            found.append((left, right))
        start = end
    return found[:MAX_CLAUSES]
