"""An import stores every row once, whatever interrupts it."""

import json
import sqlite3
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event

from tests.unit.sources.place import Place, faults, numbered, outcomes
from voice.accounts import Secrets
from voice.db.tables import Feedback, Import, Source
from voice.errors import Unavailable
from voice.sources.importing import MAX_ERRORS, Progress, RowError


def test_importing_again_stores_nothing_twice_and_identical_rows_are_all_kept(place: Place) -> None:
    path = place.csv([["text", "email"], ["same", "a@b.example"], ["same", "a@b.example"], ["other", ""]])
    assert outcomes(place.run(path)) == (3, 0, 0, 0)
    assert outcomes(place.run(path)) == (0, 0, 3, 0)
    assert place.count(Feedback) == 3
    assert place.count(Import) == 0


def test_made_ids_cannot_be_guessed_from_the_content(place: Place) -> None:
    path = place.csv([["text"], ["my number is +49 30 901820"]])
    place.run(path)
    (row,) = place.rows()
    assert row.external_id is not None
    digest = row.external_id.split("-")[1]
    other = Secrets.of(b"another root secret of 32 letters").content_hash(
        {"text": "my number is +49 30 901820"}
    )
    assert digest == place.secrets.content_hash({"text": "my number is +49 30 901820"}) != other


def test_an_appended_file_stores_only_what_is_new(place: Place) -> None:
    rows = [["text"], ["one"], ["two"], ["two"]]
    place.run(place.csv(rows))
    report = place.run(place.csv([*rows, ["two"], ["three"]]))
    assert outcomes(report) == (2, 0, 3, 0)
    assert sorted(row.text or "" for row in place.rows()) == ["one", "three", "two", "two", "two"]


def test_another_reading_of_the_same_rows_updates_them(place: Place) -> None:
    path = place.csv([["text", "date"], ["a", "03/04/2026"]])
    place.run(path)
    assert outcomes(place.run(path, day_first=True)) == (0, 1, 0, 0)
    (row,) = place.rows()
    assert row.created_at == datetime(2026, 4, 3, tzinfo=UTC)


def test_rows_with_one_id_replace_each_other_and_that_is_noted(place: Place) -> None:
    report = place.run(place.csv([["ticket id", "text"], ["7", "first"], ["7", "second"], ["8", "other"]]))
    assert outcomes(report) == (2, 1, 0, 0)
    assert report.notes[0].startswith("1 rows have the id of an earlier row")
    assert "--map thread_id=ticket id" in report.notes[0]


class _Crash(Exception):
    pass


@pytest.mark.parametrize("with_id", [True, False])
def test_a_crash_in_the_middle_resumes_after_the_last_chunk(place: Place, with_id: bool) -> None:
    rows = [["text"], *([f"comment {i % 700}"] for i in range(1_200))]
    path = place.csv(numbered(1_200) if with_id else rows)
    steps: list[Progress] = []

    def crash(progress: Progress) -> None:
        steps.append(progress)
        if len(steps) == 2:
            raise _Crash

    with pytest.raises(_Crash):
        place.run(path, on_progress=crash)
    assert place.count(Feedback) == 1_000
    assert [step.rows for step in steps] == [500, 1_000]
    assert 0 < steps[0].position < steps[1].position <= steps[0].size == path.stat().st_size
    again = place.run(path)
    assert (again.resumed_from, again.rows, *outcomes(again)) == (1_000, 200, 200, 0, 0, 0)
    assert place.count(Feedback) == 1_200
    assert place.count(Import) == 0
    assert outcomes(place.run(path)) == (0, 0, 1_200, 0)


def test_other_options_or_another_content_do_not_resume(place: Place) -> None:
    path = place.csv(numbered(600))

    def crash(_: Progress) -> None:
        raise _Crash

    with pytest.raises(_Crash):
        place.run(path, on_progress=crash)
    assert place.run(path, channel="survey").resumed_from == 0
    assert place.run(place.csv(numbered(601))).resumed_from == 0
    assert place.run(place.csv(numbered(600))).resumed_from == 500


def test_a_failed_chunk_leaves_nothing_behind(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place.csv(numbered(700))
    store, calls = place.intake.store, []

    def fail_second(*args: Any, **kwargs: Any) -> Any:
        stored = store(*args, **kwargs)
        calls.append(len(stored))
        if len(calls) == 2:
            raise _Crash
        return stored

    monkeypatch.setattr(place.intake, "store", fail_second)
    with pytest.raises(_Crash):
        place.run(path)
    assert (place.count(Feedback), calls) == (500, [500, 200])
    assert place.run(path).resumed_from == 500


def test_a_locked_database_is_a_clear_error_and_the_import_resumes(place: Place) -> None:
    @event.listens_for(place.database.engine, "connect")
    def _impatient(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout=50")

    place.database.dispose()
    path = place.csv(numbered(700))
    other = sqlite3.connect(place.folder / "voice.db", isolation_level=None)

    def lock(progress: Progress) -> None:
        if progress.rows == 500:
            other.execute("BEGIN IMMEDIATE")

    with pytest.raises(
        Unavailable, match=r"another process holds its lock.*500 rows are done.*goes on from there"
    ):
        place.run(path, on_progress=lock)
    other.execute("ROLLBACK")
    other.close()
    again = place.run(path)
    assert (again.resumed_from, again.stored) == (500, 200)


def test_a_dry_run_writes_nothing_and_shows_redacted_rows(place: Place) -> None:
    rows = [
        ["text", "email", "stars"],
        *([f"mail {i} to jo{i}@mail.example", "jo@mail.example", "3"] for i in range(7)),
    ]
    path = place.csv([*rows, ["", "", "x"]])
    steps: list[Progress] = []
    report = place.run(path, dry_run=True, on_progress=steps.append)
    assert place.count(Feedback) == place.count(Import) == place.count(Source) == 0
    assert (report.rows, *outcomes(report)) == (8, 0, 0, 0, 1)
    assert [row["line"] for row in report.preview] == [2, 3, 4, 5, 6]
    assert report.preview[0]["text"] == "mail 0 to [email]"
    assert "mail.example" not in json.dumps(report.preview, default=str)
    assert report.mapping == {"text": "text", "email": "author.email", "stars": "rating"}
    assert faults(report) == [(9, "rating", "is not a number")]
    assert len(steps) == 1


def test_errors_are_capped_in_the_report_and_all_told(place: Place) -> None:
    path = place.jsonl(["{"] * (MAX_ERRORS + 200) + [{"text": "fine"}])
    told: list[RowError] = []
    report = place.run(path, on_error=told.append)
    assert (len(report.errors), report.error_count, len(told)) == (
        MAX_ERRORS,
        MAX_ERRORS + 200,
        MAX_ERRORS + 200,
    )
    assert outcomes(report) == (1, 0, 0, MAX_ERRORS + 200)
