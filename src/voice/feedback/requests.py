"""Intake requests as the writer handles them: a group at a time, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, tuple_
from sqlalchemy.orm import Session

from voice.clock import Clock
from voice.db.tables import Idempotency
from voice.errors import Invalid, VoiceError
from voice.feedback.intake import Arrival, Intake
from voice.feedback.outcomes import Stored

REMEMBERED_FOR = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Idempotent:
    """An Idempotency-Key, whose it is, and a fingerprint of the body it came with."""

    key_id: str
    token: str
    body_hash: str


@dataclass(frozen=True, slots=True)
class IntakeRequest:
    """Arrivals that are stored together, and the key that makes repeating them harmless."""

    arrivals: tuple[Arrival, ...]
    idempotent: Idempotent | None = None


class IntakeHandler:
    """Stores a group of intake requests; one answer each."""

    def __init__(self, intake: Intake, clock: Clock) -> None:
        self._intake = intake
        self._clock = clock

    def __call__(
        self, session: Session, requests: Sequence[IntakeRequest]
    ) -> list[list[Stored] | VoiceError]:
        """Answers in the order of the requests. Same Idempotency-Key: same body → the first answer, else Invalid."""
        answers: dict[int, list[Stored] | VoiceError] = {}
        asked = [request.idempotent for request in requests if request.idempotent is not None]
        known = _known(session, asked, since=self._clock() - REMEMBERED_FOR)
        fresh: list[int] = []
        repeats: list[int] = []
        claimed: dict[tuple[str, str], int] = {}
        for i, request in enumerate(requests):
            if request.idempotent is None:
                fresh.append(i)
                continue
            key = (request.idempotent.key_id, request.idempotent.token)
            if key in known:
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


def _repeat(asked: Idempotent, body_hash: str, answer: list[Stored]) -> list[Stored] | VoiceError:
    if asked.body_hash == body_hash:
        return answer
    return Invalid.field("Idempotency-Key", "was used with another body in the last 24 hours")
