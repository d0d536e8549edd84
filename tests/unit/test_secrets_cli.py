"""`voice secrets`, and how processes refuse to start under a root secret that is not theirs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SECRET
from tests.typed import Run
from voice.accounts import find_project
from voice.config import load_settings
from voice.feedback.submission import Author, Submission
from voice.runtime import Runtime

BIN = Path(sys.executable).parent
NEWER = "a newer secret for tests and long enough to be taken"
OTHER = "another secret for tests and long enough to be taken"


def plant() -> None:
    """An author and a vault, in the installation that the verbs use."""
    runtime = Runtime(load_settings())
    runtime.migrate()
    with runtime.database.write() as session:
        project = find_project(session, "main").id
        said = Submission(text="slow", author=Author(id="ann"))
        arrival = runtime.intake.prepare(project, said, now=runtime.clock())
        runtime.intake.store(session, [arrival], now=runtime.clock())
    runtime.close()


def table(out: str) -> list[list[str]]:
    """The rows of `voice secrets status`."""
    return [line.split() for line in out.splitlines()[1:-1]]


def test_rotate_and_status_of_an_embedded_installation(run: Run, tmp_path: Path) -> None:
    plant()
    file = tmp_path / "data" / "secret.key"
    old = file.read_text().strip()
    code, out, err = run("secrets", "status")
    assert (code, err) == (0, "")
    [[old_name, *rest]] = table(out)
    assert rest == ["newest", "1", "0", "2"]
    fingerprint = out.splitlines()[-1]
    code, said, err = run("secrets", "rotate")
    assert (code, err) == (0, "")
    new = file.read_text().strip()
    code, out, err = run("secrets", "status")
    [[new_name, *rest]] = table(out)
    assert rest == ["newest", "1", "0", "2"]
    assert new_name != old_name
    assert out.splitlines()[-1] == fingerprint
    assert f"3 rows sealed anew; everything is sealed under {new_name}" in said
    assert old_name in said
    assert old not in out + said
    assert new not in out + said


def test_rotate_and_status_under_given_root_secrets(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_SECRET_KEY", SECRET)
    plant()
    code, out, err = run("secrets", "rotate")
    assert (code, out) == (1, "")
    [line] = err.splitlines()
    assert line.startswith("voice: VOICE_SECRET_KEY_OLD: is empty")
    monkeypatch.setenv("VOICE_SECRET_KEY", NEWER)
    monkeypatch.setenv("VOICE_SECRET_KEY_OLD", SECRET)
    rows = table(run("secrets", "status")[1])
    assert [row[1:] for row in rows] == [["newest", "0", "0", "0"], ["older", "1", "0", "2"]]
    code, out, err = run("secrets", "rotate")
    assert (code, err) == (0, "")
    assert "VOICE_SECRET_KEY_OLD may be emptied" in out
    rows = table(run("secrets", "status")[1])
    assert [row[1:] for row in rows] == [["newest", "1", "0", "2"], ["older", "0", "0", "0"]]
    monkeypatch.delenv("VOICE_SECRET_KEY_OLD")
    assert run("secrets", "status")[0] == 0
    for shown in (SECRET, NEWER):
        assert shown not in out


def test_status_shows_what_is_sealed_under_a_root_that_is_not_here(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICE_SECRET_KEY", SECRET)
    plant()
    monkeypatch.setenv("VOICE_SECRET_KEY", OTHER)
    code, out, err = run("secrets", "status")
    assert code == 1
    assert ["none", "not", "known", "here", "1", "0", "2"] in [line.split() for line in out.splitlines()]
    assert err.startswith("voice: VOICE_SECRET_KEY: is not the root secret")


@pytest.mark.parametrize("verb", [("migrate",), ("api",), ("up",), ("key", "list"), ("secrets", "rotate")])
def test_a_verb_under_another_root_secret_is_refused_in_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    monkeypatch.setenv("VOICE_SECRET_KEY", SECRET)
    plant()
    monkeypatch.setenv("VOICE_SECRET_KEY", OTHER)
    monkeypatch.setenv("VOICE_PORT", "0")
    code, out, err = run(*verb)
    assert (code, out) == (1, "")
    [line] = err.splitlines()
    assert line.startswith("voice: VOICE_SECRET_KEY: is not the root secret")


@pytest.mark.slow
@pytest.mark.parametrize("queues", ["analyse", "pull,themes,notify"])
def test_a_worker_under_another_root_secret_ends_with_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queues: str
) -> None:
    monkeypatch.setenv("VOICE_SECRET_KEY", SECRET)
    plant()
    ended = subprocess.run(
        [
            BIN / "celery",
            "-A",
            "workers.app",
            "--quiet",
            "worker",
            "-Q",
            queues,
            "-P",
            "solo",
            "-l",
            "WARNING",
        ],
        env=os.environ | {"VOICE_SECRET_KEY": OTHER},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=tmp_path,
    )
    assert ended.returncode == 1
    # Celery itself warns of whoever works as root.
    [line] = [line for line in ended.stderr.splitlines() if line.startswith("voice: ")]
    assert line == ended.stderr.splitlines()[-1]
    assert line.startswith("voice: VOICE_SECRET_KEY: is not the root secret")
    assert "Traceback" not in ended.stdout + ended.stderr
