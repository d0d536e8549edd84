"""The negative control of the main run: without rows as the truth, the same violence loses feedback, and it shows."""

import os
import random
import signal
import time

import pytest
from celery import Celery
from redis import Redis as Client
from sqlalchemy import func, select

from tests.chaos.books import assert_all_analysed, assert_nothing_lost
from tests.chaos.floor import Floor, good_texts
from tests.chaos.servers import own_redis
from tests.stories.installations import children, until
from voice.db.tables import ANALYSED, Feedback
from voice.runtime import Runtime

ROWS = 600

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def analysed(runtime: Runtime) -> int:
    with runtime.database.read() as session:
        return session.scalar(select(func.count()).where(Feedback.status == ANALYSED)) or 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_task_for_each_feedback_loses_them_with_the_broker(runtime: Runtime) -> None:
    dice = random.Random(5)
    with own_redis() as redis:
        stage = Floor(runtime, redis.url)
        try:
            promises = stage.store(*good_texts(ROWS))
            with Celery("client", broker=redis.url, set_as_current=False) as client:
                for promise in promises.values():
                    client.send_task("analyse_one", args=[promise.id], queue="naive")
            worker = stage.spawn(
                *(
                    "celery",
                    "-A",
                    "tests.chaos.naive_tasks",
                    "worker",
                    "-l",
                    "INFO",
                    "-Q",
                    "naive",
                    "-c",
                    "2",
                ),
                text_s=0.02,
            )
            for part in (6, 5, 4):
                until(lambda part=part: analysed(runtime) > ROWS // part, "the naive workers analyse")
                os.kill(dice.choice(sorted(children(worker.pid))), signal.SIGKILL)
            redis.empty()
            until(lambda: is_idle(redis.url, runtime), "the naive workers have nothing left to do")
            assert_nothing_lost(runtime.database, promises.values())
            with pytest.raises(AssertionError, match="rows were never analysed") as found:
                assert_all_analysed(runtime.database)
            print(str(found.value).splitlines()[0], "(naive)")
        finally:
            stage.clear()


def is_idle(broker: str, runtime: Runtime) -> bool:
    """The worker is connected, queue and unacknowledged messages are empty, and nothing is analysed for seconds."""
    with Client.from_url(broker) as client:
        consuming = client.exists("_kombu.binding.naive")
        queued = client.llen("naive") + client.hlen("unacked")
    before = analysed(runtime)
    time.sleep(3)
    return bool(consuming) and not queued and analysed(runtime) == before
