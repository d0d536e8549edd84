"""Bulk insert that says which rows were really stored, on each database."""

from typing import Any

from sqlalchemy import select

from tests.conftest import first_project
from voice.db.dialects import insert_new, table_of
from voice.db.tables import Feedback, Source
from voice.feedback.submission import Submission
from voice.ids import new_id
from voice.runtime import Runtime

HOSTILE = "a, {b} \"c\" 'd' \\e \n NULL %s :x 日本 👩‍👩‍👧"


def rows_of(runtime: Runtime, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of one source, which is made, in the shape of the table."""
    project_id, now = first_project(runtime), runtime.clock()
    source = {"id": new_id(), "project_id": project_id, "slug": new_id(), "channel": "api", "created_at": now}
    with runtime.database.write() as session:
        session.execute(table_of(Source).insert(), [source])
    rest = {"source_id": source["id"], "status": 0, "attempts": 0, "alone": False, "rating_counts": True}
    arrivals = [
        runtime.intake.prepare(project_id, Submission.model_validate(body), now=now) for body in bodies
    ]
    return [
        {("metadata" if name == "meta" else name): value for name, value in (one.row | rest).items()}
        for one in arrivals
    ]


def test_values_come_back_as_they_were(runtime: Runtime) -> None:
    given = rows_of(
        runtime,
        {"text": HOSTILE, "tags": [HOSTILE], "metadata": {"k": [1, 2.5, None, True, HOSTILE]}},
        {"text": "x", "rating": 4, "rating_scale": "stars", "created_at": "2026-05-04T13:30:00.123456+02:00"},
        {"rating": 2.5, "rating_scale": "stars"},
    )
    with runtime.database.write() as session:
        assert insert_new(session, table_of(Feedback), given) == {row["id"] for row in given}
    with runtime.database.read() as session:
        for row in given:
            stored = session.get_one(Feedback, row["id"])
            for name, value in row.items():
                assert getattr(stored, "meta" if name == "metadata" else name) == value, name


def test_rows_that_conflict_are_left_out_and_named_by_their_absence(runtime: Runtime) -> None:
    first, again, other = rows_of(
        runtime, *({"text": text, "external_id": key} for text, key in (("a", "e"), ("b", "e"), ("c", "f")))
    )
    with runtime.database.write() as session:
        assert insert_new(session, table_of(Feedback), [first]) == {first["id"]}
        assert insert_new(session, table_of(Feedback), [again, other]) == {other["id"]}
        assert insert_new(session, table_of(Feedback), []) == set()
    with runtime.database.read() as session:
        assert set(session.scalars(select(Feedback.text))) == {"a", "c"}
