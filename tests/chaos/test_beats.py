"""Two beats: twice as many rings, and nothing is done twice."""

import json
import random
from collections import Counter

import pytest
from sqlalchemy import select

from tests.chaos.books import assert_books
from tests.chaos.floor import floor, good_texts
from tests.stories.installations import until
from voice.db.tables import Event, JobRun, Theme
from voice.runtime import Runtime

EVERY_S = 2
EVALUATIONS = 6

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_beats_do_nothing_twice(runtime: Runtime) -> None:
    """The distributed shape: the parent of the embedded one takes a lock and starts one beat."""
    dice = random.Random(3)
    with floor(runtime, VOICE_EVALUATE_SECONDS=str(EVERY_S), VOICE_LOG_LEVEL="INFO") as stage:
        promises = list(stage.store(*good_texts(60)).values())
        beats = [
            stage.spawn("celery", "-A", "workers.app", "beat", "-l", "INFO", "-s", f"beat-{n}")
            for n in (1, 2)
        ]
        stage.worker("-P", "solo")
        background = stage.spawn(
            *("celery", "-A", "workers.app", "worker", "-l", "INFO", "-n", "background@test"),
            *("-Q", "pull,themes,notify", "-P", "threads", "-c", "4"),
        )

        def enough() -> bool:
            """A row is due for each evaluation: nothing new, nothing evaluated."""
            words = f"{' '.join(dice.sample(good_texts(60), 1))} more"
            promises.extend(stage.store(words, first=len(promises)).values())
            stage.ring()
            return len(finished(runtime)) >= EVALUATIONS

        until(enough, "themes were evaluated several times")
        sent = [stage.log_of(beat).count("Sending due task evaluate") for beat in beats]
        for beat in beats:
            stage.kill(beat)
        until(lambda: all(run.finished_at for run in runs(runtime)), "the last evaluation has ended")
        until(lambda: nothing_waits(runtime), "nothing waits")
        stage.kill(background)
        ticks = runs(runtime)
        evaluated = [line for line in lines(stage.log_of(background)) if line.get("event") == "evaluated"]
        assert min(sent) >= EVALUATIONS // 2, "a beat was silent, and nothing could be done twice"
        # Of two ticks whose evaluations overlap, the later one is taken and its proposal dropped.
        assert 2 <= len(evaluated) <= len(ticks) < sum(sent)
        assert [run.error for run in ticks if run.error] == []
        assert_one_birth_a_theme(runtime)
        assert_books(runtime.database, promises)


def runs(runtime: Runtime) -> list[JobRun]:
    with runtime.database.read() as session:
        return list(session.scalars(select(JobRun).where(JobRun.job.startswith("evaluate:"))))


def finished(runtime: Runtime) -> list[JobRun]:
    return [run for run in runs(runtime) if run.finished_at is not None]


def nothing_waits(runtime: Runtime) -> bool:
    with runtime.database.read() as session:
        return (
            session.connection().exec_driver_sql("SELECT count(*) FROM feedback WHERE status < 2").scalar()
            == 0
        )


def lines(log: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def assert_one_birth_a_theme(runtime: Runtime) -> None:
    with runtime.database.read() as session:
        born = Counter(session.scalars(select(Event.subject_id).where(Event.kind == "theme.discovered")))
        assert born == Counter(session.scalars(select(Theme.id)))
        assert max(born.values()) == 1
