"""`voice import`: the rows of a CSV, JSONL or spreadsheet file as feedback."""

import csv
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from sqlalchemy.exc import DBAPIError

from voice.accounts import find_project
from voice.config import load_settings
from voice.errors import Invalid, VoiceError
from voice.events import Doorbell
from voice.runtime import FIRST_PROJECT, Runtime
from voice.search.tabular import neutralised
from voice.sources.importing import ImportReport, Progress, RowError, import_file, trouble
from voice.sources.records import ImportOptions

RING_SECONDS = 1.0
PLAIN_SECONDS = 5.0
SHOWN_ERRORS = 10
_LONGEST = 80

Project = Annotated[str, typer.Option(help="Slug of the project.")]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="FIELD=COLUMN",
        help="Which column is a field, such as text=Comment or author.email=E-mail; metadata=COLUMN keeps a column "
        "beside the feedback, ignore=COLUMN leaves it out. What is not given is guessed from the headings.",
    ),
]
Source = Annotated[
    str | None, typer.Option(help="Slug of the source; made of the file's name when not given.")
]
Channel = Annotated[str, typer.Option(help="Channel of rows that name none: survey, review, ticket, …")]
Scale = Annotated[str | None, typer.Option(help="What ratings mean: nps, csat, stars, ces or thumbs.")]
Zone = Annotated[str, typer.Option(help="Time zone of times without an offset, such as Europe/Berlin.")]
DayFirst = Annotated[
    bool | None,
    typer.Option("--day-first/--month-first", help="How to read 03/04/2026; found out when not given."),
]
Sheet = Annotated[str | None, typer.Option(help="Sheet of a spreadsheet; the first when not given.")]
Encoding = Annotated[str | None, typer.Option(help="Encoding of a text file; found out when not given.")]
Delimiter = Annotated[str | None, typer.Option(help="Delimiter of a CSV file; found out when not given.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be imported; store nothing.")]
Errors = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write every fault as CSV: line, field, message.")
]

Watcher = Callable[[Progress], None]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("import")(import_feedback)


def import_feedback(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, JSONL or a spreadsheet.")],
    project: Project = FIRST_PROJECT,
    map_: Map = None,
    source: Source = None,
    channel: Channel = "file",
    rating_scale: Scale = None,
    timezone: Zone = "UTC",
    day_first: DayFirst = None,
    sheet: Sheet = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    dry_run: DryRun = False,
    errors: Errors = None,
) -> None:
    """Import feedback from a file. Run again, it stores nothing twice; interrupted, it resumes.

    Exit code 0: every row was accepted; 1: some rows were rejected; 2: nothing could be read.
    """
    with _one_line_for_failures():
        options = ImportOptions(
            mapping=tuple(map(_pair, map_ or [])),
            source=source,
            channel=channel,
            rating_scale=rating_scale,
            timezone=timezone,
            day_first=day_first,
            sheet=sheet,
            encoding=encoding,
            delimiter=delimiter,
        )
        report = _import(file, project, options, dry_run=dry_run, errors=errors)
        summarise(_console(), report, dry_run=dry_run)
        _refuse_nothing(file.name, report)
    raise typer.Exit(1 if report.rejected else 0)


@contextmanager
def _one_line_for_failures() -> Iterator[None]:
    code = 2
    try:
        yield
        return
    except VoiceError as error:
        message = error.detail
    except DBAPIError as error:
        message = f"the database failed ({trouble(error)}); what was committed stays: run it again to go on from there"
    except KeyboardInterrupt:
        message, code = "interrupted; run the same command again to go on from there", 130
    _console(stderr=True).print(f"voice import: {printable(message)}")
    raise typer.Exit(code)


def _refuse_nothing(name: str, report: ImportReport) -> None:
    if report.resumed_from:
        return
    if not report.rows:
        raise Invalid(f"{name} holds no rows below its header")
    if report.rejected == report.rows:
        first = report.errors[0]
        raise Invalid(
            f"no row could be read; the first fault: line {first.line}, {first.field}: {first.message}"
        )


def _console(*, stderr: bool = False) -> Console:
    """Headings of a file are shown as they are: never as markup."""
    return Console(markup=False, highlight=False, soft_wrap=True, stderr=stderr)


def _pair(given: str) -> tuple[str, str]:
    field, _, column = given.partition("=")
    if not column:
        raise Invalid.field("--map", f"{given!r} lacks a column; write FIELD=COLUMN")
    return field.strip(), column


def _import(
    file: Path, project: str, options: ImportOptions, *, dry_run: bool, errors: Path | None
) -> ImportReport:
    if errors is not None and errors.resolve() == file.resolve():
        raise Invalid.field("--errors", "is the file to import; name another")
    with ExitStack() as stack:
        on_error = stack.enter_context(_error_file(errors))
        runtime = Runtime(load_settings())
        stack.callback(runtime.close)
        runtime.migrate()
        with runtime.database.read() as session:
            project_id = find_project(session, project).id
        show = stack.enter_context(_progress(_console(), file.name))
        ring = (lambda _: None) if dry_run else stack.enter_context(_ringing(runtime.doorbell))

        def on_progress(progress: Progress) -> None:
            show(progress)
            ring(progress)

        return import_file(
            runtime.database,
            runtime.intake,
            project_id,
            file,
            options,
            secrets=runtime.secrets,
            clock=runtime.clock,
            dry_run=dry_run,
            on_progress=on_progress,
            on_error=on_error,
        )


@contextmanager
def _error_file(path: Path | None) -> Iterator[Callable[[RowError], None]]:
    if path is None:
        yield lambda _: None
        return
    try:
        file = path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise Invalid.field("--errors", f"{path} cannot be written: {error.strerror}") from None
    with file:
        writer = csv.writer(file)
        writer.writerow(("line", "field", "message"))

        def write(error: RowError) -> None:
            writer.writerow((error.line, neutralised(error.field), neutralised(error.message)))

        yield write


@contextmanager
def _ringing(doorbell: Doorbell) -> Iterator[Watcher]:
    """Ring at most once a second while rows come in, and once at the end, however it ends."""
    last = 0.0
    waiting = False

    def ring(_: Progress) -> None:
        nonlocal last, waiting
        waiting = True
        if time.monotonic() - last >= RING_SECONDS:
            doorbell.ring("analyse")
            last, waiting = time.monotonic(), False

    try:
        yield ring
    finally:
        if waiting:
            doorbell.ring("analyse")


@contextmanager
def _progress(console: Console, name: str) -> Iterator[Watcher]:
    """A bar on a terminal, a line every few seconds elsewhere."""
    if not console.is_terminal:
        yield _plain_progress(console)
        return
    rows = TextColumn("{task.fields[rows]:,} rows")
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        rows,
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(printable(name, longest=_LONGEST), total=None, rows=0)
        yield lambda done: bar.update(task, total=done.size, completed=done.position, rows=done.rows)


def _plain_progress(console: Console) -> Watcher:
    last = time.monotonic()

    def show(done: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_SECONDS:
            last = time.monotonic()
            share = f"{min(1.0, done.position / done.size):.0%}" if done.size else ""
            console.print(f"{done.rows:,} rows read {share}")

    return show


def printable(value: Any, *, longest: int | None = None) -> str:
    """A value on one line of a terminal: what a terminal would obey is replaced; cut."""
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(value))
    return text if longest is None or len(text) <= longest else f"{text[:longest]}…"


def summarise(console: Console, report: ImportReport, *, dry_run: bool) -> None:
    """Print what became of the columns and the rows."""
    mapping = Table("column", "becomes", box=None)
    for column, target in report.mapping.items():
        mapping.add_row(printable(column, longest=_LONGEST), target)
    console.print(mapping)
    for note in report.notes:
        console.print(f"note: {printable(note)}")
    for row in report.preview:
        console.print(f"line {row['line']}:")
        for name, value in row.items():
            if name != "line":
                console.print(f"  {name}: {printable(value, longest=_LONGEST)}")
    for error in report.errors[:SHOWN_ERRORS]:
        console.print(f"line {error.line}, {error.field}: {error.message}")
    if report.error_count > SHOWN_ERRORS:
        console.print(
            f"… and {report.error_count - SHOWN_ERRORS} more faults; --errors FILE writes all of them"
        )
    if report.resumed_from:
        console.print(f"resumed after row {report.resumed_from:,}")
    console.print(_counts(report, dry_run=dry_run))


def _counts(report: ImportReport, *, dry_run: bool) -> Table:
    names = (
        ("rejected", "truncated")
        if dry_run
        else ("stored", "updated", "duplicate", "rejected", "erased", "truncated")
    )
    table = Table("rows", *names, box=None)
    table.add_row(f"{report.rows:,}", *(f"{getattr(report, name):,}" for name in names))
    return table
