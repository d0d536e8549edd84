"""Replacing a database: who was erased since stays erased, and a crash leaves the old one or the new one."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from tests.conftest import SECRET, first_project, make_runtime
from tests.fakes import FakeAnalyser
from tests.recount import assert_exact
from tests.unit.backup.places import MakeUrl, dumped, lines_of, made_backup, restored
from tests.unit.backup.test_round_trip import post
from voice.backup import export_erasures
from voice.backup.places import closing_database
from voice.clock import utc_now
from voice.db.tables import Erasure, Feedback, Person, Suppression
from voice.errors import Conflict, Invalid
from voice.people import erase
from voice.people.erasure import RESTORE
from voice.runtime import Runtime

KINDS = ("sqlite", "postgresql")


def erased(runtime: Runtime, person: str) -> None:
    erase(
        runtime.database,
        runtime.secrets,
        first_project(runtime),
        author_id=person,
        email=None,
        actor="test",
        clock=runtime.clock,
    )


def said_by(runtime: Runtime, person: str) -> int:
    key = runtime.secrets.person_key(first_project(runtime), "id", person)
    with runtime.database.read() as session:
        said = select(func.count()).select_from(Feedback).where(Feedback.person_id == key)
        known = select(func.count()).select_from(Person).where(Person.id == key)
        return (session.scalar(said) or 0) + (session.scalar(known) or 0)


def reopened(runtime: Runtime) -> Runtime:
    """The same installation in a new process, as it were."""
    runtime.close()
    other = Runtime(runtime.settings, doorbell=runtime.doorbell)
    other._analyser = FakeAnalyser()
    return other


@pytest.fixture
def backed_up(live: Runtime, tmp_path: Path) -> Path:
    """Ann and Bob have spoken, then a backup was made."""
    for person in ("ann", "bob"):
        post(live, 3, person=person)
    live.pipeline.drain()
    made_backup(live, path := tmp_path / "all.backup")
    return path


def test_who_was_erased_since_does_not_come_back(live: Runtime, backed_up: Path) -> None:
    erased(live, "ann")
    live.close()
    done = restored(backed_up, live.settings.database, replace=True)
    assert (done.erased, done.notes) == (3, ())
    back = reopened(live)
    assert (said_by(back, "ann"), said_by(back, "bob")) == (0, 4)
    assert_exact(back.database, first_project(back))
    with back.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Erasure).where(Erasure.actor != RESTORE)) == 1
    # Sent again, it is not stored again.
    post(back, 3, person="ann")
    assert said_by(back, "ann") == 0
    back.close()


@pytest.mark.parametrize("target", KINDS)
def test_a_file_of_erasures_does_the_same_where_the_old_database_is_lost(
    live: Runtime, backed_up: Path, target: str, fresh_url: MakeUrl, tmp_path: Path
) -> None:
    erased(live, "ann")
    export_erasures(live.database, kept := tmp_path / "kept", secrets=live.secrets, clock=utc_now)
    assert set(lines_of(kept)) == {"erasures", "suppressions"}
    live.close()
    there = fresh_url(target)
    assert restored(backed_up, there, erasures=kept).erased == 3
    moved = make_runtime(there, tmp_path / "moved")
    assert (said_by(moved, "ann"), said_by(moved, "bob")) == (0, 4)
    moved.close()


def test_erasures_of_another_installation_are_refused(live: Runtime, backed_up: Path, tmp_path: Path) -> None:
    other = make_runtime(f"sqlite:///{tmp_path}/other.db", tmp_path, secret_key="another secret, " + SECRET)
    export_erasures(other.database, kept := tmp_path / "kept", secrets=other.secrets, clock=utc_now)
    other.close()
    with pytest.raises(Invalid, match="another installation"):
        restored(backed_up, live.settings.database, erasures=kept, replace=True)


def test_erasures_of_projects_that_the_backup_lacks_are_left_out(
    live: Runtime, backed_up: Path, fresh_url: MakeUrl, tmp_path: Path
) -> None:
    other = make_runtime(fresh_url("sqlite"), tmp_path)
    post(other, 1, person="eve")
    erased(other, "eve")
    export_erasures(other.database, kept := tmp_path / "kept", secrets=other.secrets, clock=utc_now)
    other.close()
    restored(backed_up, live.settings.database, erasures=kept, replace=True)
    with live.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Suppression)) == 0
    live.close()


def test_a_database_that_cannot_be_read_is_replaced_with_a_warning(
    sqlite_url: str, tmp_path: Path, backed_up: Path
) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"not a database " * 1_000)
    broken.with_name("broken.db-wal").write_bytes(b"old")
    with pytest.raises(Conflict, match="cannot be read"):
        restored(backed_up, f"sqlite:///{broken}")
    [note] = restored(backed_up, f"sqlite:///{broken}", replace=True).notes
    assert "--erasures" in note
    with closing_database(f"sqlite:///{broken}") as database, database.read() as session:
        assert session.scalar(select(func.count()).select_from(Feedback)) == 6


@pytest.mark.parametrize("kind", KINDS)
def test_a_restore_that_fails_in_the_middle_leaves_the_old_database(
    kind: str,
    live: Runtime,
    backed_up: Path,
    fresh_url: MakeUrl,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = make_runtime(fresh_url(kind), tmp_path / "other")
    post(other, 2, person="cleo")
    made_backup(other, before := tmp_path / "before.backup")

    def broken(*_: object, **__: object) -> int:
        raise OSError("pulled the plug")

    with monkeypatch.context() as patch:
        patch.setattr("voice.backup.restoring.reapply_erasures", broken)
        with pytest.raises(OSError, match="plug"):
            restored(backed_up, other.settings.database, replace=True)
    dumped(other.settings.database, after := tmp_path / "after.backup")
    assert lines_of(after) == lines_of(before)
    restored(backed_up, other.settings.database, replace=True)
    dumped(other.settings.database, done := tmp_path / "done.backup")
    assert len(lines_of(done)["feedback"]) == 6


KILLED = """
import os, signal, sys
from pathlib import Path
import voice.backup.places as places
from tests.unit.backup.places import restored

step = int(sys.argv[3])
def die(event, args):
    global step
    if event in ("os.rename", "os.remove", "shutil.copymode", "sqlite3.connect", "open"):
        paths = [str(a) for a in args if isinstance(a, (str, bytes, os.PathLike))]
        if any("target.db" in path for path in paths):
            step -= 1
            if step == 0:
                os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(die)
restored(Path(sys.argv[1]), sys.argv[2], replace=True)
"""


@pytest.mark.slow
def test_killed_at_any_step_the_old_or_the_new_database_is_there(
    sqlite_url: str, tmp_path: Path, backed_up: Path
) -> None:
    """SIGKILL before each file operation on the database in turn; afterwards a second restore completes."""
    target = tmp_path / "target.db"
    url = f"sqlite:///{target}"
    old, new = {"cleo"}, {"ann", "bob"}
    seen: list[set[str]] = []
    for step in range(1, 100):
        for name in tmp_path.glob("target.db*"):
            name.unlink()
        runtime = make_runtime(url, tmp_path / "other")
        post(runtime, 1, person="cleo")
        runtime.close()
        ended = subprocess.run(
            [sys.executable, "-c", KILLED, str(backed_up), url, str(step)],
            cwd=Path(__file__).resolve().parents[3],
            capture_output=True,
            text=True,
            check=False,
        )
        found = speakers(url)
        assert found in (old, new), (step, found)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        seen.append(found)
        restored(backed_up, url, replace=True)
        assert speakers(url) == new
    assert found == new
    assert len(seen) >= 5
    assert old in seen
    assert not list(tmp_path.glob("target.db.restoring*"))


def speakers(url: str) -> set[str]:
    """Who has feedback in the database, which must be in order."""
    with closing_database(url) as database, database.read() as session:
        assert session.scalar(text("PRAGMA integrity_check")) == "ok"
        return {one.split()[0] for one in session.scalars(select(Feedback.external_id)) if one}
