"""Erasure of a person from everything, in short transactions that a crash can interrupt and `forget` goes on with.

First the keyed hashes are suppressed, so that nothing of the person can come in; then the rows go, chunk by chunk, then
what themes learned from them and the ids in events; last the identity, and the proof is written.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from voice.accounts import Secrets
from voice.clock import Clock
from voice.db.dialects import CHUNK
from voice.db.session import Database
from voice.db.tables import Erasure, Feedback, Source, Suppression
from voice.events import Change, append
from voice.feedback.suppression import hold_intake, lift, suppress
from voice.people.identity import find_people
from voice.removal import Removed, begin, finish, locked, note, remove_feedback, unfinished
from voice.removal.jobs import forget_silent, proof_of

RESTORE = "restore"

log = structlog.get_logger()

NextIds = Callable[[Session, Erasure], list[str]]


def erase(
    database: Database,
    secrets: Secrets,
    project_id: str,
    *,
    author_id: str | None,
    email: str | None,
    actor: str,
    clock: Clock,
) -> dict[str, Any]:
    """Erase a person and all they said, and never store it again; returns the proof, which holds only keyed hashes.

    When it returns, nothing is left; when it is interrupted, `finish_erasures` goes on. Raises Invalid unless exactly
    one of author_id and email is given.
    """
    now = clock()
    with database.write() as session:
        hold_intake(session)  # what is being stored now is found below, or waits and is refused
        people = find_people(session, secrets, project_id, author_id=author_id, email=email)
        suppress(session, project_id, people.keys, now=now)
        known_as = {"addresses": people.addresses, "address": people.address}
        erasure_id = begin(session, project_id, people=people.ids, known_as=known_as, actor=actor, now=now)
    return proof_of(_erase_all(database, secrets, erasure_id, _said_by_them, clock=clock))


def finish_erasures(database: Database, secrets: Secrets, *, clock: Clock) -> int:
    """Go on with removals that were interrupted; returns how many were finished. One that fails is logged and left."""
    with database.read() as session:
        left = unfinished(session, now=clock())
    finished = 0
    for erasure in left:
        try:
            _erase_all(database, secrets, erasure.id, _said_by_them, clock=clock)
            finished += 1
        except Exception:
            log.exception("erasure_failed", erasure=erasure.id)
    return finished


def _said_by_them(session: Session, erasure: Erasure) -> list[str]:
    said = select(Feedback.id).where(
        Feedback.project_id == erasure.project_id, Feedback.person_id.in_(erasure.people)
    )
    return list(session.scalars(said.order_by(Feedback.id).limit(CHUNK)))


def _erase_all(
    database: Database, secrets: Secrets, erasure_id: str, next_ids: NextIds, *, clock: Clock
) -> Erasure:
    while _erase_chunk(database, secrets, erasure_id, next_ids, now=clock()).ids:
        pass
    return finish(database, erasure_id, clock=clock)


def _erase_chunk(
    database: Database, secrets: Secrets, erasure_id: str, next_ids: NextIds, *, now: datetime
) -> Removed:
    with database.write() as session:
        hold_intake(session)
        erasure = locked(session, erasure_id)
        ids = next_ids(session, erasure) if erasure.finished_at is None else []
        if not ids:
            return Removed()  # or another process went on with it, and has finished
        removed = remove_feedback(session, erasure.project_id, ids)
        external = [secrets.external_key(erasure.project_id, *pair) for pair in removed.external]
        suppress(session, erasure.project_id, external, now=now)
        note(session, erasure, removed, ids=True)
        return removed


def allow(
    session: Session,
    secrets: Secrets,
    project_id: str,
    *,
    author_id: str | None,
    email: str | None,
    actor: str,
    now: datetime,
) -> dict[str, bool]:
    """Listen to an erased person again, because they ask for it.

    By author id: the author, and what they send without an id from their addresses. By e-mail: everybody who was
    erased by that address. Items that were erased stay suppressed by their ids at their sources. Answers whether
    anything was lifted, and whether an address of theirs is still suppressed because it was erased by itself.
    """
    people = find_people(session, secrets, project_id, author_id=author_id, email=email)
    keys, addresses = set(people.keys), set()
    for erasure in session.scalars(select(Erasure).where(Erasure.project_id == project_id)):
        known_as = erasure.reached["known_as"]
        if email is not None and known_as.get("address") == people.address:
            keys |= set(erasure.people)
        elif email is None and people.ids[0] in erasure.people:
            keys |= set(known_as["addresses"].get(people.author, ()))
            addresses |= {known_as["address"]} - {None}
    lifted = lift(session, project_id, keys)
    if lifted:
        append(session, Change(project_id, "person.allowed", people.ids[0], actor, now))
    mine = (Suppression.project_id == project_id, Suppression.key.in_(addresses))
    return {
        "allowed": lifted > 0,
        "address_suppressed": bool(session.scalars(select(Suppression).where(*mine)).first()),
    }


def reapply_erasures(database: Database, secrets: Secrets, *, clock: Clock) -> int:
    """Erase again what came back, as after the restore of an older backup; returns how many feedback rows went.

    What an erased person was allowed to say later stays.
    """
    with database.read() as session:
        done = list(session.scalars(select(Erasure).order_by(Erasure.id)))
    total = 0
    for erasure in done:
        if not erasure.people:
            continue
        with database.read() as session:
            said = select(Feedback.id).where(
                Feedback.project_id == erasure.project_id,
                Feedback.person_id.in_(erasure.people),
                Feedback.received_at <= erasure.asked_at,
            )
            ids = list(session.scalars(said.order_by(Feedback.id)))
        total += _erase_again(database, secrets, erasure.project_id, ids, clock=clock)
        with database.write() as session:
            hold_intake(session)
            forget_silent(session, erasure.project_id, erasure.people)
    for project_id, ids in _suppressed_items(database, secrets):
        total += _erase_again(database, secrets, project_id, ids, clock=clock)
    return total


def _erase_again(
    database: Database, secrets: Secrets, project_id: str, ids: list[str], *, clock: Clock
) -> int:
    if not ids:
        return 0
    left = iter([ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)])
    with database.write() as session:
        erasure_id = begin(session, project_id, actor=RESTORE, now=clock())
    _erase_all(database, secrets, erasure_id, lambda *_: next(left, []), clock=clock)
    return len(ids)


def _suppressed_items(database: Database, secrets: Secrets) -> list[tuple[str, list[str]]]:
    """Stored items whose id at their source is suppressed, by project."""
    with database.read() as session:
        projects = list(session.scalars(select(Suppression.project_id).distinct()))
    found = []
    for project_id in projects:
        with database.read() as session:
            keys = set(session.scalars(select(Suppression.key).where(Suppression.project_id == project_id)))
            rows = session.execute(
                select(Feedback.id, Source.slug, Feedback.external_id)
                .join(Source, Source.id == Feedback.source_id)
                .where(Feedback.project_id == project_id, Feedback.external_id.is_not(None))
                .execution_options(yield_per=5_000)
            )
            ids = [
                feedback_id
                for feedback_id, slug, external_id in rows
                if secrets.external_key(project_id, slug, external_id or "") in keys
            ]
        if ids:
            found.append((project_id, ids))
    return found
