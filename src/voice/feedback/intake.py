"""Intake: redact, recognise what is already there, store. Runs inside the writer's transaction."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, tuple_, update
from sqlalchemy.orm import Session

from voice.accounts import Secrets
from voice.db.dialects import CHUNK, insert_ignoring, lock_rows, run, table_of
from voice.db.tables import PENDING, Feedback, Person, Response, Source
from voice.events import Change, append_all
from voice.feedback.claims import REOPENED
from voice.feedback.outcomes import Stored
from voice.feedback.submission import Author, Submission
from voice.ids import new_id
from voice.redaction import VERSION as REDACTOR_VERSION
from voice.redaction import Redactor

ExternalKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One accepted submission, redacted and ready to be stored."""

    project_id: str
    source: str
    row: dict[str, Any]
    person: dict[str, Any] | None

    def key(self, source_id: str) -> ExternalKey | None:
        external_id = self.row["external_id"]
        return None if external_id is None else (self.project_id, source_id, external_id)


class Intake:
    """Turns submissions into stored rows. `prepare` needs no database, `store` runs in a transaction."""

    def __init__(self, secrets: Secrets, redactor: Redactor) -> None:
        self._secrets = secrets
        self._redactor = redactor

    def prepare(
        self, project_id: str, submission: Submission, *, now: datetime, truncated: bool = False
    ) -> Arrival:
        """Redact a submission and give it an id. The original is not kept."""
        person_id, person = self._person(project_id, submission.author)
        row = self._redacted(submission) | {
            "id": new_id(),
            "project_id": project_id,
            "channel": submission.channel,
            "external_id": submission.external_id,
            "response_id": submission.response_id,
            "thread_id": submission.thread_id,
            "person_id": person_id,
            "account": submission.author.account,
            "segment": submission.author.segment,
            "rating": submission.rating,
            "rating_scale": submission.rating_scale if submission.rating is not None else None,
            "created_at": submission.created_at or now,
            "received_at": now,
            "version": submission.version,
            "stated_language": submission.language,
            "truncated": truncated,
            "redactor": REDACTOR_VERSION,
            "content_hash": self._secrets.content_hash(submission.model_dump(mode="json")),
        }
        return Arrival(project_id, submission.source_slug, row, person)

    def _redacted(self, submission: Submission) -> dict[str, Any]:
        found: dict[str, int] = {}
        clean: dict[str, Any] = {}
        given: tuple[tuple[str, Any], ...] = (
            ("text", submission.verbatim),
            ("title", submission.title),
            ("tags", submission.tags),
            ("meta", submission.metadata),
        )
        for name, value in given:
            clean[name], counts = self._redactor.redact_value(value)
            for kind, count in counts.items():
                found[kind] = found.get(kind, 0) + count
        clean["url"] = None
        if submission.url is not None:
            redacted = self._redactor.redact_url(submission.url)
            clean["url"] = redacted.text
            for kind, count in redacted.found.items():
                found[kind] = found.get(kind, 0) + count
        return clean | {"redacted": found}

    def _person(self, project_id: str, author: Author) -> tuple[str | None, dict[str, Any] | None]:
        if author.id is None and author.email is None:
            return None, None
        email_key = author.email and self._secrets.person_key(project_id, "email", author.email)
        person_id = email_key if author.id is None else self._secrets.person_key(project_id, "id", author.id)
        sealed = self._secrets.seal({"id": author.id, "name": author.name, "email": author.email})
        return person_id, {
            "project_id": project_id,
            "id": person_id,
            "email_key": email_key,
            "sealed": sealed,
        }

    def store(self, session: Session, arrivals: Sequence[Arrival], *, now: datetime) -> list[Stored]:
        """Store arrivals in order; one answer each. Same external id: same content → duplicate, else updated."""
        sources = _ensure_sources(session, arrivals, now)
        keys = [a.key(sources[a.project_id, a.source]) for a in arrivals]
        answers: list[Stored | None] = [None] * len(arrivals)
        waiting = list(range(len(arrivals)))
        while waiting:
            wave, waiting = _first_of_each_key(waiting, keys)
            for part in _chunks(wave, CHUNK):
                self._store_wave(session, [(i, arrivals[i], keys[i]) for i in part], sources, answers)
        return [answer for answer in answers if answer is not None]

    def _store_wave(
        self,
        session: Session,
        wave: list[tuple[int, Arrival, ExternalKey | None]],
        sources: dict[tuple[str, str], str],
        answers: list[Stored | None],
    ) -> None:
        known = _find(session, [key for _, _, key in wave if key is not None])
        fresh = [(i, arrival, key) for i, arrival, key in wave if key is None or key not in known]
        _store_people(session, [arrival for _, arrival, _ in wave])
        inserted = _insert(session, [(a, sources[a.project_id, a.source]) for _, a, _ in fresh])
        lost = [key for _, arrival, key in fresh if key is not None and arrival.row["id"] not in inserted]
        if lost:  # another process stored the same external id between our look and our insert
            known |= _find(session, lost)
        for i, arrival, key in wave:
            if arrival.row["id"] in inserted:
                answers[i] = Stored(arrival.row["id"], "stored")
            else:
                assert key is not None
                answers[i] = _update_or_duplicate(session, arrival, *known[key])


def _ensure_sources(
    session: Session, arrivals: Sequence[Arrival], now: datetime
) -> dict[tuple[str, str], str]:
    wanted = {(a.project_id, a.source): a.row["channel"] for a in arrivals}
    found = _known_sources(session, wanted)
    missing = [
        {
            "id": new_id(),
            "project_id": project,
            "slug": slug,
            "channel": wanted[project, slug],
            "created_at": now,
        }
        for project, slug in sorted(wanted)
        if (project, slug) not in found
    ]
    if missing:
        run(session, insert_ignoring(session, table_of(Source)), missing)
        found = _known_sources(session, wanted)
        made = [row for row in missing if found[row["project_id"], row["slug"]] == row["id"]]
        append_all(
            session,
            [
                Change(
                    row["project_id"], "source.created", row["id"], "system", now, after={"slug": row["slug"]}
                )
                for row in made
            ],
        )
    return found


def _known_sources(session: Session, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    pair = tuple_(Source.project_id, Source.slug)
    rows = session.execute(select(Source.project_id, Source.slug, Source.id).where(pair.in_(list(wanted))))
    return {(project, slug): source_id for project, slug, source_id in rows}


def _first_of_each_key(waiting: list[int], keys: Sequence[ExternalKey | None]) -> tuple[list[int], list[int]]:
    """Split into the first of every external id, and the later ones, which must see the first one stored."""
    first: list[int] = []
    later: list[int] = []
    seen: set[ExternalKey] = set()
    for i in waiting:
        key = keys[i]
        if key is not None and key in seen:
            later.append(i)
        else:
            first.append(i)
            if key is not None:
                seen.add(key)
    return first, later


def _find(session: Session, keys: Sequence[ExternalKey]) -> dict[ExternalKey, tuple[str, str]]:
    """External keys already stored → (feedback id, content hash), locked in one order."""
    if not keys:
        return {}
    columns = tuple_(Feedback.project_id, Feedback.source_id, Feedback.external_id)
    statement = (
        select(
            Feedback.project_id, Feedback.source_id, Feedback.external_id, Feedback.id, Feedback.content_hash
        )
        .where(columns.in_(sorted(keys)))
        .order_by(Feedback.id)
    )
    rows = session.execute(lock_rows(session, statement))
    return {
        (project, source, external): (found, content) for project, source, external, found, content in rows
    }


def _store_people(session: Session, arrivals: Sequence[Arrival]) -> None:
    people = {a.person["id"]: a.person for a in arrivals if a.person is not None}
    rows = [people[person_id] for person_id in sorted(people)]
    run(session, insert_ignoring(session, table_of(Person)), rows)
    with_email = {row["id"]: row for row in rows if row["email_key"] is not None}
    if not with_email:
        return
    stale = session.execute(
        select(Person.project_id, Person.id, Person.email_key).where(Person.id.in_(list(with_email)))
    )
    for project_id, person_id, email_key in stale.all():
        if email_key != with_email[person_id]["email_key"]:
            mine = (Person.project_id == project_id, Person.id == person_id)
            new = with_email[person_id]
            session.execute(
                update(Person).where(*mine).values(email_key=new["email_key"], sealed=new["sealed"])
            )


def _insert(session: Session, arrivals: Sequence[tuple[Arrival, str]]) -> set[str]:
    """Insert rows, electing which of a survey response carries its rating; the ids that were really inserted."""
    rated = {
        (a.project_id, source_id, a.row["response_id"]): a.row["id"]
        for a, source_id in reversed(arrivals)
        if a.row["response_id"] is not None and a.row["rating"] is not None
    }
    holders = _elect(session, rated)
    rows = [
        a.row
        | {
            "source_id": source_id,
            "status": PENDING,
            "attempts": 0,
            "alone": False,
            "rating_counts": holders.get((a.project_id, source_id, a.row["response_id"]), a.row["id"])
            == a.row["id"],
        }
        for a, source_id in arrivals
    ]
    if not rows:
        return set()
    # In one order everywhere, so that two processes that are sent the same rows wait for, and never block, each other.
    rows.sort(key=lambda row: (row["source_id"], row["external_id"] or "", row["id"]))
    table = table_of(Feedback)
    statement = insert_ignoring(session, table).returning(table.c.id)
    stored = [
        {("metadata" if name == "meta" else name): value for name, value in row.items()} for row in rows
    ]
    inserted = set(session.scalars(statement, stored))
    orphaned = {
        key: holder for key, holder in holders.items() if holder in rated.values() and holder not in inserted
    }
    for project_id, source_id, response_id in orphaned:
        elect_rating(session, project_id, source_id, response_id)
    return inserted


def _elect(session: Session, rated: dict[tuple[str, str, str], str]) -> dict[tuple[str, str, str], str]:
    if not rated:
        return {}
    rows = [
        {"project_id": p, "source_id": s, "response_id": r, "feedback_id": rated[p, s, r]}
        for p, s, r in sorted(rated)
    ]
    run(session, insert_ignoring(session, table_of(Response)), rows)
    columns = tuple_(Response.project_id, Response.source_id, Response.response_id)
    found = session.execute(
        select(Response.project_id, Response.source_id, Response.response_id, Response.feedback_id).where(
            columns.in_(sorted(rated))
        )
    )
    return {(p, s, r): feedback_id for p, s, r, feedback_id in found}


def elect_rating(session: Session, project_id: str, source_id: str, response_id: str) -> None:
    """Choose anew which feedback of a response carries its rating: the oldest that has one.

    Call it when the holder lost its rating or is gone. Rows whose part in the trends changes by it are analysed again.
    """
    mine = (
        Feedback.project_id == project_id,
        Feedback.source_id == source_id,
        Feedback.response_id == response_id,
    )
    chosen = session.scalar(
        select(Feedback.id).where(*mine, Feedback.rating.is_not(None)).order_by(Feedback.id).limit(1)
    )
    for counts, whose in ((False, Feedback.id != (chosen or "")), (True, Feedback.id == (chosen or ""))):
        changed = update(Feedback).where(*mine, whose, Feedback.rating_counts.is_not(counts))
        session.execute(changed.values(rating_counts=counts, **REOPENED))
    key = (
        Response.project_id == project_id,
        Response.source_id == source_id,
        Response.response_id == response_id,
    )
    if chosen is None:
        session.execute(table_of(Response).delete().where(*key))
    else:
        row = {
            "project_id": project_id,
            "source_id": source_id,
            "response_id": response_id,
            "feedback_id": chosen,
        }
        run(session, insert_ignoring(session, table_of(Response)), [row])
        session.execute(update(Response).where(*key).values(feedback_id=chosen))


def _update_or_duplicate(session: Session, arrival: Arrival, feedback_id: str, content_hash: str) -> Stored:
    if content_hash == arrival.row["content_hash"]:
        return Stored(feedback_id, "duplicate")
    old = session.get_one(Feedback, feedback_id)
    responses = {old.response_id, arrival.row["response_id"]} - {None}
    kept = {"id", "project_id", "external_id", "received_at"}
    values = {name: value for name, value in arrival.row.items() if name not in kept}
    session.execute(
        update(Feedback).where(Feedback.id == feedback_id).values(**values, **REOPENED, rating_counts=True)
    )
    session.expire(old)
    for response_id in sorted(response for response in responses if response is not None):
        elect_rating(session, arrival.project_id, old.source_id, response_id)
    append_all(
        session,
        [Change(arrival.project_id, "feedback.updated", feedback_id, "system", arrival.row["received_at"])],
    )
    return Stored(feedback_id, "updated")


def _chunks(items: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
