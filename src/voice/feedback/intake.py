"""Intake: redact, recognise what is already there, store. Runs inside the writer's transaction."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import event, select, tuple_, update
from sqlalchemy.orm import Session

from voice import metrics, tracing
from voice.accounts import Secrets
from voice.db.dialects import CHUNK, insert_ignoring, insert_new, lock_rows, run, table_of
from voice.db.tables import PENDING, Feedback, Person, PersonEmail, Source
from voice.events import Change, append_all
from voice.feedback.claims import REOPENED
from voice.feedback.outcomes import Stored
from voice.feedback.ratings import elect_first, elect_rating
from voice.feedback.submission import Author, Submission
from voice.feedback.suppression import address_key, suppressed
from voice.ids import new_id
from voice.redaction import VERSION as REDACTOR_VERSION
from voice.redaction import Redactor

ExternalKey = tuple[str, str, str]

_MOST_SOURCES = 10_000


@dataclass(frozen=True, slots=True)
class Arrival:
    """One accepted submission, redacted and ready to be stored; `erasable_by` are the keys that may be suppressed."""

    project_id: str
    source: str
    row: dict[str, Any]
    person: dict[str, Any] | None
    erasable_by: tuple[str, ...] = ()

    def key(self, source_id: str) -> ExternalKey | None:
        external_id = self.row["external_id"]
        return None if external_id is None else (self.project_id, source_id, external_id)


class Intake:
    """Turns submissions into stored rows. `prepare` needs no database, `store` runs in a transaction."""

    def __init__(self, secrets: Secrets, redactor: Redactor) -> None:
        self._secrets = secrets
        self._redactor = redactor
        self._sources: dict[tuple[str, str], str] = {}

    def prepare(
        self,
        project_id: str,
        submission: Submission,
        *,
        now: datetime,
        sent_by: str = "system",
        truncated: bool = False,
    ) -> Arrival:
        """Redact a submission and give it an id; `sent_by` is kept for the audit. The original is not kept."""
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
            "sent_by": sent_by,
            "trace": tracing.traceparent(),
        }
        keys = self._erasable_by(project_id, person_id, submission)
        return Arrival(project_id, submission.source_slug, row, person, keys)

    def _erasable_by(self, project_id: str, person_id: str | None, submission: Submission) -> tuple[str, ...]:
        keys = [] if person_id is None else [person_id]
        if submission.author.email is not None:
            keys.append(address_key(self._secrets, project_id, submission.author.email))
        if submission.external_id is not None:
            keys.append(
                self._secrets.external_key(project_id, submission.source_slug, submission.external_id)
            )
        return tuple(keys)

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
            if not value:
                clean[name] = value
                continue
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
        """Store arrivals in order; one answer each. Same external id: same content → duplicate, else updated.

        What was erased, or is of somebody who was, is not stored again: the answer is `erased`.
        """
        erased = suppressed(session, {(a.project_id, key) for a in arrivals for key in a.erasable_by})
        answers: list[Stored | None] = [
            Stored(None, "erased") if any((a.project_id, key) in erased for key in a.erasable_by) else None
            for a in arrivals
        ]
        waiting = [i for i, answer in enumerate(answers) if answer is None]
        sources = self._sources_of(session, [arrivals[i] for i in waiting], now)
        keys = [
            a.key(sources[a.project_id, a.source]) if answer is None else None
            for a, answer in zip(arrivals, answers, strict=True)
        ]
        while waiting:
            wave, waiting = _first_of_each_key(waiting, keys)
            for part in _chunks(wave, CHUNK):
                self._store_wave(session, [(i, arrivals[i], keys[i]) for i in part], sources, answers)
        stored = [answer for answer in answers if answer is not None]
        event.listen(session, "after_commit", lambda _: _count(stored), once=True)
        return stored

    def _sources_of(
        self, session: Session, arrivals: Sequence[Arrival], now: datetime
    ) -> dict[tuple[str, str], str]:
        """Ids of the sources named. Those that were stored before are remembered: a source is never deleted."""
        wanted = {(a.project_id, a.source): a.row["channel"] for a in arrivals}
        if not wanted.keys() <= self._sources.keys():
            known, found = _ensure_sources(session, wanted, now)
            if len(self._sources) > _MOST_SOURCES:
                self._sources = {}
            self._sources |= known  # not those made here: this transaction may still be rolled back
            return found
        return self._sources

    def _store_wave(
        self,
        session: Session,
        wave: list[tuple[int, Arrival, ExternalKey | None]],
        sources: dict[tuple[str, str], str],
        answers: list[Stored | None],
    ) -> None:
        known = _find(session, [key for _, _, key in wave if key is not None])
        fresh = [(i, arrival, key) for i, arrival, key in wave if key is None or key not in known]
        _store_people(session, self._secrets, [arrival for _, arrival, _ in wave])
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


def _count(stored: Sequence[Stored]) -> None:
    for outcome, n in Counter(one.outcome for one in stored).items():
        metrics.INTAKE.labels(outcome).inc(n)


def _ensure_sources(
    session: Session, wanted: dict[tuple[str, str], str], now: datetime
) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], str]]:
    """Ids of the sources that were there before, and of all that are wanted."""
    known = found = _known_sources(session, wanted)
    missing: list[dict[str, Any]] = [
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
    return known, found


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


def _store_people(session: Session, secrets: Secrets, arrivals: Sequence[Arrival]) -> None:
    people = {a.person["id"]: a.person for a in arrivals if a.person is not None}
    # Sealed before this transaction began: the root secret may have been rotated since.
    rows = [one | {"sealed": secrets.renew(one["sealed"])} for _, one in sorted(people.items())]
    run(session, insert_ignoring(session, table_of(Person)), rows)
    with_email = {row["id"]: row for row in rows if row["email_key"] is not None}
    if not with_email:
        return
    used = {
        (a.project_id, a.person["id"], a.person["email_key"])
        for a in arrivals
        if a.person is not None and a.person["email_key"] is not None
    }
    addresses = [{"project_id": p, "person_id": i, "email_key": e} for p, i, e in sorted(used)]
    run(session, insert_ignoring(session, table_of(PersonEmail)), addresses)
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
    holders = elect_first(session, rated)
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
    stored = [
        {("metadata" if name == "meta" else name): value for name, value in row.items()} for row in rows
    ]
    inserted = insert_new(session, table_of(Feedback), stored)
    orphaned = {
        key: holder for key, holder in holders.items() if holder in rated.values() and holder not in inserted
    }
    for project_id, source_id, response_id in orphaned:
        elect_rating(session, project_id, source_id, response_id)
    return inserted


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
        [
            Change(
                arrival.project_id,
                "feedback.updated",
                feedback_id,
                arrival.row["sent_by"],
                arrival.row["received_at"],
            )
        ],
    )
    return Stored(feedback_id, "updated")


def _chunks(items: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
