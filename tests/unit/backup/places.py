"""Acts of the tests of backups: making one, restoring it, reading it."""

from collections.abc import Callable
from pathlib import Path

from tests.conftest import SECRET
from voice.accounts import Secrets
from voice.accounts.roots import GivenRoots
from voice.accounts.seal import SealRing
from voice.backup import Manifest, Restored, back_up, opened, place_of, restore
from voice.clock import utc_now
from voice.db.session import Database
from voice.runtime import Runtime

MakeUrl = Callable[[str], str]
Lines = dict[str, list[bytes]]
SECRETS = Secrets.of(SECRET.encode())


def ring_of(*roots: str) -> SealRing:
    """What root secrets open; the tests' own by default."""
    return SealRing(GivenRoots(tuple(root.encode() for root in roots or (SECRET,))))


def dumped(url: str, path: Path) -> Manifest:
    """Back up a database that no installation is at."""
    database = Database(url)
    try:
        return back_up(database, path, secrets=SECRETS, clock=utc_now, progress=lambda *_: None)
    finally:
        database.dispose()


def made_backup(runtime: Runtime, path: Path) -> Manifest:
    """Back up an installation and let go of its database, so that it may be replaced."""
    made = back_up(
        runtime.database, path, secrets=runtime.secrets, clock=runtime.clock, progress=lambda *_: None
    )
    runtime.close()
    return made


def restored(
    path: Path,
    url: str,
    *,
    ring: SealRing | None = None,
    erasures: Path | None = None,
    replace: bool = False,
) -> Restored:
    """Restore a file to a database."""
    return restore(
        path,
        place_of(url),
        ring=ring or ring_of(),
        erasures=erasures,
        replace=replace,
        clock=utc_now,
        progress=lambda *_: None,
    )


def lines_of(path: Path) -> Lines:
    """Every line of a backup, by table, sorted."""
    with opened(path) as archive:
        return {part.table: sorted(archive.lines(part)) for part in archive.manifest.tables}
