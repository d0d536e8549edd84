"""Every verb of the command line on a data folder of its own; what goes wrong is one line and exit code 1."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

import voice.cli
from tests.fakes import FakeAnalyser
from tests.services import postgres_database
from tests.typed import Run, refused
from voice.accounts import authenticate, find_project
from voice.analysis.topic_editing import list_topics
from voice.config import load_settings
from voice.db.tables import DEAD, Feedback
from voice.feedback.claims import backlog
from voice.feedback.submission import Author, Submission
from voice.runtime import FIRST_PROJECT, Runtime
from voice.themes import ledger

VERBS = {
    ("up",), ("demo",), ("api",), ("worker",), ("migrate",), ("import",), ("pipeline",),
    ("project", "create"), ("project", "list"), ("key", "create"), ("key", "list"), ("key", "revoke"),
    ("dead", "list"), ("dead", "replay"), ("people", "export"), ("people", "erase"),
    ("people", "allow"), ("export",),
    ("themes", "list"), ("themes", "show"), ("themes", "recluster"), ("models", "list"), ("models", "verify"),
    ("secrets", "status"), ("secrets", "rotate"), ("check",),
    ("backup",), ("restore",), ("erasures", "export"),
}  # fmt: skip


@pytest.fixture
def runtime(run: Run) -> Runtime:
    """The same installation that the verbs use."""
    live = Runtime(load_settings())
    live.migrate()
    return live


def post(runtime: Runtime, **given: Any) -> str:
    with runtime.database.write() as session:
        project = find_project(session, FIRST_PROJECT).id
        arrival = runtime.intake.prepare(project, Submission(**given), now=runtime.clock())
        [stored] = runtime.intake.store(session, [arrival], now=runtime.clock())
    return stored.id


def test_every_verb_is_there_and_explains_itself(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for first in {verb[0] for verb in VERBS}:
        assert first in out
    for verb in VERBS:
        code, out, _ = run(*verb, "--help")
        assert code == 0
        assert f"voice {' '.join(verb)} [OPTIONS]" in out


def test_no_verb_is_missing_from_this_file() -> None:
    found = {(command.name or command.callback.__name__,) for command in voice.cli.app.registered_commands}
    for group in voice.cli.app.registered_groups:
        found |= {(group.name, command.name) for command in group.typer_instance.registered_commands}
    assert found == VERBS


def test_migrate_makes_a_current_schema_and_can_be_repeated(run: Run, tmp_path: Path) -> None:
    for _ in range(2):
        code, out, err = run("migrate")
        assert (code, err) == (0, "")
        assert out.startswith("schema is current: sqlite:///")
    assert (tmp_path / "data" / "voice.db").exists()


def test_a_password_is_not_printed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_DATABASE_URL", "postgresql://voice:hunter2@127.0.0.1:1/voice")
    monkeypatch.setenv("VOICE_SECRET_KEY", "x" * 40)
    assert "hunter2" not in refused(run("migrate"))


def test_projects(run: Run, runtime: Runtime) -> None:
    code, out, _ = run("project", "create", "shop", "--name", "The Shop")
    assert code == 0
    assert "voice key create --role ingest --project shop" in out
    _, out, _ = run("project", "list")
    assert [line.split("\t")[:2] for line in out.splitlines()] == [["main", "main"], ["shop", "The Shop"]]
    with runtime.database.read() as session:
        assert list_topics(session, find_project(session, "shop").id), (
            "a new project has the shipped taxonomy"
        )
    assert "already" in refused(run("project", "create", "shop"))
    assert "slug" in refused(run("project", "create", "No Good"))


def test_keys_are_printed_once_listed_without_secret_and_revoked(run: Run, runtime: Runtime) -> None:
    code, out, _ = run("key", "create", "--role", "ingest", "--name", "web shop")
    assert code == 0
    [plain] = out.splitlines()
    _, out, _ = run("key", "list")
    [line] = [line for line in out.splitlines() if "web shop" in line]
    assert plain not in out
    assert "ingest" in line
    key_id = line.split()[0]
    with runtime.database.read() as session:
        principal = authenticate(session, plain)
        assert principal is not None
        assert (principal.key_id, principal.role) == (key_id, "ingest")
    assert run("key", "revoke", key_id)[0] == 0
    with runtime.database.read() as session:
        assert authenticate(session, plain) is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["key", "create", "--role", "emperor"],
        ["key", "create", "--role", "admin", "--project", "nowhere"],
        ["key", "revoke", "nothing"],
        ["key", "list", "--project", "nowhere"],
        ["dead", "list", "--project", "nowhere"],
        ["dead", "replay", "nothing"],
        ["people", "export"],
        ["people", "erase", "--author-id", "a", "--email", "b"],
        ["themes", "show", "nothing"],
        ["themes", "list", "--project", "nowhere"],
        ["themes", "recluster", "--as-of", "yesterday"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_one_line(run: Run, arguments: list[str]) -> None:
    refused(run(*arguments))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("VOICE_PORT", "eight", "VOICE_PORT"),
        ("VOICE_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/voice", "the database"),
        ("VOICE_DATABASE_URL", "mysql://nobody@127.0.0.1/voice", "VOICE_DATABASE_URL"),
        ("VOICE_DATABASE_URL", "nonsense", "VOICE_DATABASE_URL"),
        ("VOICE_DATA_DIR", "/dev/null/voice", "/dev/null"),
    ],
)
def test_a_bad_setting_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    assert says in refused(run("project", "list"))


def test_postgresql_without_a_secret_is_refused(tmp_path: Path) -> None:
    with postgres_database() as url:
        done = typed("people", "export", "--author-id", "ada", cwd=tmp_path, VOICE_DATABASE_URL=url)
    assert "VOICE_SECRET_KEY" in refused((done.returncode, done.stdout, done.stderr))


def typed(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The verb in a process of its own."""
    command = [sys.executable, "-m", "voice", *arguments]
    given = {name: value for name, value in os.environ.items() if not name.startswith("VOICE_")} | env
    return subprocess.run(
        command, cwd=cwd, env=given, capture_output=True, text=True, check=False, timeout=60
    )


def test_dead_rows_are_listed_and_put_back(run: Run, runtime: Runtime) -> None:
    ids = [post(runtime, text=f"text {n}") for n in range(2)]
    with runtime.database.write() as session:
        session.execute(update(Feedback).values(status=DEAD))
    code, out, _ = run("dead", "list")
    assert (code, sorted(out.split())) == (0, sorted(ids))
    code, out, _ = run("dead", "replay", *ids)
    assert (code, out) == (0, "2 put back\n")
    assert run("dead", "list")[1] == ""
    with runtime.database.read() as session:
        assert backlog(session, now=runtime.clock()).pending == 2


def test_a_person_is_exported_and_erased(run: Run, runtime: Runtime) -> None:
    said = post(runtime, text="hello", author=Author(id="ada", name="Ada", email="ada@example.com"))
    post(runtime, text="other", author=Author(id="bob"))
    _, out, _ = run("people", "export", "--email", "ADA@example.com")
    found = json.loads(out)
    assert found["feedback"] == [said]
    assert found["people"][0]["name"] == "Ada"
    code, out, _ = run("people", "erase", "--author-id", "ada")
    proof = json.loads(out)
    assert (code, proof["feedback"]) == (0, 1)
    assert "ada" not in out.casefold()
    assert json.loads(run("people", "export", "--author-id", "ada")[1]) == {"people": [], "feedback": []}
    assert json.loads(run("people", "export", "--author-id", "bob")[1])["feedback"]
    assert [run("people", "allow", "--author-id", "ada")[1] for _ in range(2)] == [
        "heard again\n",
        "was not suppressed\n",
    ]


def test_themes_are_found_listed_and_shown(
    run: Run, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("themes", "list")[0] == 0
    monkeypatch.setattr(Runtime, "analyser", FakeAnalyser())
    post(runtime, text="checkout fails")
    runtime.pipeline.drain()
    code, out, _ = run("themes", "recluster")
    assert (code, out) == (0, "1 items, 0 new themes, 0 items moved, 0 emerging\n")
    with runtime.database.write() as session:
        project = find_project(session, FIRST_PROJECT).id
        values = {
            "project_id": project,
            "name": "Checkout fails",
            "encoder": "fake",
            "algorithm": "t",
            "threshold": 0.5,
        }
        now = runtime.clock()
        theme = ledger.create(
            session,
            values | {"keywords": ["checkout"]},
            kind="theme.discovered",
            actor="t",
            now=now,
            as_of=now,
        )
        [said] = session.scalars(update(Feedback).values(channel="api").returning(Feedback.id))
        ledger.place(session, [said], theme.id, by="person")
    _, out, _ = run("themes", "list")
    assert theme.id in out
    assert "Checkout fails" in out
    code, out, _ = run("themes", "show", theme.id)
    assert code == 0
    assert out.startswith("Checkout fails  (1 people, 1 items, new)\nkeywords: checkout\n")


def test_reclustering_can_be_left_to_a_worker(tmp_path: Path) -> None:
    done = typed("themes", "recluster", "--no-wait", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "asked for\n")
    assert len(list((tmp_path / "data" / "broker" / "messages").iterdir())) == 1


def test_models_are_listed_and_verified(run: Run) -> None:
    code, out, _ = run("models", "list")
    assert code == 0
    assert "voice-mini-1" in out
    code, out, _ = run("models", "verify")
    assert (code, out) == (0, "voice-mini-1: ok\n")


def test_the_pipeline_is_shown_step_by_step(run: Run) -> None:
    code, out, _ = run("pipeline")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["step", "analyse", "assign"]
