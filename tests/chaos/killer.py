"""The killer: a seeded order of deaths, most of them aimed at a worker that holds rows."""

import random
import time
from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from tests.chaos.books import held_by
from tests.chaos.crews import Crew, DistributedCrew
from voice.db.session import Database

DEATHS = {
    "embedded": {"analyse": 9, "api": 6, "background": 2, "beat": 2, "parent": 4},
    "distributed": {
        **{"child": 14, "analyse": 8, "api": 6, "background": 2, "beat": 3},
        **{"redis": 2, "postgres": 1},
    },
}
PAUSE_S = {"embedded": (2.0, 4.5), "distributed": (0.8, 3.0)}
HOLDERS = ("analyse", "child")
"""Roles that claim rows."""
AIM_S = 3.0
BIRTH_S = 30.0


@dataclass
class Killer:
    """Kills in an order that the seed gives; `deaths` says who died how often."""

    crew: Crew
    shape: str
    database: Database
    seed: int
    deaths: Counter[str] = field(default_factory=Counter)

    def run(self) -> None:
        """Every death of the shape, once, with pauses between."""
        dice = random.Random(self.seed)
        order = [role for role, times in DEATHS[self.shape].items() for _ in range(times)]
        dice.shuffle(order)
        began = time.monotonic()
        for role in order:
            time.sleep(dice.uniform(*PAUSE_S[self.shape]))
            whom = self._strike(role, dice)
            print(f"{time.monotonic() - began:6.1f} s  {role} {whom}", flush=True)

    def _strike(self, role: str, dice: random.Random) -> str:
        if role in ("redis", "postgres"):
            assert isinstance(self.crew, DistributedCrew)
            if role == "redis":
                self.crew.redis.empty()
            else:
                self.crew.postgres.stop_at_once()
                time.sleep(dice.uniform(0.5, 2))
                self.crew.postgres.start()
            self.deaths[role] += 1
            return "stopped, and started again"
        if role in HOLDERS:
            self._aim()
            time.sleep(dice.uniform(0, 0.1))
        # A pool's children outlive a parent that is killed alone, and finish what they hold.
        group = role == "analyse" and self.shape == "distributed" and dice.random() < 0.5
        pid = self._kill_one(role, dice, group=group)
        if pid is None:
            return "was not there"
        self.deaths[role] += 1
        return f"{pid} with its children" if group else str(pid)

    def _kill_one(self, role: str, dice: random.Random, *, group: bool) -> int | None:
        """Kill one of those who have the role, or are given it soon."""
        end = time.monotonic() + BIRTH_S
        while time.monotonic() < end:
            pids = sorted(self.crew.victims().get(role, []))
            if pids and self.crew.kill(pid := dice.choice(pids), group=group):
                return pid
            time.sleep(0.1)
        return None

    def _aim(self) -> None:
        """Wait until somebody holds rows."""
        end = time.monotonic() + AIM_S
        while time.monotonic() < end:
            try:
                if held_by(self.database):
                    return
            except SQLAlchemyError:
                pass
            time.sleep(0.02)
