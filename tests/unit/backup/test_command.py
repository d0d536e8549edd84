"""The verbs: where files go, what is printed, and that a refusal is one line and exit code 1."""

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

import voice.cli
import voice.cli.backup
from tests.conftest import first_project, new_key
from tests.typed import Run, refused
from tests.unit.backup.places import lines_of
from voice.config import load_settings
from voice.people import erase
from voice.runtime import Runtime


def installed(tmp_path: Path) -> Runtime:
    """An installation with a key, in the data folder that the verbs use."""
    runtime = Runtime(load_settings())
    runtime.migrate()
    new_key(runtime, "admin")
    runtime.close()
    return runtime


def test_a_backup_goes_into_the_data_folder_or_where_it_is_told(run: Run, tmp_path: Path) -> None:
    installed(tmp_path)
    (tmp_path / "folder").mkdir()
    for arguments, folder in (((), "data/backups"), (("folder",), "folder")):
        code, out, _ = run("backup", *arguments)
        [path] = (tmp_path / folder).iterdir()
        assert code == 0
        assert path.name in out
        assert path.name.startswith("voice-2")
        assert path.name.endswith("Z.backup")
        assert f"{path.stat().st_size:,} bytes" in out
    assert (tmp_path / "data" / "backups").stat().st_mode & 0o777 == 0o700
    run("backup", "mine")
    assert len(lines_of(Path("mine"))["keys"]) == 1


def test_a_backup_is_read_again(run: Run, tmp_path: Path) -> None:
    installed(tmp_path)
    run("backup", "mine")
    code, out, err = run("backup", "--verify", "mine")
    assert (code, err) == (0, "")
    assert out.startswith("whole: mine ")
    Path("mine").write_bytes(Path("mine").read_bytes()[:-1])
    assert "damaged" in refused(run("backup", "--verify", "mine"))
    assert "FILE" in refused(run("backup", "--verify"))
    assert "No such file" in refused(run("backup", "--verify", "nowhere"))


def test_where_there_is_no_database_none_is_made(run: Run, tmp_path: Path) -> None:
    for verb in (("backup",), ("erasures", "export", "kept")):
        assert "there is no database" in refused(run(*verb))
    assert list(tmp_path.iterdir()) == []


def test_restored_over_what_is_there_and_into_a_fresh_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path)
    run("backup", "mine")
    rows = sum(map(len, lines_of(Path("mine")).values()))
    assert "--yes" in refused(run("restore", "mine"))
    code, out, err = run("restore", "mine", "--yes")
    assert (code, err) == (0, "")
    assert out.startswith(f"restored {rows} rows as of 2")

    monkeypatch.setenv("VOICE_DATA_DIR", str(tmp_path / "fresh"))
    assert "secret.key" in refused(run("restore", "mine"))
    assert not (tmp_path / "fresh" / "secret.key").exists()
    assert not (tmp_path / "fresh" / "voice.db").exists()
    (tmp_path / "fresh" / "secret.key").write_text("another root secret, of no use for it")
    assert "another root secret" in refused(run("restore", "mine"))
    shutil.copy(tmp_path / "data" / "secret.key", tmp_path / "fresh" / "secret.key")
    assert run("restore", "mine")[0] == 0
    assert run("key", "list")[1].count("admin") >= 1
    assert "No such file" in refused(run("restore", "nowhere"))


def test_nothing_is_restored_under_a_running_voice(run: Run, tmp_path: Path) -> None:
    installed(tmp_path)
    run("backup", "mine")
    with FileLock(tmp_path / "data" / "supervisor.lock"):
        assert "stop it, then restore" in refused(run("restore", "mine", "--yes"))
    assert run("restore", "mine", "--yes")[0] == 0


def test_erasures_are_written_for_a_restore(run: Run, tmp_path: Path) -> None:
    runtime = installed(tmp_path)
    run("backup", "mine")
    erase(
        runtime.database,
        runtime.secrets,
        first_project(runtime),
        author_id="ann",
        email=None,
        actor="test",
        clock=runtime.clock,
    )
    runtime.close()
    code, out, _ = run("erasures", "export", "kept")
    assert (code, "kept  " in out) == (0, True)
    assert len(lines_of(Path("kept"))["erasures"]) == 1
    assert b"ann" not in b"".join(lines_of(Path("kept"))["erasures"])
    assert run("restore", "mine", "--yes", "--erasures", "kept")[0] == 0
    assert "damaged" in refused(run("restore", "mine", "--yes", "--erasures", "data/secret.key"))


def test_progress_goes_to_standard_error(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path)
    monkeypatch.setattr(voice.cli.backup, "SECONDS_BETWEEN_LINES", 0.0)
    _, out, err = run("backup", "mine")
    assert len(out.splitlines()) == 1
    assert "keys: 1 rows written" in err.splitlines()
    _, out, err = run("restore", "mine", "--yes")
    assert len(out.splitlines()) == 1
    assert "keys: 1 rows restored" in err.splitlines()
