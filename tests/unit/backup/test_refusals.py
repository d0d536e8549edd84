"""What a restore refuses, and that it has touched nothing by then."""

import json
import os
import random
import stat
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from tests.conftest import SECRET, new_key
from tests.unit.backup.filling import fill
from tests.unit.backup.places import MakeUrl, dumped, lines_of, made_backup, restored, ring_of
from voice.backup import back_up, opened
from voice.backup.archive import FORMAT, MANIFEST
from voice.backup.places import closing_database
from voice.clock import utc_now
from voice.db.migrate import migrate
from voice.errors import Conflict, Invalid, NotFound, VoiceError
from voice.runtime import Runtime

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def whole(fresh_url: MakeUrl, tmp_path: Path) -> Path:
    """A backup with rows in every table."""
    with closing_database(url := fresh_url("sqlite")) as database:
        migrate(database.engine)
        fill(database)
    dumped(url, path := tmp_path / "whole.backup")
    return path


def rewritten(
    path: Path, *, members: Mapping[str, bytes | None] = MappingProxyType({}), manifest: Change = len
) -> Path:
    """The same backup with other members (None leaves one out) and another manifest."""
    other = path.with_name("other.backup")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as new:
        found = json.loads(old.read(MANIFEST))
        manifest(found)
        contents = {name: old.read(name) for name in old.namelist()}
        for name, data in {**contents, MANIFEST: json.dumps(found).encode(), **members}.items():
            if data is not None:
                new.writestr(name, data)
    return other


def assert_refused(path: Path, url: str, saying: str, **given: Any) -> None:
    """Refused by VoiceError in one line that says why, with the database as it was."""
    before = contents(url)
    with pytest.raises(VoiceError, match=saying) as refused:
        restored(path, url, replace=True, **given)
    assert "\n" not in refused.value.detail
    assert contents(url) == before


def contents(url: str) -> list[str]:
    """Names of the tables that are there."""
    with closing_database(url) as database, database.read() as session:
        catalogue = (
            "SELECT name FROM sqlite_master"
            if url.startswith("sqlite")
            else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        )
        return sorted(session.scalars(text(catalogue)))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_damaged_file_is_refused_before_anything_is_touched(
    kind: str, whole: Path, fresh_url: MakeUrl
) -> None:
    url = fresh_url(kind)
    data = whole.read_bytes()
    other = whole.with_name("damaged.backup")
    for size in (0, 10, len(data) // 2, len(data) - 1):
        other.write_bytes(data[:size])
        assert_refused(other, url, "not a backup, or damaged")
    other.write_bytes(data)
    restored(other, url)


def test_no_flipped_bit_goes_unnoticed(whole: Path) -> None:
    """Wherever a bit turns, the damage is named or what is read is what was written (times in a zip mean nothing)."""
    data, dice = whole.read_bytes(), random.Random(0)
    expected = lines_of(whole)
    other, noticed = whole.with_name("flipped.backup"), 0
    places = [*dice.sample(range(len(data)), 250), *range(len(data) - 250, len(data))]
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << dice.randrange(8)
        other.write_bytes(flipped)
        try:
            with opened(other) as archive:
                archive.verify()
            assert lines_of(other) == expected
        except Invalid:
            noticed += 1
    assert noticed > len(places) / 2


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        ({"members": {"feedback.jsonl": None}}, "damaged"),
        ({"members": {"feedback.jsonl": b""}}, "damaged"),
        ({"members": {"secrets.txt": b"x"}}, "other members"),
        ({"members": {MANIFEST: None}}, "not a backup"),
        ({"members": {MANIFEST: b"[]"}}, "not a backup"),
        ({"manifest": lambda m: m["tables"][0].update(rows=11)}, "damaged"),
        ({"manifest": lambda m: m.pop("as_of")}, "damaged"),
        ({"manifest": lambda m: m.update(format=FORMAT + 1)}, "format 2 is newer"),
        ({"manifest": lambda m: m.update(revision="9999")}, "restore it with that version or a newer"),
        ({"manifest": lambda m: m.update(keys="0" * 16)}, "another root secret"),
        ({"manifest": lambda m: m["tables"][1]["columns"].append("extra")}, "not of its schema"),
        ({"manifest": lambda m: m["tables"][1]["columns"].pop()}, "not of its schema"),
        ({"manifest": lambda m: m["tables"].append(m["tables"][0] | {"table": "x"})}, "damaged"),
    ],
)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_contradicts_itself_is_refused(
    kind: str, change: dict[str, Any], saying: str, whole: Path, fresh_url: MakeUrl
) -> None:
    assert_refused(rewritten(whole, **change), fresh_url(kind), saying)


def test_another_root_secret_is_refused_and_named(live: Runtime, tmp_path: Path, database_url: str) -> None:
    path = tmp_path / "all.backup"
    made = made_backup(live, path)
    url = live.settings.database
    assert SECRET not in path.read_bytes().decode("latin-1")
    assert_refused(path, url, made.roots[0], ring=ring_of("another root secret, of no use for it"))
    restored(path, url, replace=True, ring=ring_of("a newer root secret, after a rotation", SECRET))


def test_an_older_root_that_is_missing_is_said(live: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "all.backup"
    made_backup(live, path)
    other = rewritten(path, manifest=lambda m: m["roots"].append("0badcafe"))
    [note] = restored(other, live.settings.database, replace=True).notes
    assert "0badcafe" in note


def test_a_database_with_a_key_or_feedback_needs_a_yes(live: Runtime, tmp_path: Path) -> None:
    path, url = tmp_path / "all.backup", live.settings.database
    made_backup(live, path)
    restored(path, url)  # what `voice migrate` leaves is as good as empty
    new_key(live, "admin")
    live.close()
    with pytest.raises(Conflict, match="--yes"):
        restored(path, url)
    restored(path, url, replace=True)


def test_what_is_not_ours_needs_a_yes(whole: Path, fresh_url: MakeUrl) -> None:
    with closing_database(url := fresh_url("sqlite")) as database, database.write() as session:
        session.execute(text("CREATE TABLE theirs (id INTEGER)"))
    with pytest.raises(Conflict, match="--yes"):
        restored(whole, url)


def test_a_newer_database_is_not_replaced(live: Runtime, tmp_path: Path) -> None:
    made_backup(live, tmp_path / "all.backup")
    with live.database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    live.close()
    assert_refused(tmp_path / "all.backup", live.settings.database, "newer version")


def test_a_sqlite_file_that_is_open_elsewhere_is_not_replaced(whole: Path, fresh_url: MakeUrl) -> None:
    url = fresh_url("sqlite")
    with closing_database(url) as database:
        migrate(database.engine)
        with database.read() as session:
            session.execute(text("SELECT 1 FROM keys"))
            with pytest.raises(Conflict, match="in use"):
                restored(whole, url, replace=True)
    restored(whole, url, replace=True)


def test_a_postgresql_database_that_others_use_is_not_replaced(whole: Path, fresh_url: MakeUrl) -> None:
    url = fresh_url("postgresql")
    with psycopg.connect(url.replace("+psycopg", "")), pytest.raises(Conflict, match="in use"):
        restored(whole, url)
    restored(whole, url)


def test_a_name_that_is_taken_is_not_overwritten(live: Runtime, tmp_path: Path) -> None:
    (path := tmp_path / "all.backup").write_bytes(b"mine")
    with pytest.raises(Conflict, match="exists already"):
        made_backup(live, path)
    assert path.read_bytes() == b"mine"


def test_nothing_is_left_of_a_backup_that_fails(live: Runtime, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()

    def full(_table: str, _rows: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        back_up(live.database, folder / "x.backup", secrets=live.secrets, clock=utc_now, progress=full)
    assert list(folder.iterdir()) == []


def test_a_backup_is_private(live: Runtime, tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        made_backup(live, path := tmp_path / "all.backup")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_database_without_voice_has_nothing_to_back_up(fresh_url: MakeUrl, tmp_path: Path) -> None:
    for kind in ("sqlite", "postgresql"):
        with pytest.raises(NotFound, match="no Voice"):
            dumped(fresh_url(kind), tmp_path / "none.backup")
    assert not list(tmp_path.glob("*none*"))
