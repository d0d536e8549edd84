"""Keyword search: every word of the query occurs in the text or the title, case ignored."""

from sqlalchemy import ColumnElement, and_, func, or_

from voice.db.tables import Feedback

_MAX_WORDS = 20


def keyword_condition(query: str) -> ColumnElement[bool]:
    """A condition that holds when every blank-separated word of `query` occurs; quotes keep words together."""
    return and_(*(_occurs(word) for word in _words(query)[:_MAX_WORDS]))


def _words(query: str) -> list[str]:
    words = []
    for index, part in enumerate(query.split('"')):
        words += [part.strip()] if index % 2 else part.split()
    return [word for word in words if word] or [query]


def _occurs(word: str) -> ColumnElement[bool]:
    folded = word.lower()
    return or_(
        func.lower(Feedback.text).contains(folded, autoescape=True),
        func.lower(Feedback.title).contains(folded, autoescape=True),
    )
