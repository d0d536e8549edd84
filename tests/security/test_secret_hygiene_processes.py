"""Real processes that are given recognisable secrets, log all they can and meet every kind of trouble: none is shown."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.security.planted import (
    AUTHOR,
    EMAIL,
    MARKS,
    NAME,
    PERSONAL,
    TEXT,
    Broker,
    PlantedInstallation,
    database_with_password,
    files_under,
    found_in,
)
from tests.stories.installations import running, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BODY = {"text": TEXT, "external_id": "1", "author": {"id": AUTHOR, "email": EMAIL, "name": NAME}}


class Witness:
    """Sends requests, remembers every answer, and knows what must not be in them."""

    def __init__(self, client: httpx.Client, key: str) -> None:
        self.marks = dict(MARKS)
        self.learn("API key", key)
        self._client = client

    def learn(self, name: str, secret: str) -> None:
        """Another secret to look for: all but its beginning, which may be shown."""
        self.marks[name] = secret[14:]

    def ask(
        self, method: str, path: str, status: int, *, may: frozenset[str] = frozenset(), **sent: Any
    ) -> Any:
        """One request; `may` names the secrets that this answer is there to show."""
        answer = self._client.request(method, path, **sent)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        shown = f"{answer.headers} {answer.text}"
        assert found_in(shown, self.marks, but=may) == set(), f"{method} {path}"
        return answer


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlantedInstallation]:
    """API, workers and clock on a PostgreSQL and a Redis that ask for passwords."""
    broker = Broker()
    try:
        with database_with_password() as database:
            planted = PlantedInstallation(tmp_path_factory.mktemp("planted"), database, broker)
            with running(planted):
                yield planted
    finally:
        broker.stop()


def test_no_secret_is_shown_whatever_happens(installation: PlantedInstallation, tmp_path: Path) -> None:
    with installation.client() as client:
        witness = Witness(client, installation.admin_key())
        _successes(witness)
        _refusals(witness)
        _verbs(installation, witness, tmp_path)
        with _broken(installation):
            _unforeseen_errors(witness)
            until(lambda: _failed_in(installation, "celery"), "the pipeline fails")
            assert _failed_in(installation, "voice")
        _without_broker(installation, witness)
    logs = _logs(installation)
    for line in ("request_failed", "doorbell_failed", '"level": "debug"'):
        assert line in logs, line
    assert found_in(logs, witness.marks) == set()
    lines = installation.command_lines()
    assert "celery" in lines
    assert found_in(lines, witness.marks) == set()
    for name, content in files_under(installation.folder):
        assert found_in(content, witness.marks) == set(), name


def _logs(installation: PlantedInstallation) -> str:
    return "\n".join(installation.logs().values())


def _failed_in(installation: PlantedInstallation, program: str) -> bool:
    """Whether a process of this program has logged an error of a table that is away."""
    logs = [text for name, text in installation.logs().items() if program in name]
    return any('"UndefinedTable"' in text or '"ProgrammingError"' in text for text in logs)


def _successes(witness: Witness) -> None:
    shows_author = frozenset({"author", "name", "text"})
    stored = witness.ask("POST", "/v1/feedback", 202, json=BODY, headers={"Idempotency-Key": "once"}).json()[
        "id"
    ]
    batch = "\n".join(json.dumps(BODY | {"external_id": f"b{i}"}) for i in range(3))
    witness.ask("POST", "/v1/feedback/batch", 200, content=batch)
    path = f"/v1/feedback/{stored}"

    def analysed() -> bool:
        item = witness.ask("GET", path, 200, may=shows_author).json()
        return bool(item["status"] == "analysed")

    until(analysed, "the feedback is analysed")
    for shown in ("/v1/feedback?q=zq7text", "/v1/export?format=jsonl", "/v1/export?format=csv"):
        witness.ask("GET", shown, 200, may=frozenset(PERSONAL - {"e-mail"}))
    known = witness.ask("POST", "/v1/people/export", 200, json={"email": EMAIL}, may=frozenset(PERSONAL))
    assert found_in(known.text, witness.marks) == PERSONAL, "the search finds what is there"
    key = witness.ask("POST", "/v1/keys", 201, json={"role": "viewer", "name": "k"}).json()["key"]
    witness.learn("second API key", key)
    hook = witness.ask(
        "POST", "/v1/sources", 201, json={"kind": "webhook", "slug": "hook", "channel": "api"}
    ).json()
    witness.learn("webhook secret", hook["secret"])
    for listed in (
        "/v1/keys",
        "/v1/sources",
        "/v1/audit",
        "/metrics",
        "/readyz",
        "/openapi.json",
        "/",
    ):
        witness.ask("GET", listed, 200)
    forged = {
        "webhook-id": "1",
        "webhook-timestamp": str(int(time.time())),
        "webhook-signature": "v1,zq7root",
    }
    witness.ask("POST", f"/v1/hooks/{hook['id']}", 401, json=BODY, headers=forged)


def _refusals(witness: Witness) -> None:
    """Each refusal names the field or the reason, and quotes nothing."""
    personal = {"author": {"id": AUTHOR, "email": EMAIL}}
    witness.ask("POST", "/v1/feedback", 422, json=personal)
    witness.ask("POST", "/v1/feedback", 422, json=BODY | {"rating": TEXT, "channel": TEXT, "language": EMAIL})
    witness.ask(
        "POST", "/v1/feedback", 422, content=b'{"text": "zq7text', headers={"Content-Type": "text/json"}
    )
    witness.ask("POST", "/v1/feedback", 422, json=BODY | {"text": "zq7text \0"})
    other = BODY | {"text": "Something else"}
    witness.ask("POST", "/v1/feedback", 422, json=other, headers={"Idempotency-Key": "once"})
    witness.ask("POST", "/v1/feedback/batch", 200, content=f'{{"text": "{TEXT}"\n{{"rating": "{TEXT}"}}')
    witness.ask("GET", "/v1/feedback?limit=zq7text&channel=zq7text", 422)
    witness.ask("GET", "/v1/feedback/zq7text", 404)
    witness.ask("GET", "/v1/trends?metric=zq7text", 422)
    witness.ask("POST", "/v1/people/erase", 422, json={"email": [EMAIL]})
    witness.ask("GET", "/v1/keys", 401, headers={"Authorization": "Bearer voice_zq7root_zq7root_zq7root"})
    witness.ask("GET", "/zq7text", 404)
    witness.ask("DELETE", "/v1/feedback", 405)


def _verbs(installation: PlantedInstallation, witness: Witness, folder: Path) -> None:
    file = folder / "all.backup"
    for verb in (
        ["migrate"], ["pipeline"], ["key", "list"], ["project", "list"], ["dead", "list"], ["themes", "list"],
        ["secrets", "status"], ["secrets", "rotate"], ["secrets", "status"], ["backup", str(file)],
        ["backup", "--verify", str(file)], ["key", "revoke", "x"], ["key", "create", "--role", "zq"],
    ):  # fmt: skip
        ended = installation.run("voice", *verb)
        assert "Traceback" not in ended.stderr, ended.stderr
        assert found_in(ended.stdout + ended.stderr, witness.marks) == set(), verb
    assert found_in(file.read_bytes(), witness.marks, but={"text"}) == set()


@contextmanager
def _broken(installation: PlantedInstallation) -> Iterator[None]:
    """A database that refuses rows and quotes them in its error, and whose table of analyses is away."""
    # NOT VALID: what is there may stay.
    refuse = "ALTER TABLE feedback ADD CONSTRAINT broken CHECK (external_id <> 'broken') NOT VALID"
    with psycopg.connect(installation.env["VOICE_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(refuse)
        connection.execute("ALTER TABLE analyses RENAME TO away")
        yield
        connection.execute("ALTER TABLE away RENAME TO analyses")
        connection.execute("ALTER TABLE feedback DROP CONSTRAINT broken")


def _unforeseen_errors(witness: Witness) -> None:
    answer = witness.ask("POST", "/v1/feedback", 500, json=BODY | {"external_id": "broken"})
    assert answer.json()["title"] == "Internal error"
    witness.ask("GET", "/v1/feedback?q=zq7text", 500)
    witness.ask("POST", "/v1/feedback", 202, json=BODY | {"external_id": "not analysed"})


def _without_broker(installation: PlantedInstallation, witness: Witness) -> None:
    """Its loss, and one that asks for another password, are survived and logged."""
    installation.broker.stop()
    witness.ask("POST", "/v1/feedback", 202, json=BODY | {"external_id": "no broker"})
    until(lambda: "doorbell_failed" in _logs(installation), "the doorbell fails")
    installation.broker.start(password="another")
    failures = _logs(installation).count("doorbell_failed")

    def refused() -> bool:
        witness.ask("POST", "/v1/feedback", 202, json=BODY | {"external_id": f"refused {time.monotonic()}"})
        return _logs(installation).count("doorbell_failed") > failures

    until(refused, "the broker refuses the password")
