"""`voice backup`, `voice restore`, `voice erasures`: an installation as one file, and back."""

import time
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout

from voice.accounts.roots import roots_of
from voice.accounts.seal import SealRing
from voice.backup import Manifest, back_up, export_erasures, opened, place_of, restore
from voice.backup.dump import Progress
from voice.clock import rfc3339, utc_now
from voice.config import Settings, load_settings
from voice.errors import Conflict, Invalid, NotFound
from voice.runtime import Runtime

SECONDS_BETWEEN_LINES = 2.0


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("backup")(backup)
    app.command("restore")(restore_backup)
    erasures = typer.Typer(no_args_is_help=True, help="Who was erased, as keyed hashes.")
    erasures.command("export")(erasures_export)
    app.add_typer(erasures, name="erasures")


def backup(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="Where to; a folder takes the usual name. Default: backups/ in the data folder.",
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read a backup and check every sum instead.")
    ] = False,
) -> None:
    """Write everything in the database to one file, while Voice runs.

    The root secret is not in it: keep VOICE_SECRET_KEY or secret.key apart.
    """
    if verify:
        _verify(file)
        return
    runtime = _installation()
    name = f"voice-{utc_now():%Y-%m-%dT%H%M%SZ}.backup"
    if file is None:
        file = runtime.settings.data_dir / "backups" / name
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif file.is_dir():
        file = file / name
    made = back_up(
        runtime.database, file, secrets=runtime.secrets, clock=runtime.clock, progress=_progress("written")
    )
    runtime.close()
    typer.echo(_summary(file, made))


def _verify(file: Path | None) -> None:
    if file is None:
        raise Invalid.field("--verify", "name the FILE to read")
    with opened(file) as archive:
        archive.verify()
        typer.echo(f"whole: {_summary(file, archive.manifest)}")


def restore_backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What voice backup wrote.")],
    erasures: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What voice erasures export wrote: who must stay erased as well."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Replace everything in a database that is not empty.")
    ] = False,
) -> None:
    """Put a backup in the place of the database, while nothing runs; erased people stay erased.

    The file is checked before anything is touched. Stopped in the middle, it leaves the old database; run it again.
    """
    settings = load_settings()
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(settings.data_dir / "supervisor.lock", timeout=0)
    try:
        with lock:
            done = restore(
                file,
                place_of(settings.database),
                ring=SealRing(roots_of(settings)),
                erasures=erasures,
                replace=yes,
                clock=utc_now,
                progress=_progress("restored"),
            )
    except Timeout:
        raise Conflict(f"Voice runs in {settings.data_dir}: stop it, then restore") from None
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(
        f"restored {done.manifest.rows:,} rows as of {rfc3339(done.manifest.as_of)}; "
        f"{done.erased:,} items of people erased since were left out"
    )


def erasures_export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to.")],
) -> None:
    """Write who was erased, as keyed hashes, for `voice restore --erasures`: keep it apart from the database."""
    runtime = _installation()
    made = export_erasures(runtime.database, file, secrets=runtime.secrets, clock=runtime.clock)
    runtime.close()
    typer.echo(_summary(file, made))


def _installation() -> Runtime:
    settings = load_settings()
    _refuse_nothing(settings)
    return Runtime(settings)


def _refuse_nothing(settings: Settings) -> None:
    """Looking for a SQLite database would make one."""
    if settings.is_embedded_database and not Path(settings.database.removeprefix("sqlite:///")).exists():
        raise NotFound(
            f"{settings.database}: there is no database; check VOICE_DATA_DIR and VOICE_DATABASE_URL"
        )


def _summary(file: Path, made: Manifest) -> str:
    size = file.stat().st_size
    return f"{file}  {made.rows:,} rows  {size:,} bytes  as of {rfc3339(made.as_of)}"


def _progress(done: str) -> Progress:
    """A line on standard error every few seconds."""
    last = time.monotonic()

    def show(table: str, rows: int) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            typer.echo(f"{table}: {rows:,} rows {done}", err=True)

    return show
