"""Python runs this at the start of every process that has this folder in its PYTHONPATH."""

import voice.runtime
from tests.faults.hungry import HungryAnalyser

voice.runtime.load_analyser = lambda **_: HungryAnalyser()
