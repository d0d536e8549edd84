"""The promise of a 202: the API is killed while it acknowledges, and every id that it answered exists."""

import subprocess

import pytest

from tests.chaos.books import assert_all_analysed, assert_books, assert_nothing_lost
from tests.chaos.floor import Floor, floor
from tests.chaos.sender import Sender
from tests.chaos.test_poison import Keeper
from tests.conftest import new_key
from tests.stories.installations import free_port, until
from voice.runtime import Runtime

CYCLES = 3
ACKS = 500
"""Acknowledgements between two kills: an API that is killed while it starts proves nothing."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_every_acknowledged_id_exists_after_the_api_was_killed(runtime: Runtime) -> None:
    settings = {f"VOICE_{kind}_PER_MINUTE": "1000000" for kind in ("OTHER", "INGEST", "REFUSED")}
    with floor(runtime, **settings) as stage:
        port = free_port()
        sender = Sender(port, new_key(runtime, "ingest"), seed=11, goal=6_000, pause_s=0.02)
        cycles = []
        with sender.sending():
            for _ in range(CYCLES):
                api = stage.spawn("voice", "api", "--port", str(port))
                cycles.append(kill_in_the_act(stage, api, sender))
            stage.spawn("voice", "api", "--port", str(port))
        assert sender.faults == []
        assert min(cycles) > ACKS
        assert sender.failures >= CYCLES
        assert_nothing_lost(runtime.database, sender.promises.values())

        keeper = Keeper(stage)
        until(lambda: keeper.waiting() == 0, "every row is analysed")
        assert_all_analysed(runtime.database)
        accounts = assert_books(runtime.database, sender.promises.values())
        print(
            f"{cycles} acknowledged between kills, {sender.failures} requests repeated, {accounts.rows} rows"
        )


def kill_in_the_act(stage: Floor, api: subprocess.Popen[bytes], sender: Sender) -> int:
    """Kill the API once it has acknowledged enough; how much it had."""
    before = sender.acks
    until(lambda: sender.acks - before > ACKS, "the API acknowledges")
    stage.kill(api)
    return sender.acks - before
