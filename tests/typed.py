"""Verbs of the command line as tests type them: see the fixture `run` of tests/unit."""

from collections.abc import Callable

Run = Callable[..., tuple[int, str, str]]
"""Takes the words after `voice`; answers exit code, standard output and standard error."""


def refused(answer: tuple[int, str, str]) -> str:
    """The one line that says why."""
    code, out, err = answer
    assert (code, out) == (1, "")
    [line] = err.splitlines()
    assert line.startswith("voice: ")
    return line
