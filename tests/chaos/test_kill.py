"""The main run: everything is killed again and again while a client keeps sending; nothing is lost or applied twice."""

import os
import random
from pathlib import Path

import pytest

from tests.chaos.books import assert_books, opened, shown, takeovers, watch_takeovers
from tests.chaos.crews import crew
from tests.chaos.killer import DEATHS, Killer
from tests.chaos.sender import Sender
from tests.stories.installations import until
from voice.db.session import Database
from voice.db.tables import ANALYSED

ROWS = 10_000
CALM_S = 240

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def seed() -> int:
    """`VOICE_TEST_SEED`, else another one each time; a failure shows it."""
    chosen = int(os.environ.get("VOICE_TEST_SEED") or random.randrange(1_000_000))
    print(f"VOICE_TEST_SEED={chosen}")
    return chosen


@pytest.mark.parametrize("shape", ["embedded", "distributed"])
def test_nothing_is_lost_and_nothing_applied_twice_while_everything_is_killed(
    shape: str, tmp_path: Path
) -> None:
    chosen = seed()
    with (
        crew(shape, tmp_path, call_s=0.005, text_s=0.002) as victims,
        opened(victims.database_url) as database,
    ):
        watch_takeovers(database)
        sender = Sender(victims.port, victims.admin_key(), chosen, goal=ROWS, pause_s=1.0)
        killer = Killer(victims, shape, database, chosen)
        with sender.sending():
            until(lambda: len(sender.promises) > 500, "the first pieces were acknowledged")
            before = len(sender.promises)
            killer.run()
            during = len(sender.promises) - before
            until(lambda: len(sender.promises) >= ROWS, "enough pieces were acknowledged")
        until(lambda: pending(database) == 0, "nothing waits any more", within=CALM_S)
        victims.stop()  # themes are still being moved, and the books are read in more than one look
        accounts = assert_books(database, sender.promises.values())
        taken_over = takeovers(database)
        print(shown(accounts))
        print(
            f"{shape}: {dict(killer.deaths)}, {taken_over} rows re-claimed, {during} pieces acknowledged meanwhile, "
            f"{sender.failures} requests repeated, ended by themselves: {dict(victims.ended_alone)}"
        )
        assert sender.faults == []
        assert accounts.rows == len(sender.promises) >= ROWS
        assert accounts.dead == 0
        assert accounts.updates > 0
        assert during > 1_000
        assert taken_over > 0
        assert sender.failures > 0
        assert killer.deaths == DEATHS[shape]


def pending(database: Database) -> int:
    with database.read() as session:
        found: int = (
            session.connection()
            .exec_driver_sql(f"SELECT count(*) FROM feedback WHERE status < {ANALYSED}")
            .scalar_one()
        )
    return found
