"""A stand-in for models that takes memory for each text, as a long text takes of an encoder."""

import os
from collections.abc import Sequence
from pathlib import Path

from tests.fakes import FakeAnalyser
from voice.analysis.records import Analysis, Verbatim
from voice.analysis.topics import TopicSpace

LIMIT_BYTES = 400_000_000
"""What a worker may take beyond what it has when idle."""
HUNGRY, HUNGRY_BYTES = "hungry", 80_000_000
"""Many texts with this word exceed the limit together, none of them alone."""
INSATIABLE, INSATIABLE_BYTES = "insatiable", 2_000_000_000
"""A text with this word exceeds it alone."""


def environment() -> dict[str, str]:
    """What a process needs to read with the stand-in."""
    here = Path(__file__).resolve()
    return {"PYTHONPATH": os.pathsep.join([str(here.with_name("stand_in")), str(here.parents[2])])}


class HungryAnalyser(FakeAnalyser):
    """Holds the memory of the whole batch while it reads."""

    def read(self, verbatims: Sequence[Verbatim], topics: TopicSpace) -> list[Analysis]:
        taken = [b"\1" * _appetite(verbatim.text) for verbatim in verbatims]
        read = super().read(verbatims, topics)
        taken.clear()
        return read


def _appetite(text: str) -> int:
    return INSATIABLE_BYTES if INSATIABLE in text else HUNGRY_BYTES if HUNGRY in text else 0
