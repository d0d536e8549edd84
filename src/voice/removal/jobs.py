"""A removal from its first row to its proof: a row in `erasures` says how far it got, so that a crash only delays it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from voice.clock import Clock, parse_rfc3339, rfc3339
from voice.db.dialects import CHUNK, empty_log, lock_rows
from voice.db.session import Database
from voice.db.tables import Erasure, Event, Feedback, Idempotency, Key, Person, PersonEmail
from voice.events import Change, append
from voice.feedback.suppression import hold_intake
from voice.ids import new_id
from voice.removal.rows import Removed
from voice.themes.forgetting import forget

_ABANDONED_AFTER = timedelta(minutes=10)
_CLOCK_SLACK = timedelta(hours=1)
_LISTING = ("feedback.analysed", "theme.moved", "theme.split")
"""Kinds of events that list ids of feedback."""
_LEFT = ("feedback.exported", "person.exported")
"""Kinds of events that say that something had left Voice."""


def begin(
    session: Session,
    project_id: str,
    *,
    people: Sequence[str] = (),
    known_as: Mapping[str, Any] | None = None,
    actor: str,
    now: datetime,
) -> str:
    """Record that a removal begins; its id. `known_as` is kept for good beside the proof."""
    erasure = Erasure(
        id=new_id(),
        project_id=project_id,
        people=list(people),
        actor=actor,
        asked_at=now,
        finished_at=None,
        reached={
            "feedback": 0,
            "ids": [],
            "themes": [],
            "since": rfc3339(now),
            "known_as": dict(known_as or {}),
        },
    )
    session.add(erasure)
    session.flush()
    return erasure.id


def locked(session: Session, erasure_id: str) -> Erasure:
    """The removal's row, which nobody else goes on with until the transaction ends."""
    chosen = select(Erasure).where(Erasure.id == erasure_id)
    erasure: Erasure = session.scalars(lock_rows(session, chosen)).one()
    return erasure


def note(session: Session, erasure: Erasure, removed: Removed, *, ids: bool) -> None:
    """Record what a transaction removed; `ids` remembers them, to take them out of events and answers at the end."""
    reached = erasure.reached
    since = rfc3339(removed.since) if removed.since is not None else reached["since"]
    erasure.reached = reached | {
        "feedback": reached["feedback"] + len(removed.ids),
        "ids": [*reached["ids"], *removed.ids] if ids else reached["ids"],
        "themes": sorted({*reached["themes"], *removed.themes}),
        "since": min(reached["since"], since),
    }
    session.flush()


def unfinished(session: Session, *, now: datetime) -> list[Erasure]:
    """Removals that were begun a while ago and have not ended."""
    left = select(Erasure).where(Erasure.finished_at.is_(None), Erasure.asked_at < now - _ABANDONED_AFTER)
    return list(session.scalars(left.order_by(Erasure.id)))


def finish(database: Database, erasure_id: str, *, clock: Clock) -> Erasure:
    """After the last row: what themes learned, ids in events and answers, the identities; then the proof."""
    with database.read() as session:
        erasure = session.get_one(Erasure, erasure_id)
    if erasure.finished_at is None:
        for theme_id in erasure.reached["themes"]:
            with database.write() as session:
                forget(session, theme_id, now=clock())
        gone, since = set(erasure.reached["ids"]), parse_rfc3339(erasure.reached["since"]) - _CLOCK_SLACK
        if gone:
            _forget_in_events(database, erasure.project_id, gone, since=since)
            _forget_answers(database, erasure.project_id, gone, since=since)
        with database.write() as session:
            _conclude(session, erasure_id, now=clock())
    empty_log(database.engine)
    with database.read() as session:
        return session.get_one(Erasure, erasure_id)


def _forget_in_events(database: Database, project_id: str, gone: set[str], *, since: datetime) -> None:
    """Take ids out of the events that list ids."""
    after = 0
    listing = (
        select(Event)
        .where(Event.project_id == project_id, Event.kind.in_(_LISTING), Event.at >= since)
        .order_by(Event.id)
        .limit(CHUNK)
    )
    while True:
        with database.read() as session:
            page = session.scalars(listing.where(Event.id > after)).all()
        if not page:
            return
        after = page[-1].id
        naming = [one.id for one in page if _names(one, gone)]
        if naming:
            with database.write() as session:
                chosen = select(Event).where(Event.id.in_(naming)).order_by(Event.id)
                for event in session.scalars(lock_rows(session, chosen)):
                    event.before, event.after = _without(event.before, gone), _without(event.after, gone)
                session.flush()


def _names(event: Event, gone: set[str]) -> bool:
    return _without(event.before, gone) != event.before or _without(event.after, gone) != event.after


def _without(found: dict[str, Any], gone: set[str]) -> dict[str, Any]:
    """An event's side whose lists, and mappings by id, are without the ids that are gone."""
    kept: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, list):
            kept[name] = [one for one in value if one not in gone]
        elif isinstance(value, dict):
            kept[name] = {one: of for one, of in value.items() if one not in gone}
        else:
            kept[name] = value
    return kept


def _forget_answers(database: Database, project_id: str, gone: set[str], *, since: datetime) -> None:
    """Drop the remembered answers to an Idempotency-Key that name one of the ids."""
    with database.read() as session:
        answers = session.execute(
            select(Idempotency.key_id, Idempotency.token, Idempotency.answer)
            .join(Key, Key.id == Idempotency.key_id)
            .where(Key.project_id == project_id, Idempotency.at >= since)
            .execution_options(yield_per=CHUNK)
        )
        naming = [
            (key_id, token)
            for key_id, token, answer in answers
            if not gone.isdisjoint(feedback_id for feedback_id, _ in answer["stored"])
        ]
    for key_id, token in naming:
        with database.write() as session:
            session.execute(
                delete(Idempotency).where(Idempotency.key_id == key_id, Idempotency.token == token)
            )


def _conclude(session: Session, erasure_id: str, *, now: datetime) -> None:
    hold_intake(session)
    erasure = locked(session, erasure_id)
    if erasure.finished_at is not None:
        return
    forget_silent(session, erasure.project_id, erasure.people)
    reached = erasure.reached
    erasure.reached = {
        "feedback": reached["feedback"],
        "themes": len(reached["themes"]),
        "already_left": _already_left(session, erasure) if erasure.people else [],
        "known_as": reached["known_as"],
    }
    erasure.finished_at = now
    session.flush()
    if erasure.people:
        proof = Change(
            erasure.project_id,
            "person.erased",
            erasure.people[0],
            erasure.actor,
            now,
            after=proof_of(erasure),
        )
        append(session, proof)


def _already_left(session: Session, erasure: Erasure) -> list[dict[str, Any]]:
    people = set(erasure.people)
    left = session.scalars(
        select(Event)
        .where(Event.project_id == erasure.project_id, Event.kind.in_(_LEFT))
        .where(Event.at >= parse_rfc3339(erasure.reached["since"]))
        .order_by(Event.id)
    )
    return [
        {"event": one.id, "kind": one.kind, "at": rfc3339(one.at), "actor": one.actor}
        for one in left
        if one.kind != "person.exported" or not people.isdisjoint(one.after.get("people", [one.subject_id]))
    ]


def forget_silent(session: Session, project_id: str, people: Sequence[str]) -> None:
    """Drop the identities of those people of whom no feedback is left. Call `hold_intake` before."""
    said = select(Feedback.person_id).where(Feedback.project_id == project_id, Feedback.person_id.in_(people))
    silent = sorted(set(people) - set(session.scalars(said)))
    for table, column in ((PersonEmail, PersonEmail.person_id), (Person, Person.id)):
        session.execute(delete(table).where(table.project_id == project_id, column.in_(silent)))


def proof_of(erasure: Erasure) -> dict[str, Any]:
    """What may be shown of a finished erasure: keyed hashes, counts, times, and what had left Voice before."""
    return {
        "id": erasure.id,
        "people": erasure.people,
        "feedback": erasure.reached["feedback"],
        "themes": erasure.reached["themes"],
        "already_left": erasure.reached["already_left"],
        "erased_at": rfc3339(erasure.finished_at) if erasure.finished_at is not None else None,
    }
