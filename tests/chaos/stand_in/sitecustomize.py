"""Python runs this at the start of every process that has this folder in its PYTHONPATH."""

import os

import voice.pipeline
import voice.runtime
from tests.chaos.analyser import SlowAnalyser

voice.runtime.load_analyser = lambda **_: SlowAnalyser()

if os.environ.get("CHAOS_FENCED") == "0":  # the negative control
    from tests.chaos.unfenced import finish

    voice.pipeline.finish = finish
