"""Rows that break the model, or kill the process that reads them, in real workers: they die alone and can be cured."""

import subprocess
from collections.abc import Collection, Sequence

import httpx
import pytest
from sqlalchemy import select

from tests.chaos.analyser import DEADLY
from tests.chaos.books import assert_books, takeovers, watch_takeovers
from tests.chaos.floor import Floor, floor, good_texts
from tests.conftest import new_key
from tests.fakes import POISON
from tests.stories.installations import free_port, until
from voice.db.tables import DEAD, Feedback
from voice.runtime import Runtime

ATTEMPTS = 3
GOOD = 300
POOL = {"sqlite": ("-P", "solo"), "postgresql": ("-c", "2")}
"""As the shapes do: alone, where the worker itself dies, and two children of a pool."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def scattered() -> Sequence[str]:
    """Good texts with two of each evil kind among them, in different batches."""
    texts = list(good_texts(GOOD))
    for place, evil in ((40, POISON), (90, DEADLY), (200, POISON), (290, DEADLY)):
        texts.insert(place, f"{evil} number {place}")
    return texts


class Keeper:
    """Keeps one worker running and rings, as the supervisor and beat do, until something is so."""

    def __init__(self, stage: Floor, **stand_in: object) -> None:
        self._stage, self._stand_in = stage, stand_in
        dialect = stage.runtime.database.engine.dialect.name
        self._pool = POOL[dialect]
        self._worker: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def waiting(self) -> int:
        """Rows that are neither analysed nor dead."""
        if self._worker is None or self._worker.poll() is not None:
            self._worker = self._stage.worker(*self._pool, **self._stand_in)
            self.starts += 1
        self._stage.ring()
        with self._stage.runtime.database.read() as session:
            count = session.connection().exec_driver_sql("SELECT count(*) FROM feedback WHERE status < 2")
            return int(count.scalar_one())

    def leave(self) -> None:
        assert self._worker is not None
        self._stage.kill(self._worker)


def dead_rows(runtime: Runtime) -> dict[str, tuple[int, str | None]]:
    with runtime.database.read() as session:
        rows = session.scalars(select(Feedback).where(Feedback.status == DEAD))
        return {row.id: (row.attempts, row.last_error) for row in rows}


def test_poison_dies_alone_and_lives_after_the_cure(runtime: Runtime) -> None:
    watch_takeovers(runtime.database)
    with floor(runtime, VOICE_MAX_ATTEMPTS=str(ATTEMPTS)) as stage:
        promises = stage.store(*scattered())
        raising = [p.id for text, p in promises.items() if POISON in text]
        killing = [p.id for text, p in promises.items() if DEADLY in text]
        sick = Keeper(stage)
        until(lambda: sick.waiting() == 0, "every row is analysed or dead", within=300)
        sick.leave()

        expected = dict.fromkeys(raising, (ATTEMPTS, "ValueError")) | dict.fromkeys(
            killing, (ATTEMPTS, "lease lost")
        )
        assert dead_rows(runtime) == expected
        accounts = assert_books(runtime.database, promises.values(), dead=expected)
        assert accounts.applied == accounts.never_touched == GOOD
        assert takeovers(runtime.database) >= len(killing) * (ATTEMPTS - 1)
        if runtime.database.engine.dialect.name == "sqlite":
            assert sick.starts > len(killing) * ATTEMPTS

        replay(stage, expected)
        cured = Keeper(stage, cured=True)
        until(lambda: cured.waiting() == 0, "the cured rows are analysed")
        cured.leave()
        assert dead_rows(runtime) == {}
        assert assert_books(runtime.database, promises.values(), cured=len(expected)).applied == GOOD + len(
            expected
        )


def replay(stage: Floor, ids: Collection[str]) -> None:
    """As an administrator does it: look at what is dead, and try it again."""
    port = free_port()
    headers = {"Authorization": f"Bearer {new_key(stage.runtime, 'admin')}"}
    api = stage.spawn("voice", "api", "--port", str(port))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as client:
        until(lambda: is_ready(client), "the API is ready")
        listed = client.get("/v1/dead").raise_for_status().json()["items"]
        assert {item["id"] for item in listed} == set(ids)
        answer = client.post("/v1/dead/replay", json={"feedback": sorted(ids)}).raise_for_status()
        assert answer.json() == {"replayed": len(ids)}
    stage.kill(api)


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False
