"""The models' stand-in inside real workers: slow enough to be killed in a batch, deadly where a text asks for it.

`stand_in/sitecustomize.py` puts it in the place of the models in every process that has `environment()`.
"""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.fakes import POISON, FakeAnalyser
from voice.analysis.records import Analysis, Verbatim
from voice.analysis.topics import TopicSpace

DEADLY = "deadly"
"""A text with this word kills the process that reads it."""
STALLING = "stalling"
"""A text with this word is read for STALL_S."""
STALL_S = 6.0
NAME = "slow"
SLICE_S = 0.05

_ROOT = Path(__file__).resolve().parents[2]


def environment(
    *, call_s: float = 0.0, text_s: float = 0.0, cured: bool = False, fenced: bool = True
) -> dict[str, str]:
    """What a process needs to read with the stand-in: seconds a batch and a text take, whether poison still harms."""
    folders = [str(Path(__file__).with_name("stand_in")), str(_ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, folders)),
        "CHAOS_CALL_S": str(call_s),
        "CHAOS_TEXT_S": str(text_s),
        "CHAOS_CURED": str(int(cured)),
        "CHAOS_FENCED": str(int(fenced)),
    }


class SlowAnalyser(FakeAnalyser):
    """Sleeps as long as a batch would take; its version tells which process read a row."""

    def __init__(self) -> None:
        super().__init__(name=NAME)
        self._call_s = float(os.environ.get("CHAOS_CALL_S", "0"))
        self._text_s = float(os.environ.get("CHAOS_TEXT_S", "0"))
        self._cured = os.environ.get("CHAOS_CURED") == "1"

    @property
    def version(self) -> str:  # type: ignore[override]
        return f"{NAME}-{os.getpid()}"

    def read(self, verbatims: Sequence[Verbatim], topics: TopicSpace) -> list[Analysis]:
        stalls = any(STALLING in verbatim.text for verbatim in verbatims)
        _pause(STALL_S if stalls else self._call_s + self._text_s * len(verbatims))
        if self._cured:
            verbatims = [
                replace(verbatim, text=verbatim.text.replace(POISON, "cured")) for verbatim in verbatims
            ]
        elif any(DEADLY in verbatim.text for verbatim in verbatims):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(verbatims, topics)


def _pause(seconds: float) -> None:
    """In slices: a process that was stopped meanwhile has still to finish its work when it goes on."""
    for _ in range(max(1, round(seconds / SLICE_S))):
        time.sleep(min(SLICE_S, seconds))
