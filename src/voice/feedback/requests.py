"""Intake requests as the writer handles them: a group at a time, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, tuple_
from sqlalchemy.orm import Session

from voice.clock import Clock
from voice.db.dialects import insert_ignoring, table_of
from voice.db.tables import Idempotency, WebhookDelivery
from voice.errors import Invalid, VoiceError
from voice.feedback.intake import Arrival, Intake
from voice.feedback.outcomes import Stored
from voice.feedback.suppression import begin_storing

REMEMBERED_FOR = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Idempotent:
    """An Idempotency-Key, whose it is, and a fingerprint of the body it came with.

    `older_hash` is the fingerprint as Voice 0.1.0 took it, so that a retry may cross the upgrade.
    """

    key_id: str
    token: str
    body_hash: str
    older_hash: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a webhook source brought, by the hash of the id that its sender gave it."""

    source_id: str
    key: str


@dataclass(frozen=True, slots=True)
class IntakeRequest:
    """Arrivals that are stored together, and what makes repeating them harmless: a client's key or a delivery's id."""

    arrivals: tuple[Arrival, ...]
    idempotent: Idempotent | None = None
    delivery: Delivery | None = None

    def is_known_by_something(self) -> bool:
        """Whether a removal that begins now could concern it."""
        return self.idempotent is not None or any(arrival.erasable_by for arrival in self.arrivals)


class IntakeHandler:
    """Stores a group of intake requests; one answer each."""

    def __init__(self, intake: Intake, clock: Clock) -> None:
        self._intake = intake
        self._clock = clock

    def __call__(
        self, session: Session, requests: Sequence[IntakeRequest]
    ) -> list[list[Stored] | VoiceError]:
        """Answers in the order of the requests. Same Idempotency-Key: same body → the first answer, else Invalid.

        A delivery that was here before is answered with nothing, and nothing of it is stored.
        """
        if any(request.is_known_by_something() for request in requests):
            begin_storing(session)
        answers: dict[int, list[Stored] | VoiceError] = {}
        asked = [request.idempotent for request in requests if request.idempotent is not None]
        known = _known(session, asked, since=self._clock() - REMEMBERED_FOR)
        fresh: list[int] = []
        repeats: list[int] = []
        claimed: dict[tuple[str, str], int] = {}
        repeated = _repeated(session, requests, now=self._clock())
        for i, request in enumerate(requests):
            if i in repeated:
                answers[i] = []
            elif request.idempotent is None:
                fresh.append(i)
            elif (key := (request.idempotent.key_id, request.idempotent.token)) in known:
                answers[i] = _repeat(request.idempotent, *known[key])
            elif key in claimed:
                repeats.append(i)
            else:
                claimed[key] = i
                fresh.append(i)
        self._store(session, requests, fresh, answers)
        for i in repeats:
            again = requests[i].idempotent
            assert again is not None
            first = claimed[again.key_id, again.token]
            first_request, first_answer = requests[first].idempotent, answers[first]
            assert first_request is not None
            assert isinstance(first_answer, list)
            answers[i] = _repeat(again, first_request.body_hash, first_answer)
        return [answers[i] for i in range(len(requests))]

    def _store(
        self,
        session: Session,
        requests: Sequence[IntakeRequest],
        fresh: Sequence[int],
        answers: dict[int, list[Stored] | VoiceError],
    ) -> None:
        now = self._clock()
        stored = self._intake.store(session, [a for i in fresh for a in requests[i].arrivals], now=now)
        position = 0
        remembered = []
        for i in fresh:
            request = requests[i]
            mine = stored[position : position + len(request.arrivals)]
            position += len(request.arrivals)
            answers[i] = mine
            if request.idempotent is not None:
                remembered.append(
                    {
                        "key_id": request.idempotent.key_id,
                        "token": request.idempotent.token,
                        "body_hash": request.idempotent.body_hash,
                        "answer": {"stored": [[one.id, one.outcome] for one in mine]},
                        "at": now,
                    }
                )
        if remembered:
            session.execute(insert(Idempotency), remembered)


def _known(
    session: Session, asked: Sequence[Idempotent], *, since: datetime
) -> dict[tuple[str, str], tuple[str, list[Stored]]]:
    if not asked:
        return {}
    pair = tuple_(Idempotency.key_id, Idempotency.token)
    mine = pair.in_([(one.key_id, one.token) for one in asked])
    session.execute(delete(Idempotency).where(mine, Idempotency.at < since))
    rows = session.scalars(select(Idempotency).where(mine))
    return {
        (row.key_id, row.token): (row.body_hash, [Stored(i, outcome) for i, outcome in row.answer["stored"]])
        for row in rows
    }


def _repeated(session: Session, requests: Sequence[IntakeRequest], *, now: datetime) -> set[int]:
    """Which requests bring a delivery that was here before; the others are remembered with what they bring."""
    first: dict[tuple[str, str], int] = {}
    found = set()
    for i, request in enumerate(requests):
        if request.delivery is not None and (
            first.setdefault((request.delivery.source_id, request.delivery.key), i) != i
        ):
            found.add(i)
    if not first:
        return found
    table = table_of(WebhookDelivery)
    # In one order everywhere: two processes that are sent the same deliveries wait for, and never block, each other.
    rows = [{"source_id": s, "delivery_id": d, "at": now} for s, d in sorted(first)]
    statement = insert_ignoring(session, table).returning(table.c.source_id, table.c.delivery_id)
    new = {(source_id, delivery_id) for source_id, delivery_id in session.execute(statement, rows)}
    return found | {i for key, i in first.items() if key not in new}


def forget_deliveries(session: Session, *, before: datetime) -> None:
    """Forget deliveries that came before a moment. Their signatures are long too old to be taken again."""
    session.execute(delete(WebhookDelivery).where(WebhookDelivery.at < before))


def _repeat(asked: Idempotent, body_hash: str, answer: list[Stored]) -> list[Stored] | VoiceError:
    if body_hash in (asked.body_hash, asked.older_hash):
        return answer
    return Invalid.field("Idempotency-Key", "was used with another body in the last 24 hours")
