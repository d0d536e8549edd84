"""A database with one project, and files to import into it."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from voice.accounts import Secrets, create_project
from voice.db.migrate import migrate
from voice.db.session import Database
from voice.db.tables import Feedback
from voice.feedback.intake import Intake
from voice.redaction import Redactor
from voice.sources.importing import ImportReport, import_file
from voice.sources.records import ImportOptions

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Place:
    """A database with one project, and files to import into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(f"sqlite:///{folder / 'voice.db'}")
        migrate(self.database.engine)
        with self.database.write() as session:
            self.project = create_project(session, slug="main", name="main", actor="test", now=NOW).id
        self.secrets = Secrets.of(b"0123456789abcdef0123456789abcdef")
        self.intake = Intake(self.secrets, Redactor())

    def csv(self, rows: list[list[Any]], name: str = "survey.csv") -> Path:
        path = self.folder / name
        with path.open("w", encoding="utf-8", newline="", errors="surrogatepass") as file:
            csv.writer(file).writerows(rows)
        return path

    def jsonl(self, lines: list[Any], name: str = "export.jsonl") -> Path:
        path = self.folder / name
        path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines))
        return path

    def run(self, path: Path, **given: Any) -> ImportReport:
        run = {name: given.pop(name) for name in ("dry_run", "on_progress", "on_error") if name in given}
        return import_file(
            self.database,
            self.intake,
            self.project,
            path,
            ImportOptions(**given),
            secrets=self.secrets,
            clock=lambda: NOW,
            **run,
        )

    def rows(self) -> list[Feedback]:
        """In the order they were accepted, which is that of their ids."""
        with self.database.read() as session:
            return list(session.scalars(select(Feedback).order_by(Feedback.id)))

    def count(self, table: Any) -> int:
        with self.database.read() as session:
            return session.scalar(select(func.count()).select_from(table)) or 0


def outcomes(report: ImportReport) -> tuple[int, int, int, int]:
    return report.stored, report.updated, report.duplicate, report.rejected


def faults(report: ImportReport) -> list[tuple[int, str, str]]:
    return [(error.line, error.field, error.message) for error in report.errors]


def numbered(count: int, start: int = 0) -> list[list[Any]]:
    return [["id", "comment"], *([i, f"comment number {i}"] for i in range(start, start + count))]
