"""Importing a file: rows are stored in chunks, each with the progress in one transaction, so that it can resume."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from voice.accounts import Secrets
from voice.clock import Clock
from voice.db.dialects import CHUNK, explain_failure, insert_ignoring, is_database_trouble, table_of
from voice.db.session import Database
from voice.db.tables import Import
from voice.errors import FieldError, Unavailable
from voice.feedback.intake import Intake
from voice.feedback.submission import Submission
from voice.sources.files import Row, Unit, open_file
from voice.sources.records import ImportOptions, Plan, is_nothing, make_plan, to_submission

SENT_BY = "import"
MAX_ERRORS = 1_000
PREVIEWED = 5
_SHOWN = (
    "line",
    "external_id",
    "source",
    "channel",
    "title",
    "text",
    "rating",
    "rating_scale",
    "created_at",
    "account",
    "segment",
    "version",
    "stated_language",
    "url",
    "tags",
    "meta",
)


@dataclass(frozen=True, slots=True)
class RowError:
    """What is wrong with a field of a row; never the value, which may be personal."""

    line: int
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Rows read so far, and how much of the file that is, in its unit."""

    rows: int
    position: int
    size: int
    unit: Unit


@dataclass(slots=True)
class ImportReport:
    """What became of a file's rows. `rows` counts those read by this run; `errors` holds at most 1 000.

    `mapping` gives every column its target: a field, `metadata` or `ignore`. `preview` is filled by a dry run: its
    first rows, redacted.
    """

    mapping: Mapping[str, str]
    notes: list[str]
    resumed_from: int = 0
    rows: int = 0
    stored: int = 0
    updated: int = 0
    duplicate: int = 0
    rejected: int = 0
    erased: int = 0
    truncated: int = 0
    error_count: int = 0
    errors: list[RowError] = field(default_factory=list)
    preview: list[dict[str, Any]] = field(default_factory=list)


def import_file(
    database: Database,
    intake: Intake,
    project_id: str,
    path: Path,
    options: ImportOptions,
    *,
    secrets: Secrets,
    clock: Clock,
    dry_run: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_error: Callable[[RowError], None] = lambda _: None,
) -> ImportReport:
    """Store the rows of a CSV, JSONL or spreadsheet file as feedback of a project.

    A row without an id of its own gets one made of its content and of how often that content came before in the file:
    importing a file again, or with rows added, stores nothing twice. An interrupted import resumes after its last
    committed chunk; a finished one starts over. `on_progress` is called after each chunk, `on_error` for every fault.
    A dry run reads everything and writes nothing.

    Raises Invalid when the file or an option cannot be used, Unavailable when the database cannot store now.
    """
    file = open_file(path, sheet=options.sheet, encoding=options.encoding, delimiter=options.delimiter)
    plan = make_plan(file, options, name=path.stem)
    report = ImportReport(mapping=dict(plan.columns.targets), notes=list(plan.notes))
    reader = _Reader(plan, secrets, report, on_error)
    progress: _Store | _Preview
    if dry_run:
        progress = _Preview(intake, project_id, report)
    else:
        progress = _Store(database, intake, project_id, _fingerprint(path, plan, options), report)
    rows = file.rows()
    for row in islice(rows, progress.begin()):
        reader.skip(row)
    while chunk := list(islice(rows, CHUNK)):
        now = clock()
        progress.take(
            [accepted for row in chunk if (accepted := reader.read(row, now=now))], len(chunk), now=now
        )
        on_progress(Progress(report.resumed_from + report.rows, chunk[-1].position, file.size, file.unit))
    progress.finish()
    if reader.repeated_ids:
        report.notes.append(
            f"{reader.repeated_ids} rows have the id of an earlier row and replace it; if each is a feedback of its "
            f"own, give the column another field, such as --map thread_id={plan.columns.column('external_id')}"
        )
    return report


@dataclass(frozen=True, slots=True)
class _Accepted:
    line: int
    submission: Submission
    truncated: bool


class _Reader:
    """Turns rows into submissions with an id, counting and reporting what is wrong."""

    def __init__(
        self, plan: Plan, secrets: Secrets, report: ImportReport, on_error: Callable[[RowError], None]
    ) -> None:
        self._plan, self._secrets, self._report, self._on_error = plan, secrets, report, on_error
        self._id_column = plan.columns.column("external_id")
        # 64 bits of each row's digest, not the digest: a clash only makes a number in an id skip one.
        self._occurrences: dict[int, int] = {}
        self._ids: set[int] = set()
        self.repeated_ids = 0

    def skip(self, row: Row) -> None:
        """Pass over a row that an earlier run stored, remembering its content."""
        if row.cells is not None and not self._has_id(row.cells):
            self._made_id(row.cells)

    def read(self, row: Row, *, now: datetime) -> _Accepted | None:
        """The row's submission; None when it is rejected."""
        if row.cells is None:
            self._reject(row.line, [FieldError("row", row.fault)])
            return None
        made_id = None if self._has_id(row.cells) else self._made_id(row.cells)
        submission, cut = to_submission(row.cells, self._plan, now=now)
        if not isinstance(submission, Submission):
            self._reject(row.line, submission)
            return None
        if made_id is None:
            self._notice_repeated(submission)
        else:
            submission = submission.model_copy(update={"external_id": made_id})
        return _Accepted(row.line, submission, cut)

    def _has_id(self, cells: Mapping[str, Any]) -> bool:
        return self._id_column is not None and not is_nothing(cells.get(self._id_column))

    def _made_id(self, cells: Mapping[str, Any]) -> str:
        digest = self._secrets.content_hash({name: _plain(value) for name, value in cells.items()})
        key = int(digest[:16], 16)
        self._occurrences[key] = self._occurrences.get(key, 0) + 1
        return f"row-{digest}-{self._occurrences[key]}"

    def _notice_repeated(self, submission: Submission) -> None:
        key = hash((submission.source_slug, submission.external_id))
        self.repeated_ids += key in self._ids
        self._ids.add(key)

    def _reject(self, line: int, faults: Sequence[FieldError]) -> None:
        self._report.rejected += 1
        self._report.error_count += len(faults)
        for fault in faults:
            error = RowError(line, fault.field, fault.message)
            if len(self._report.errors) < MAX_ERRORS:
                self._report.errors.append(error)
            self._on_error(error)


class _Preview:
    """A dry run: counts, and redacts the first rows for show."""

    def __init__(self, intake: Intake, project_id: str, report: ImportReport) -> None:
        self._intake, self._project_id, self._report = intake, project_id, report

    def begin(self) -> int:
        return 0

    def take(self, accepted: Sequence[_Accepted], rows: int, *, now: datetime) -> None:
        self._report.rows += rows
        self._report.truncated += sum(one.truncated for one in accepted)
        for one in accepted[: PREVIEWED - len(self._report.preview)]:
            arrival = self._intake.prepare(self._project_id, one.submission, now=now)
            row = {"line": one.line, "source": arrival.source} | arrival.row
            shown = {name: row[name] for name in _SHOWN if row[name] not in (None, [], {})}
            self._report.preview.append(shown)

    def finish(self) -> None:
        """Nothing was written."""


class _Store:
    """Stores chunks of rows, each in one transaction with how far the import got."""

    def __init__(
        self, database: Database, intake: Intake, project_id: str, fingerprint: str, report: ImportReport
    ) -> None:
        self._database, self._intake, self._project_id, self._report = database, intake, project_id, report
        self._fingerprint = fingerprint
        self._mine = (Import.project_id == project_id, Import.fingerprint == fingerprint)

    def begin(self) -> int:
        """How many rows an interrupted run of the same import has done."""
        with self._database.read() as session:
            self._report.resumed_from = session.scalar(select(Import.rows_done).where(*self._mine)) or 0
        return self._report.resumed_from

    def take(self, accepted: Sequence[_Accepted], rows: int, *, now: datetime) -> None:
        arrivals = [
            self._intake.prepare(
                self._project_id, one.submission, now=now, sent_by=SENT_BY, truncated=one.truncated
            )
            for one in accepted
        ]
        report = self._report
        with self._transaction() as session:
            stored = self._intake.store(session, arrivals, now=now) if arrivals else []
            self._remember(session, report.resumed_from + report.rows + rows, now)
        report.rows += rows
        report.truncated += sum(one.truncated for one in accepted)
        for one in stored:
            setattr(report, one.outcome, getattr(report, one.outcome) + 1)

    def finish(self) -> None:
        with self._transaction() as session:
            session.execute(delete(Import).where(*self._mine))

    def _remember(self, session: Session, rows_done: int, now: datetime) -> None:
        values = {"rows_done": rows_done, "updated_at": now}
        key = {"project_id": self._project_id, "fingerprint": self._fingerprint}
        session.execute(insert_ignoring(session, table_of(Import)).values(**key, **values))
        session.execute(update(Import).where(*self._mine).values(**values))

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        try:
            with self._database.write() as session:
                yield session
        except DBAPIError as error:
            if not is_database_trouble(error):
                raise
            done = self._report.resumed_from + self._report.rows
            raise Unavailable(
                f"the database cannot store now ({trouble(error)}); {done} rows are done: free it, run the same "
                "command again, and it goes on from there"
            ) from None


def trouble(error: DBAPIError) -> str:
    """What keeps the database from storing, without the statement and its values."""
    return "another process holds its lock" if "locked" in str(error.orig) else explain_failure(error)


def _plain(value: Any) -> Any:
    """A cell as JSON can hold it."""
    return (
        value.isoformat()
        if isinstance(value, date | time)
        else str(value)
        if isinstance(value, timedelta)
        else value
    )


def _fingerprint(path: Path, plan: Plan, options: ImportOptions) -> str:
    """Tells one import from another: the file's content, the mapping and the options."""
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    resolved = asdict(options) | {
        "targets": dict(plan.columns.targets),
        "source": plan.source,
        "rating_scale": plan.rating_scale,
        "day_first": plan.day_first,
    }
    told_apart = json.dumps([content, resolved], sort_keys=True)
    return hashlib.sha256(told_apart.encode()).hexdigest()
