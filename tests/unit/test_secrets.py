"""Root secrets: where they come from, what is derived from them, and what stays when they change."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import InvalidToken
from sqlalchemy import delete, select

from tests.conftest import SECRET, first_project, make_runtime
from voice.accounts import Secrets
from voice.accounts.roots import GivenRoots, KeyFile, roots_of
from voice.accounts.seal import SealRing
from voice.config import Settings, load_settings
from voice.db.tables import Vault
from voice.errors import ConfigurationError
from voice.feedback.submission import Author, Submission
from voice.files import write_private
from voice.runtime import Runtime

NEWER = "a newer secret for tests and long enough to be taken"
OTHER = "another secret for tests and long enough to be taken"


def settings(folder: Path, **given: Any) -> Settings:
    return Settings(_env_file=None, **{"data_dir": folder, **given})  # type: ignore[call-arg]


def ring(*roots: str) -> SealRing:
    return SealRing(GivenRoots(tuple(root.encode() for root in roots)))


def send(runtime: Runtime, text: str = "slow", author: str = "u1", external_id: str | None = None) -> str:
    """Store one feedback; its outcome."""
    one = Submission(
        text=text, external_id=external_id, author=Author(id=author, email=f"{author}@a.example")
    )
    with runtime.database.write() as session:
        arrival = runtime.intake.prepare(first_project(runtime), one, now=runtime.clock())
        [stored] = runtime.intake.store(session, [arrival], now=runtime.clock())
    return stored.outcome


# ── what is derived ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_derived_keys_are_those_of_the_first_version() -> None:
    """What version 0.1.0 stored must be found again: these digits were computed with it."""
    secrets = Secrets.of(b"0123456789abcdef0123456789abcdef")
    assert secrets.person_key("p", "email", " A@B.example ") == "6f8d1e4a57bf5776a60f6617b603bb6b"
    assert secrets.content_hash({"text": "slow"}) == "66774f4da7171197425892a4a32a76d9"


def test_a_keyed_hash_tells_things_apart_and_says_nothing_without_the_key() -> None:
    here, there = Secrets.of(SECRET.encode()), Secrets.of(OTHER.encode())
    assert here.body_hash(b"a") == here.body_hash(b"a")
    assert len({here.body_hash(b"a"), here.body_hash(b"b"), there.body_hash(b"a")}) == 3
    keys = {
        here.external_key("p", "store", "1"),
        here.external_key("q", "store", "1"),
        here.external_key("p", "other", "1"),
        here.external_key("p", "store", "2"),
        here.person_key("p", "id", "store\0001"),
        there.external_key("p", "store", "1"),
    }
    assert len(keys) == 6
    assert {len(key) for key in keys} == {32}
    assert (len(here.body_hash(b"")), len(here.fingerprint())) == (64, 16)
    assert here.fingerprint() != there.fingerprint()


def test_a_secret_never_shows_itself() -> None:
    secrets = Secrets.of(SECRET.encode())
    for shown in (secrets, secrets.ring, *secrets.ring.roots(), settings(Path(), secret_key=SECRET)):
        assert SECRET not in repr(shown)
        assert SECRET not in str(shown)


# ── sealing ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_an_older_root_sealed_opens_and_new_things_are_sealed_under_the_newest() -> None:
    old = ring(SECRET).seal(b"x")
    both = ring(NEWER, SECRET)
    assert both.open(old) == b"x"
    assert ring(NEWER).open(both.seal(b"y")) == b"y"
    assert ring(NEWER).open(both.renew(old)) == b"x"
    with pytest.raises(InvalidToken):
        ring(NEWER).open(old)
    assert ring(NEWER).opener(old) is None


def test_a_process_follows_a_rotation_that_another_makes(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "secret.key")
    file.write((SECRET.encode(),))
    living = SealRing(KeyFile(file.path))
    before = living.seal(b"before")
    file.write((NEWER.encode(), SECRET.encode()))
    assert living.open(ring(NEWER).seal(b"theirs")) == b"theirs"
    assert ring(NEWER).open(living.seal(b"mine")) == b"mine"
    assert ring(NEWER).open(living.renew(before)) == b"before"
    file.write((NEWER.encode(),))
    assert living.open(before) == b"before", "a snapshot may still show it"
    assert [root.name for root in living.roots()] == [root.name for root in ring(NEWER).roots()]


def test_a_process_goes_on_when_its_key_file_is_away(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "secret.key")
    file.write((SECRET.encode(),))
    living = SealRing(file)
    sealed = living.seal(b"x")
    file.path.unlink()
    assert living.open(sealed) == b"x"
    assert living.open(living.seal(b"y")) == b"y"


# ── where roots come from ────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_installation_makes_a_key_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        runtime = Runtime(settings(tmp_path / "data"))
        runtime.migrate()
        runtime.close()
    finally:
        os.umask(before)
    file = tmp_path / "data" / "secret.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(file.read_text().strip()) == 64


def test_a_private_file_is_private_even_when_another_was_there(tmp_path: Path) -> None:
    file = tmp_path / "voice.env"
    file.write_text("old")
    file.chmod(0o666)
    write_private(file, "new")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["voice.env"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"secret_key": "short"}, "VOICE_SECRET_KEY:"),
        ({"secret_key": SECRET, "secret_key_old": "short,short"}, "VOICE_SECRET_KEY_OLD:"),
        ({"secret_key_old": OTHER}, "VOICE_SECRET_KEY_OLD:"),
        ({"database_url": "postgresql://u@h/d"}, "VOICE_SECRET_KEY:"),
    ],
)
def test_root_secrets_that_cannot_be_are_refused_by_name(tmp_path: Path, given: Any, named: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        roots_of(settings(tmp_path, **given))
    assert refused.value.detail.startswith(named)
    assert OTHER not in refused.value.detail


def test_older_roots_are_given_by_commas(tmp_path: Path) -> None:
    third = "0" * 32
    given = roots_of(settings(tmp_path, secret_key=NEWER, secret_key_old=f" {OTHER}, {third},{NEWER}"))
    assert given() == (NEWER.encode(), OTHER.encode(), third.encode())


def test_an_older_root_may_hold_a_comma_itself(tmp_path: Path) -> None:
    assert "," in SECRET
    given = roots_of(settings(tmp_path, secret_key=NEWER, secret_key_old=SECRET))
    assert given() == (NEWER.encode(), SECRET.encode())


@pytest.mark.parametrize("content", ["", "short\n", f"{SECRET}\nshort\n"])
def test_a_damaged_key_file_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "secret.key"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match="damaged"):
        KeyFile(file)()


# ── the vault ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_installation_from_before_the_vault_keeps_its_hashes(database_url: str, tmp_path: Path) -> None:
    """The vault is filled with what the root gives, so that the same author and content are recognised."""
    runtime = make_runtime(database_url, tmp_path)
    before = Secrets.of(SECRET.encode())
    send(runtime, external_id="e")
    with runtime.database.write() as session:
        session.execute(delete(Vault))
    runtime.close()
    runtime = make_runtime(database_url, tmp_path)
    with runtime.database.read() as session:
        assert set(session.scalars(select(Vault.name))) == {"people", "contents"}
    assert runtime.secrets.person_key("p", "id", "u") == before.person_key("p", "id", "u")
    assert runtime.secrets.content_hash({"a": 1}) == before.content_hash({"a": 1})
    assert runtime.secrets.fingerprint() == before.fingerprint()
    assert send(runtime, external_id="e") == "duplicate"
    runtime.close()


def test_before_it_is_migrated_the_derived_keys_serve(sqlite_url: str, tmp_path: Path) -> None:
    runtime = Runtime(settings(tmp_path, database_url=sqlite_url, secret_key=SECRET))
    assert runtime.secrets.fingerprint() == Secrets.of(SECRET.encode()).fingerprint()
    runtime.close()


@pytest.mark.parametrize("sent", [True, False])
def test_an_upgrade_and_a_new_root_at_once_keep_the_hashes(
    sqlite_url: str, tmp_path: Path, sent: bool
) -> None:
    runtime = make_runtime(sqlite_url, tmp_path)
    before = runtime.secrets.fingerprint()
    if sent:
        send(runtime)
    with runtime.database.write() as session:
        session.execute(delete(Vault))
    runtime.close()
    runtime = make_runtime(sqlite_url, tmp_path, secret_key=NEWER, secret_key_old=SECRET)
    assert runtime.secrets.fingerprint() == before
    runtime.close()


@pytest.mark.parametrize("vault", [True, False])
def test_another_root_is_refused_with_the_remedy(database_url: str, tmp_path: Path, vault: bool) -> None:
    runtime = make_runtime(database_url, tmp_path)
    send(runtime)
    if not vault:
        with runtime.database.write() as session:
            session.execute(delete(Vault))
    runtime.close()
    wrong = Runtime(settings(tmp_path, database_url=database_url, secret_key=OTHER))
    for act in (wrong.migrate, wrong.check_secrets):
        with pytest.raises(ConfigurationError) as refused:
            act()
        assert "VOICE_SECRET_KEY" in refused.value.detail
        assert OTHER not in refused.value.detail
    wrong.close()


def test_a_key_file_that_is_gone_is_not_replaced(tmp_path: Path) -> None:
    runtime = Runtime(settings(tmp_path))
    runtime.migrate()
    runtime.close()
    file = tmp_path / "secret.key"
    copy = file.read_bytes()
    file.unlink()
    with pytest.raises(ConfigurationError, match=r"secret\.key: is missing"):
        Runtime(settings(tmp_path)).check_secrets()
    assert not file.exists()
    file.write_bytes(copy)
    Runtime(settings(tmp_path)).check_secrets()


def test_a_key_file_of_another_installation_is_refused(tmp_path: Path) -> None:
    runtime = Runtime(settings(tmp_path))
    runtime.migrate()
    runtime.close()
    (tmp_path / "secret.key").write_text(OTHER)
    with pytest.raises(ConfigurationError, match=r"secret\.key: is not the root secret"):
        Runtime(settings(tmp_path)).check_secrets()


def test_a_database_that_is_away_does_not_keep_a_process_from_starting(tmp_path: Path) -> None:
    away = settings(tmp_path, database_url="postgresql://nobody@127.0.0.1:1/none", secret_key=SECRET)
    Runtime(away).check_secrets()


# ── URLs with passwords ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "given",
    [
        {"database_url": "postgresql://voice:PLANT@ED@db/voice"},
        {"database_url": "postgresql://voice@db:PLANTED/voice"},
        {"broker_url": "redis://:PLANT/ED@redis:6379/0"},
        {"broker_url": "redis://:PLANT#ED@redis:6379/0"},
        {"broker_url": "redis://:PLANT@ED@redis:6379/0"},
    ],
)
def test_a_url_that_would_be_torn_inside_its_password_is_refused_without_it(given: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(**given)
    [name] = given
    assert refused.value.detail.startswith(f"VOICE_{name.upper()}: ")
    assert "PLANT" not in refused.value.detail


@pytest.mark.parametrize(
    "given",
    [
        {"database_url": "postgresql://voice:p%40ss%2Fw:rd@db:5432/voice?options=-csearch_path%3Da@b"},
        {"database_url": "postgresql://voice:pa/ss@db/voice"},
        {"database_url": "sqlite:////srv/a@b@c/voice.db"},
        {"broker_url": "redis://:p%40ss@redis:6379/0"},
        {"broker_url": "filesystem://localhost//"},
    ],
)
def test_other_urls_are_taken_as_they_are(given: dict[str, str]) -> None:
    [(name, url)] = given.items()
    assert getattr(load_settings(**given), name) == url
