"""Feedback leaving Voice as a file: walked a page at a time, recorded before the first byte."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from voice.accounts import Secrets
from voice.analysis.topic_editing import topic_names
from voice.clock import Clock, rfc3339
from voice.db.session import Database
from voice.db.tables import Analysis, Feedback, Project
from voice.events import Change, amend, append
from voice.people import authors_of, record_reading
from voice.search import FeedbackFilter, conditions, keyword_condition, read_items
from voice.search.items import Unseal
from voice.search.tabular import Format, header, lines
from voice.themes.ledger import survivors
from voice.themes.queries import theme_names

PAGE = 200


@dataclass(frozen=True, slots=True)
class Export:
    """Which feedback leaves, and in which form. `wanted.theme` comes resolved; `query` is a keyword search."""

    project_id: str
    wanted: FeedbackFilter
    query: str | None = None
    format: Format = "csv"
    authors: bool = False
    bom: bool = False

    def recorded(self) -> dict[str, Any]:
        """What the event says. Words searched for may name a person, so only that there were some is kept."""
        spans = {"from": self.wanted.start, "to": self.wanted.end}
        given = {name: list(values) for name, values in self.wanted.named().items()}
        moments = {name: rfc3339(moment) for name, moment in spans.items() if moment is not None}
        return {
            "format": self.format,
            "authors": self.authors,
            "filter": given | moments | ({"q": True} if self.query else {}),
        }


def filename(session: Session, export: Export, *, now: datetime) -> str:
    """A name for the file, of ASCII letters, digits, dots, dashes and underscores only."""
    slug = session.get_one(Project, export.project_id).slug
    return f"voice-{slug}-{now:%Y%m%dT%H%M%SZ}.{export.format}"


def stream(
    database: Database, secrets: Secrets, export: Export, *, actor: str, clock: Clock
) -> Iterator[bytes]:
    """The file, piece by piece, the newest arrival first.

    The event `feedback.exported` is committed when this is called, so nothing leaves unrecorded; its number of rows is
    filled in after the last one, and stays null when the file was not finished. That authors were read is recorded
    before each page of them. Each page is a transaction of its own.
    Pages follow the ids, which never change, so that an item that is there all the time is in the file exactly once.
    """
    after = export.recorded() | {"rows": None}
    with database.write() as session:
        mine = export.project_id
        event = append(session, Change(mine, "feedback.exported", mine, actor, clock(), after=after))
    return _walk(database, secrets, export, event=event, actor=actor, clock=clock)


def _walk(
    database: Database, secrets: Secrets, export: Export, *, event: int, actor: str, clock: Clock
) -> Iterator[bytes]:
    with database.read() as session:
        names = {
            "topics": topic_names(session, export.project_id),
            "themes": theme_names(session, export.project_id),
            "survivors": survivors(session, export.project_id),
        }
    unseal: Unseal = secrets.unseal if export.authors else lambda _: {}
    rows, last = 0, None
    yield header(export.format, authors=export.authors, bom=export.bom)
    while True:
        with database.read() as session:
            ids = _page(session, export, before=last)
            people = authors_of(session, export.project_id, ids) if export.authors else []
            items = read_items(session, export.project_id, ids, **names, unseal=unseal)
        if people:
            with database.write() as session:
                record_reading(session, export.project_id, people, actor=actor, now=clock())
        if items:
            yield lines(items, export.format, authors=export.authors)
        rows += len(items)
        if len(ids) < PAGE:
            break
        last = ids[-1]
    with database.write() as session:
        amend(session, event, after=export.recorded() | {"rows": rows})


def _page(session: Session, export: Export, *, before: str | None) -> list[str]:
    statement = (
        select(Feedback.id)
        .outerjoin(Analysis, Analysis.feedback_id == Feedback.id)
        .where(*conditions(export.project_id, export.wanted))
    )
    if export.query:
        statement = statement.where(keyword_condition(export.query))
    if before is not None:
        statement = statement.where(Feedback.id < before)
    return list(session.scalars(statement.order_by(Feedback.id.desc()).limit(PAGE)))
