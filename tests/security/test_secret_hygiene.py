"""No secret is shown: not by an object, an error, a log, an answer, a file or a list of processes."""

import os
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.security.planted import (
    AUTHOR,
    BROKER_PASSWORD,
    DATABASE_PASSWORD,
    EMAIL,
    MARKS,
    NAME,
    OLD_ROOT,
    ROOT,
    TEXT,
    database_that_refuses,
    files_under,
    found_in,
)
from voice.accounts import find_project
from voice.accounts.roots import KeyFile, roots_of
from voice.config import Settings, load_settings
from voice.db.session import Database
from voice.errors import ConfigurationError
from voice.feedback.submission import Author, Submission
from voice.runtime import FIRST_PROJECT, Runtime

DATABASE = f"postgresql://voice:{DATABASE_PASSWORD}@127.0.0.1:1/voice"
BROKER = f"redis://:{BROKER_PASSWORD}@127.0.0.1:1/0"
BIN = Path(sys.executable).parent


@pytest.fixture
def planted(tmp_path: Path) -> Settings:
    return load_settings(
        _env_file=None,
        data_dir=tmp_path,
        secret_key=ROOT,
        secret_key_old=OLD_ROOT,
        database_url=DATABASE,
        broker_url=BROKER,
    )


# ── objects ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_object_shows_a_secret(planted: Settings) -> None:
    runtime = Runtime(planted)
    ring = runtime.secrets.ring
    shown: list[object] = [
        planted, runtime, runtime.secrets, ring, ring.roots(), ring.source, runtime.database,
        runtime.database.engine, runtime.database.engine.url, runtime.doorbell, roots_of(planted),
    ]  # fmt: skip
    for one in shown:
        assert (
            found_in(f"{one!r} {one!s} {one:}" if not isinstance(one, tuple) else repr(one), MARKS) == set()
        )
    runtime.close()


def test_a_key_file_shows_no_root(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "secret.key")
    file.write((ROOT.encode(),))
    assert file() == (ROOT.encode(),)
    assert found_in(f"{file!r} {file!s}", MARKS) == set()


@pytest.mark.parametrize(
    "given",
    [
        {"port": "zq7root"},
        {"log_level": "zq7root"},
        {"secret_key": ["zq7root"]},
        {"database_url": f"postgresql://voice:{DATABASE_PASSWORD}@x@h/d"},
        {"database_url": f"mysql://voice:{DATABASE_PASSWORD}@h/d"},
        {"broker_url": f"redis://:{BROKER_PASSWORD}/x@h:6379/0"},
        {"secret_key": ROOT[:31]},
        {"secret_key": ROOT, "secret_key_old": OLD_ROOT[:31]},
    ],
)
def test_a_refused_setting_is_named_and_not_quoted(tmp_path: Path, given: dict[str, Any]) -> None:
    def read() -> None:
        settings = load_settings(_env_file=None, data_dir=tmp_path, **given)
        _ = settings.database, roots_of(settings)

    with pytest.raises(ConfigurationError) as refused:
        read()
    assert f"VOICE_{next(iter(given)).upper()}" in refused.value.detail
    assert found_in("".join(traceback.format_exception(refused.value)), MARKS) == set()


def test_a_validation_error_of_pydantic_itself_holds_no_input(tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(
            _env_file=None, secret_key=ROOT, broker_url=f"redis://:{BROKER_PASSWORD}/x@h", port="zq7data"
        )  # type: ignore[call-arg, arg-type]
    assert refused.value.error_count() == 2
    assert found_in("".join(traceback.format_exception(refused.value)), MARKS) == set()


@pytest.mark.parametrize("url", [DATABASE, None], ids=["nobody listens", "the password is refused"])
def test_a_failure_to_connect_holds_no_password(url: str | None) -> None:
    with database_that_refuses() as refusing:
        database = Database(Settings(_env_file=None, database_url=url or refusing).database)  # type: ignore[call-arg]
        with pytest.raises(Exception, match="connection") as failed, database.read() as session:
            session.connection()
        if url is None:
            assert "password authentication failed" in str(failed.value)
        shown = "".join(traceback.format_exception(failed.value)) + repr(failed.value)
        assert found_in(shown, MARKS) == set()
        database.dispose()


# ── verbs ────────────────────────────────────────────────────────────────────────────────────────────────────────

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A verb in a process of its own, whose umask keeps nothing back."""

    def _run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("VOICE_")}
        return subprocess.run(
            [BIN / "voice", *arguments],
            env=clean | {"VOICE_DATA_DIR": str(tmp_path / "data"), "VOICE_LOG_LEVEL": "DEBUG"} | env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            umask=0,
        )

    return _run


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_verb_that_fails_says_no_secret(run: Run) -> None:
    with database_that_refuses() as refusing:
        for url in (DATABASE, refusing, f"postgresql://voice:{DATABASE_PASSWORD}@x@127.0.0.1:1/voice"):
            env = {
                "VOICE_DATABASE_URL": url,
                "VOICE_BROKER_URL": BROKER,
                "VOICE_SECRET_KEY": ROOT,
                "VOICE_SECRET_KEY_OLD": OLD_ROOT,
            }
            for verb in (["migrate"], ["secrets", "status"]):
                ended = run(*verb, **env)
                assert ended.returncode == 1, (verb, url)
                assert ended.stderr.startswith("voice: "), ended.stderr
                assert found_in(ended.stdout + ended.stderr, MARKS) == set(), (verb, url)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_embedded_installation_keeps_its_secrets_to_its_owner(run: Run, tmp_path: Path) -> None:
    """Each verb once, with a umask of 0: the key is printed where it is made, and nothing secret lies in a file."""
    marks = dict(MARKS)
    made = run("key", "create", "--role", "admin")
    assert made.returncode == 0, made.stderr
    marks["API key"] = made.stdout.strip()[14:]
    file = tmp_path / "data" / "secret.key"
    marks["first root"] = file.read_text().strip()
    _send_feedback(tmp_path / "data")
    said = ""
    for verb in (
        ["key", "list"], ["project", "list"], ["dead", "list"], ["pipeline"], ["migrate"], ["themes", "list"],
        ["secrets", "status"], ["secrets", "rotate"], ["secrets", "status"], ["backup"], ["dead", "replay", "x"],
        ["key", "revoke", "x"], ["themes", "show", "x"], ["people", "erase", "--email", "nobody@a.example"],
    ):  # fmt: skip
        ended = run(*verb)
        said += ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr, verb
    marks["second root"] = file.read_text().strip()
    assert found_in(said, marks) == set()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    backups = list((tmp_path / "data").rglob("*.backup"))
    assert len(backups) == 1
    assert stat.S_IMODE(backups[0].stat().st_mode) == 0o600
    for name, content in files_under(tmp_path / "data"):
        assert found_in(content, marks, but={"text"}) == set(), name
    with_text = [name for name, content in files_under(tmp_path / "data") if found_in(content, marks)]
    assert with_text, "the search finds what is there"


def _send_feedback(folder: Path) -> None:
    runtime = Runtime(Settings(_env_file=None, data_dir=folder))  # type: ignore[call-arg]
    author = Author(id=AUTHOR, email=EMAIL, name=NAME)
    with runtime.database.write() as session:
        project = find_project(session, FIRST_PROJECT).id
        arrival = runtime.intake.prepare(project, Submission(text=TEXT, author=author), now=runtime.clock())
        runtime.intake.store(session, [arrival], now=runtime.clock())
    runtime.close()
