"""Retention: each channel's feedback goes when it is older than its limit, and nothing goes before."""

from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests.conftest import first_project, make_runtime
from tests.fakes import FakeAnalyser
from tests.recount import assert_exact
from voice import retention
from voice.clock import DAY, HOUR, parse_rfc3339
from voice.db.tables import Erasure, Event, Feedback, Person
from voice.errors import ConfigurationError
from voice.feedback.submission import Submission
from voice.people import finish_erasures
from voice.pipeline import Pipeline
from voice.retention import CHANNELS, expire, parse_limits
from voice.runtime import Runtime

NOW = parse_rfc3339("2026-11-23T12:00:00Z")
A_MOMENT = timedelta(microseconds=1)


def store(runtime: Runtime, *given: tuple[str, timedelta]) -> None:
    """One analysed feedback per (channel, age)."""
    project_id = first_project(runtime)
    arrivals = [
        runtime.intake.prepare(
            project_id,
            Submission(text=f"{channel} {age}", channel=channel, author={"id": f"{channel} {age}"}),
            now=NOW - age,
        )
        for channel, age in given
    ]
    with runtime.database.write() as session:
        runtime.intake.store(session, arrivals, now=NOW)
    Pipeline(
        runtime.database, FakeAnalyser(), lambda: NOW, batch_size=128, lease_seconds=60, max_attempts=5
    ).drain()


def left(runtime: Runtime) -> set[tuple[str, timedelta]]:
    with runtime.database.read() as session:
        rows = session.execute(select(Feedback.channel, Feedback.created_at)).all()
    return {(channel, NOW - created_at) for channel, created_at in rows}


def run(runtime: Runtime, *rules: str, now: datetime = NOW) -> int:
    return expire(runtime.database, parse_limits(rules), clock=lambda: now)


def test_the_boundary_is_exact(runtime: Runtime) -> None:
    at, over = ("review", 30 * DAY), ("review", 30 * DAY + A_MOMENT)
    store(runtime, at, over, ("review", 29 * DAY), ("widget", 40 * DAY))
    assert run(runtime, "review:30") == 1
    assert left(runtime) == {at, ("review", 29 * DAY), ("widget", 40 * DAY)}
    assert run(runtime, "review:30") == 0
    assert run(runtime, "review:30", now=NOW + A_MOMENT) == 1


def test_a_rule_for_the_others(runtime: Runtime) -> None:
    store(runtime, ("review", 40 * DAY), ("widget", 40 * DAY), ("ticket", 11 * DAY), ("ticket", 9 * DAY))
    assert run(runtime, "*:30", "review:50", "ticket:10") == 2
    assert left(runtime) == {("review", 40 * DAY), ("ticket", 9 * DAY)}


def test_without_rules_everything_stays(runtime: Runtime) -> None:
    store(runtime, ("review", 9_999 * DAY))
    assert run(runtime) == 0
    assert len(left(runtime)) == 1


def test_what_is_derived_goes_too(runtime: Runtime) -> None:
    store(runtime, *(("review", (31 + n) * DAY) for n in range(600)), ("review", DAY))
    assert run(runtime, "review:30") == 600
    assert_exact(runtime.database, first_project(runtime))
    with runtime.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Person)) == 1
        events = session.scalars(select(Event.after).where(Event.kind == "feedback.expired")).all()
    assert [event["n"] for event in events] == [500, 100]


def test_a_long_run_that_another_process_took_for_interrupted_goes_on(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(runtime, *(("review", (31 + n) * DAY) for n in range(5)))
    monkeypatch.setattr(retention, "CHUNK", 2)
    times = count()

    def clock() -> datetime:
        """An hour passes between two chunks, and somebody else looks for what was interrupted."""
        later = NOW + next(times) * HOUR
        finish_erasures(runtime.database, runtime.secrets, clock=lambda: later)
        return later

    assert expire(runtime.database, parse_limits(["review:30"]), clock=clock) == 5
    with runtime.database.read() as session:
        removals = session.scalars(select(Erasure)).all()
    assert len(removals) > 1
    assert all(one.finished_at is not None for one in removals)
    assert sum(one.reached["feedback"] for one in removals) == 5


def test_what_expired_may_come_again(runtime: Runtime) -> None:
    store(runtime, ("review", 31 * DAY))
    run(runtime, "review:30")
    store(runtime, ("review", 31 * DAY))
    assert len(left(runtime)) == 1


@pytest.mark.parametrize(
    "rule",
    ["review", "review:", "review:0", "review:-1", "review:x", "reviews:3", ":3", "review:٣", "review:99999"],
)
def test_a_rule_that_cannot_be_read_is_named(rule: str) -> None:
    with pytest.raises(ConfigurationError, match="VOICE_RETENTION") as raised:
        parse_limits(["ticket:3", rule])
    assert repr(rule) in str(raised.value)


def test_a_channel_has_one_rule() -> None:
    with pytest.raises(ConfigurationError, match="once"):
        parse_limits(["review:3", "review:4"])
    assert set(parse_limits(["*:3"])) == set(CHANNELS)


def test_a_bad_rule_keeps_voice_from_starting(sqlite_url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="VOICE_RETENTION"):
        make_runtime(sqlite_url, tmp_path, retention="reviews:3")
