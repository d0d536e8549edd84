"""What counts as the database's trouble, and the limits of an API: quick, in this process."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from tests.api.helpers import items, post, refused, serving
from tests.conftest import OPEN_LIMITS, SECRET, first_project, make_runtime, new_key
from tests.fakes import FakeAnalyser
from tests.faults.disk import small_disk
from tests.faults.proxy import Proxy
from tests.recount import assert_exact
from tests.services import postgres_database, redis_database
from voice.config import Settings
from voice.db.dialects import explain_failure, is_database_trouble
from voice.db.session import Database
from voice.db.tables import Feedback
from voice.doorbell import CeleryDoorbell
from voice.runtime import Runtime
from workers import tasks

BODY = {"text": "a negative day"}


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with postgres_database() as url:
        settings = Settings(_env_file=None, database_url=url)  # type: ignore[call-arg]
        made = Database(settings.database)
        yield made
        made.dispose()


@pytest.mark.parametrize(
    ("state", "trouble"),
    [
        ("08006", True),  # connection failure
        ("25006", True),  # read-only transaction
        ("25P03", True),  # idle in a transaction for too long
        ("40P01", True),  # deadlock
        ("40001", True),  # serialization failure
        ("53100", True),  # disk full
        ("53200", True),  # out of memory
        ("53300", True),  # too many connections
        ("55P03", True),  # lock not available
        ("57014", True),  # statement timeout
        ("57P01", True),  # administrator's shutdown
        ("57P03", True),  # still starting
        ("58030", True),  # I/O error
        ("22021", False),  # a character the encoding does not have
        ("23505", False),  # unique violation
        ("23502", False),  # not null
        ("42P01", False),  # undefined table
        ("XX001", False),  # data corrupted: asking again does not help
    ],
)
def test_what_postgresql_says(database: Database, state: str, trouble: bool) -> None:
    with pytest.raises(DBAPIError) as raised, database.write() as session:
        session.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'quoted words' USING ERRCODE = '{state}'; END $$"))
    assert is_database_trouble(raised.value) is trouble
    assert "quoted" not in explain_failure(raised.value)
    with database.write() as session:
        assert session.scalar(text("SELECT 1")) == 1


def test_no_transaction_may_be_forgotten_and_no_statement_endless(database: Database) -> None:
    with database.read() as session:
        for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
            assert session.scalar(text(f"SHOW {name}")) == "1min"


def test_every_connection_is_in_use(sqlite_runtime: Runtime) -> None:
    with serving(sqlite_runtime, new_key(sqlite_runtime, "admin")) as client:
        assert items(client) == []
        pool = sqlite_runtime.database.engine.pool
        pool._timeout = 0.1  # type: ignore[attr-defined]
        taken = [sqlite_runtime.database.engine.connect() for _ in range(40)]
        with capture_logs() as logged:
            for answer in (client.post("/v1/feedback", json=BODY), client.get("/v1/themes")):
                refused(answer, 503)
                assert int(answer.headers["retry-after"]) > 0
        assert {one["error"] for one in logged} == {"PoolTimeout"}
        for connection in taken:
            connection.close()
        assert client.post("/v1/feedback", json=BODY).status_code == 202


def test_a_disk_that_was_made_read_only() -> None:
    """What the kernel does to a disk with errors: it is read from, nothing is accepted, and then all is as before."""
    with small_disk(16) as disk:
        runtime = make_runtime(f"sqlite:///{disk.path / 'voice.db'}", disk.path)
        runtime._analyser = FakeAnalyser()
        with serving(runtime, new_key(runtime, "admin")) as client:
            assert client.post("/v1/feedback", json=BODY).status_code == 202
            runtime.database.dispose()
            with disk.read_only(), capture_logs() as logged:
                answer = client.post("/v1/feedback", json=BODY)
                refused(answer, 503)
                assert int(answer.headers["retry-after"]) > 0
                runtime.database.dispose()
            assert {one["event"] for one in logged} == {"database_unavailable"}
            assert {one["error"][:6] for one in logged} == {"SQLITE"}
            assert client.post("/v1/feedback", json=BODY).status_code == 202
            assert runtime.pipeline.drain() == 2
        assert_exact(runtime.database, first_project(runtime))
        runtime.close()


def test_a_worker_without_a_database_says_so_once_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line a look, no traceback, no loop; and no row is blamed for it."""
    (folder := tmp_path / "disk").mkdir()
    runtime = make_runtime(f"sqlite:///{folder / 'voice.db'}", tmp_path, batch_size=2)
    runtime._analyser = FakeAnalyser()
    monkeypatch.setattr(tasks, "runtime", lambda: runtime)
    app = tasks.Celery("voice", set_as_current=False)
    tasks.register(app)
    with serving(runtime, new_key(runtime, "admin")) as client:
        post(client, *"abcde")
    read = runtime.analyser.read

    def goes_away_meanwhile(*given: object) -> object:
        runtime.database.dispose()
        folder.rename(tmp_path / "away")
        monkeypatch.setattr(runtime.analyser, "read", read)
        return read(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(runtime.analyser, "read", goes_away_meanwhile)
    with capture_logs() as logged:
        for _ in range(4):
            app.tasks["analyse"]()
    told = [one for one in logged if one["event"] == "database_unavailable"]
    assert [(one["job"], one["error"]) for one in told] == [("analyse", "SQLITE_CANTOPEN")] * 4
    (tmp_path / "away").rename(folder)
    app.tasks["analyse"]()
    with runtime.database.read() as session:
        rows = session.query(Feedback.status, Feedback.attempts, Feedback.alone).all()
    assert [tuple(row) for row in rows] == [(2, 0, False)] * 5
    assert_exact(runtime.database, first_project(runtime))
    runtime.close()


@contextmanager
def ringing(tmp_path: Path, broker: str) -> Iterator[tuple[TestClient, CeleryDoorbell]]:
    """An API that rings a broker."""
    given = {"data_dir": tmp_path, "secret_key": SECRET, "broker_url": broker, **OPEN_LIMITS}
    runtime = Runtime(Settings(_env_file=None, **given))  # type: ignore[call-arg, arg-type]
    runtime.migrate()
    with serving(runtime, new_key(runtime, "admin")) as client:
        assert isinstance(runtime.doorbell, CeleryDoorbell)
        yield client, runtime.doorbell


def test_nobody_waits_for_a_mute_broker(tmp_path: Path) -> None:
    """Feedback is answered while a ring still hangs, and the API ends although it does."""
    with redis_database() as url:
        number = int(url.rpartition("/")[2])
        port = int(url.rpartition(":")[2].partition("/")[0])
        with (
            Proxy(port) as proxy,
            ringing(tmp_path, f"redis://127.0.0.1:{proxy.port}/{number}") as (client, bell),
        ):
            with proxy.mute():
                for _ in range(5):
                    assert client.post("/v1/feedback", json=BODY).status_code == 202
                hanging = bell._sender.submit(threading.Event)  # the sender has one thread, which waits
                assert not hanging.done()
            hanging.result(60)


def test_a_body_that_is_cut_off_stores_nothing(sqlite_runtime: Runtime) -> None:
    """The connection ends inside the body: nothing of it is stored, and sending it again stores it once."""
    import socket

    lines = b"\n".join(b'{"text": "x", "external_id": "%d"}' % n for n in range(1200))
    key = new_key(sqlite_runtime, "admin")
    with served(sqlite_runtime) as port:
        head = (
            f"POST /v1/feedback/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Length: {len(lines)}\r\n\r\n"
        ).encode()
        for part in (0, 100, len(lines) // 2, len(lines) - 1):
            with socket.create_connection(("127.0.0.1", port)) as line:
                line.sendall(head + lines[:part])
        import httpx

        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}
        ) as client:
            assert client.get("/v1/status").json()["pending"] == 0
            for outcome in ("stored", "duplicate"):
                answer = client.post("/v1/feedback/batch", content=lines, timeout=60).json()
                assert (answer[outcome], answer["rejected"]) == (1200, 0)
            assert client.get("/v1/status").json()["pending"] == 1200


def test_many_slow_senders_hold_nobody_up(sqlite_runtime: Runtime) -> None:
    """Two hundred connections that send one byte and no more; whoever sends a whole request is served at once."""
    import socket

    import httpx

    key = new_key(sqlite_runtime, "admin")
    with served(sqlite_runtime) as port:
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
        for line in slow[:100]:
            line.sendall(b"P")
        for line in slow[100:]:
            line.sendall(b"POST /v1/feedback HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        for _ in range(5):
            answer = httpx.post(
                f"http://127.0.0.1:{port}/v1/feedback",
                json=BODY,
                headers={"Authorization": f"Bearer {key}"},
                timeout=30,
            )
            assert answer.status_code == 202
        for line in slow:
            line.close()


@contextmanager
def served(runtime: Runtime) -> Iterator[int]:
    """The API behind Uvicorn, on a port; a test client knows no connections that could be cut."""
    import uvicorn

    from api.app import create_app

    server = uvicorn.Server(
        uvicorn.Config(
            create_app(runtime=runtime),
            port=0,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        end = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < end, "the server did not start"
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def test_more_than_the_writer_can_take(sqlite_url: str, tmp_path: Path) -> None:
    """Everybody comes at once and comes again when told to: 429 says when, and nobody's piece is lost or doubled."""
    runtime = make_runtime(sqlite_url, tmp_path, writer_queue=3)
    told: list[int] = []
    with serving(runtime, new_key(runtime, "admin")) as client, ThreadPoolExecutor(30) as pool:
        assert items(client) == []

        def send(n: int) -> str:
            while True:
                answer = client.post("/v1/feedback", json=BODY | {"external_id": str(n)})
                if answer.status_code == 202:
                    found: str = answer.json()["id"]
                    return found
                refused(answer, 429)
                told.append(int(answer.headers["retry-after"]))
                time.sleep(0.01)

        with runtime.database.write() as session:  # the writer waits for the lock, so that the queue fills
            session.execute(text("SELECT 1"))
            sent = [pool.submit(send, n) for n in range(60)]
            while not told:
                time.sleep(0.01)
        ids = [one.result(60) for one in sent]
        assert min(told) > 0
        assert len(set(ids)) == 60
        assert {item["id"] for item in items(client)} == set(ids)
