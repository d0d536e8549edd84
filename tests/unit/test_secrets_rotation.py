"""Rotation of the root secret: everything sealed stays readable, every hash stays what it was."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import LargeBinary, func, insert, select, text, update

from tests.conftest import SECRET, first_project, make_runtime
from tests.services import postgres_database
from voice.accounts import Secrets, create_project
from voice.accounts.roots import KeyFile
from voice.accounts.rotation import SEALED, Rotation, census, rotate
from voice.config import Settings
from voice.db.tables import Analysis, Base, Event, Person, Theme
from voice.errors import Conflict, Unavailable
from voice.events import SilentDoorbell
from voice.feedback.submission import Author, Submission
from voice.runtime import Runtime
from voice.sources.webhooks import create_webhook, find_hook

NEWER = "a newer secret for tests and long enough to be taken"
VECTORS = {("analyses", "embedding"), ("themes", "centroid")}
"""Binary columns that hold no secret."""


def open_runtime(folder: Path, **given: Any) -> Runtime:
    runtime = Runtime(Settings(_env_file=None, data_dir=folder, **given), doorbell=SilentDoorbell())  # type: ignore[call-arg]
    runtime.migrate()
    return runtime


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Runtime]:
    """An embedded installation with `secret.key`."""
    live = open_runtime(tmp_path)
    yield live
    live.close()


def arrive(runtime: Runtime, author: str, said: str = "slow", external_id: str | None = None) -> Any:
    one = Submission(
        text=said,
        external_id=external_id,
        author=Author(id=author, name=f"Name of {author}", email=f"{author}@a.example"),
    )
    return runtime.intake.prepare(first_project(runtime), one, now=runtime.clock())


def send(runtime: Runtime, author: str, said: str = "slow", external_id: str | None = None) -> str:
    """Store one feedback; its outcome."""
    with runtime.database.write() as session:
        arrival = arrive(runtime, author, said, external_id)
        [stored] = runtime.intake.store(session, [arrival], now=runtime.clock())
    return stored.outcome


def plant(runtime: Runtime) -> str:
    """Something sealed in every column; the id of a webhook source."""
    for author in ("ann", "bob", "eve"):
        send(runtime, author, external_id=author)
    with runtime.database.write() as session:
        source, _ = create_webhook(
            session,
            runtime.secrets,
            project_id=first_project(runtime),
            slug="hook",
            channel="api",
            actor="test",
            now=runtime.clock(),
        )
        return source.id


def turn(runtime: Runtime) -> Rotation:
    return rotate(runtime.database, runtime.secrets.ring, actor="test", now=runtime.clock())


def names(runtime: Runtime) -> list[str]:
    """The names of the root secrets in force."""
    return [root.name for root in runtime.secrets.ring.roots()]


def rows_by_root(runtime: Runtime) -> dict[str | None, int]:
    found: dict[str | None, int] = {}
    for counted in census(runtime.database, runtime.secrets.ring).values():
        for name, n in counted.items():
            found[name] = found.get(name, 0) + n
    return found


def authors(runtime: Runtime) -> list[str]:
    """Who is sealed in the people table, opened."""
    with runtime.database.read() as session:
        return sorted(runtime.secrets.unseal(one)["id"] for one in session.scalars(select(Person.sealed)))


def rotations(runtime: Runtime) -> list[Event]:
    with runtime.database.read() as session:
        return list(session.scalars(select(Event).where(Event.kind == "secrets.rotated").order_by(Event.id)))


# ── what is sealed ───────────────────────────────────────────────────────────────────────────────────────────────


def test_every_binary_column_is_known_as_sealed_or_as_a_vector() -> None:
    sealed = {(column.class_.__tablename__, column.key) for column in SEALED}
    binary = {
        (table.name, column.name)
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    }
    assert binary == sealed | VECTORS
    assert {(c.class_.__tablename__, c.key) for c in (Analysis.embedding, Theme.centroid)} == VECTORS


def test_no_token_lies_in_a_column_that_a_rotation_does_not_know(runtime: Runtime) -> None:
    plant(runtime)
    sealed = {(column.class_.__tablename__, column.key) for column in SEALED}
    found = set()
    with runtime.database.read() as session:
        for table in Base.metadata.sorted_tables:
            for row in session.execute(select(table)).mappings():
                found |= {(table.name, name) for name, value in row.items() if b"gAAAAA" in _bytes(value)}
    assert found == sealed


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


# ── embedded: the key file ───────────────────────────────────────────────────────────────────────────────────────


def test_a_rotation_seals_everything_under_a_new_root_and_drops_the_old(embedded: Runtime) -> None:
    hook = plant(embedded)
    file = embedded.settings.data_dir / "secret.key"
    [old_name], old = names(embedded), file.read_text().strip()
    done = turn(embedded)
    new = file.read_text().strip()
    assert new != old
    assert len(new) == 64
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert done.resealed == 6
    assert done.unreadable == 0
    assert done.roots == (names(embedded)[0], old_name)
    assert rows_by_root(embedded) == {done.roots[0]: 6}
    # A process that starts now, with the new root alone.
    fresh = open_runtime(embedded.settings.data_dir)
    assert authors(fresh) == ["ann", "bob", "eve"]
    with fresh.database.read() as session:
        found = find_hook(session, fresh.secrets, hook, now=fresh.clock())
        assert found is not None
        assert len(found.secrets) == 1
    fresh.close()
    # Whoever has the old root alone reads nothing.
    robbed = Secrets.of(old.encode())
    with embedded.database.read() as session:
        for column in SEALED:
            tokens = session.scalars(select(column).where(column.is_not(None))).all()
            assert tokens
            assert [robbed.ring.opener(token) for token in tokens] == [None] * len(tokens)


def test_hashes_stay_so_people_and_duplicates_are_recognised(embedded: Runtime) -> None:
    plant(embedded)
    before = (
        embedded.secrets.fingerprint(),
        embedded.secrets.person_key("p", "id", "u"),
        embedded.secrets.content_hash({"text": "slow"}),
        embedded.secrets.body_hash(b"body"),
    )
    for _ in range(2):
        turn(embedded)
        fresh = open_runtime(embedded.settings.data_dir)
        after = (
            fresh.secrets.fingerprint(),
            fresh.secrets.person_key("p", "id", "u"),
            fresh.secrets.content_hash({"text": "slow"}),
            fresh.secrets.body_hash(b"body"),
        )
        assert after == before
        assert send(fresh, "ann", external_id="ann") == "duplicate"
        assert send(fresh, "ann", "and it is slow again") == "stored"
        assert authors(fresh) == ["ann", "bob", "eve"]
        fresh.close()


def test_many_rows_take_many_short_transactions(embedded: Runtime) -> None:
    project, n = first_project(embedded), 1_203
    sealed = [embedded.secrets.seal({"id": f"{i:05}"}) for i in range(n)]
    rows = [{"project_id": project, "id": f"{i:032}", "sealed": one} for i, one in enumerate(sealed)]
    with embedded.database.write() as session:
        session.execute(insert(Person), rows)
    assert turn(embedded).resealed == n + 2
    assert authors(embedded) == [f"{i:05}" for i in range(n)]
    assert rows_by_root(embedded) == {names(embedded)[0]: n + 2}


def test_it_is_recorded_once_in_every_project_without_a_secret(embedded: Runtime) -> None:
    with embedded.database.write() as session:
        create_project(session, slug="second", name="second", actor="test", now=embedded.clock())
    old = names(embedded)
    secret = (embedded.settings.data_dir / "secret.key").read_text().strip()
    turn(embedded)
    found = rotations(embedded)
    assert len({event.project_id for event in found}) == len(found) == 2
    for event in found:
        assert (event.subject_id, event.actor) == (names(embedded)[0], "test")
        assert event.before == {"roots": old}
        assert event.after == {"root": names(embedded)[0], "rows": 2}
        assert secret not in repr(vars(event))


def test_a_process_that_lives_through_it_loses_nothing(
    embedded: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it sealed before is stored after; what it seals meanwhile is under the new root; what others sealed opens."""
    plant(embedded)
    living = open_runtime(embedded.settings.data_dir)
    assert authors(living) == ["ann", "bob", "eve"]
    late = arrive(living, "late")
    during = []
    write = KeyFile.write

    def send_before_the_drop(file: KeyFile, roots: tuple[bytes, ...]) -> None:
        if len(roots) == 1:
            during.append(send(living, "during"))
        write(file, roots)

    monkeypatch.setattr(KeyFile, "write", send_before_the_drop)
    turn(embedded)
    assert during == ["stored"]
    with living.database.write() as session:
        living.intake.store(session, [late], now=living.clock())
    everybody = ["ann", "bob", "during", "eve", "late"]
    assert authors(living) == everybody
    fresh = open_runtime(embedded.settings.data_dir)
    assert authors(fresh) == everybody
    assert set(rows_by_root(fresh)) == set(names(fresh))
    fresh.close()
    living.close()


def test_two_rotations_at_once_are_refused(embedded: Runtime) -> None:
    other = open_runtime(embedded.settings.data_dir)
    file = other.secrets.ring.source
    assert isinstance(file, KeyFile)
    with file.lock, pytest.raises(Conflict, match="another rotation"):
        turn(embedded)
    other.close()


def test_what_no_root_opens_is_counted_and_left(embedded: Runtime) -> None:
    plant(embedded)
    lost = Secrets.of(SECRET.encode()).seal({"id": "ann"})
    with embedded.database.write() as session:
        one = session.scalar(select(func.min(Person.id)))
        session.execute(update(Person).where(Person.id == one).values(sealed=lost))
    done = turn(embedded)
    assert (done.resealed, done.unreadable) == (5, 1)
    with embedded.database.read() as session:
        assert session.scalar(select(Person.sealed).where(Person.id == one)) == lost


# ── given roots: the operator restarts ───────────────────────────────────────────────────────────────────────────


def test_given_roots_are_rotated_by_a_restart_and_one_verb(database_url: str, tmp_path: Path) -> None:
    runtime = make_runtime(database_url, tmp_path)
    plant(runtime)
    before = runtime.secrets.fingerprint()
    runtime.close()
    both = make_runtime(database_url, tmp_path, secret_key=NEWER, secret_key_old=SECRET)
    new, old = names(both)
    assert rows_by_root(both) == {old: 6}
    assert send(both, "fay") == "stored"
    assert rows_by_root(both) == {old: 6, new: 1}
    done = turn(both)
    assert (done.roots, done.resealed, done.unreadable) == ((new, old), 6, 0)
    assert turn(both).resealed == 0
    assert len(rotations(both)) == 1, "running it again is no rotation"
    both.close()
    alone = make_runtime(database_url, tmp_path, secret_key=NEWER)
    assert alone.secrets.fingerprint() == before
    assert authors(alone) == ["ann", "bob", "eve", "fay"]
    assert send(alone, "ann", external_id="ann") == "duplicate"
    alone.close()


def test_a_row_that_is_held_is_waited_for_by_nobody_and_done_the_next_time(tmp_path: Path) -> None:
    with postgres_database() as url:
        runtime = make_runtime(url, tmp_path)
        plant(runtime)
        runtime.close()
        both = make_runtime(url, tmp_path, secret_key=NEWER, secret_key_old=SECRET)
        with both.database.write() as session:
            session.execute(text("SELECT 1 FROM people LIMIT 1 FOR UPDATE"))
            with pytest.raises(Unavailable, match="restart every process"):
                turn(both)
            assert sorted(rows_by_root(both).values()) == [1, 5]
            assert rotations(both) == [], "an unfinished rotation is not recorded"
        assert turn(both).resealed == 1
        assert rows_by_root(both) == {names(both)[0]: 6}
        assert len(rotations(both)) == 1
        both.close()
