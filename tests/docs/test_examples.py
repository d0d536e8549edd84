"""The examples of the documentation run, and their answers have the shape that the pages show.

In `docs/use/` and the README, a block opened with ```bash runnable (or ```python runnable) is run, all blocks of a page in
order and in one shell; a ```json answer after a bash block is compared with what the block printed: the same keys,
the same kinds of values.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.docs.live import seed, serving
from tests.docs.markdown import Block, blocks, named, pages
from tests.services import unavailable

FREE_FORM = {"metadata", "redacted", "before", "after", "details"}
"""Objects whose keys depend on the case at hand."""

PAGES = [page for page in pages() if any("runnable" in block.flags for block in blocks(page))]
PYTHON = [(page, block) for page in pages() for block in blocks(page) if block.language == "python"]
JSON = [(page, block) for page in pages() for block in blocks(page) if block.language == "json"]


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeded") / "data"
    seed(folder)
    return folder


@pytest.fixture
def here(seeded: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder with `data/voice.env` in it, as beside a running Voice."""
    with serving(seeded, tmp_path / "served") as env:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "voice.env").write_text("".join(f"{k}={v}\n" for k, v in env.items()))
        yield tmp_path


def _script(runnable: list[Block]) -> str:
    lines = ["set -euo pipefail", 'curl() { command curl --silent --show-error --fail-with-body "$@"; }']
    for number, block in enumerate(runnable):
        if block.language == "python":
            lines.append("set -a; . data/voice.env; set +a")
            lines.append(f"{shlex.quote(sys.executable)} -c {shlex.quote(block.text)} > {number}.out")
        else:
            lines.append(f"{{\n{block.text}\n}} > {number}.out")
    return "\n".join(lines)


def _mismatches(documented: Any, actual: Any, where: str = "answer") -> list[str]:
    """How an actual answer differs in shape from the documented one; null stands for any value."""
    if documented is None or actual is None:
        return []
    if isinstance(documented, dict) and isinstance(actual, dict):
        if where.rsplit(".", 1)[-1] in FREE_FORM:
            return []
        if documented.keys() != actual.keys():
            return [f"{where}: {sorted(documented.keys() ^ actual.keys())}"]
        return [m for key in documented for m in _mismatches(documented[key], actual[key], f"{where}.{key}")]
    if isinstance(documented, list) and isinstance(actual, list):
        if documented and not actual:
            return [f"{where}: is empty"]
        best = [min((_mismatches(d, a, f"{where}[]") for a in actual), key=len) for d in documented]
        return [mismatch for found in best for mismatch in found]
    return (
        [] if _kind(documented) == _kind(actual) else [f"{where}: {_kind(actual)}, not {_kind(documented)}"]
    )


def _kind(value: Any) -> str:
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


def test_there_are_examples() -> None:
    assert {"README.md", "docs/use/api.md", "docs/use/quickstart.md", "docs/use/themes.md"} <= set(
        map(named, PAGES)
    )


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_examples_run_and_answer_as_shown(page: Path, here: Path) -> None:
    if shutil.which("curl") is None:
        unavailable("no curl")
    found = blocks(page)
    runnable = [block for block in found if "runnable" in block.flags]
    ran = subprocess.run(
        ["bash", "-c", _script(runnable)],
        cwd=here,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    printed = [(here / f"{n}.out").read_text() for n in range(len(runnable)) if (here / f"{n}.out").exists()]
    assert ran.returncode == 0, (
        f"block at line {runnable[len(printed) - 1].line}: {printed[-1:]} {ran.stderr}"
    )
    for before, answer in pairwise(found):
        if "answer" in answer.flags:
            assert "runnable" in before.flags, f"line {answer.line}: an answer to nothing"
            output = printed[runnable.index(before)]
            assert not _mismatches(json.loads(answer.text), json.loads(output)), (
                f"line {answer.line}: {output}"
            )


@pytest.mark.parametrize(
    ("page", "block"), PYTHON, ids=lambda given: named(given) if isinstance(given, Path) else str(given.line)
)
def test_python_compiles(page: Path, block: Block) -> None:
    compile(block.text, f"{named(page)}:{block.line}", "exec")


@pytest.mark.parametrize(
    ("page", "block"), JSON, ids=lambda given: named(given) if isinstance(given, Path) else str(given.line)
)
def test_json_parses(page: Path, block: Block) -> None:
    json.loads(block.text)


def test_the_comparison_sees_what_is_missing_and_what_is_new() -> None:
    shown = {"items": [{"id": "x", "n": 1}], "next": None}
    assert not _mismatches(shown, {"items": [{"id": "y", "n": 0.5}], "next": "abc"})
    assert _mismatches(shown, {"items": [{"id": "y"}], "next": None})
    assert _mismatches(shown, {"items": [{"id": "y", "n": 1, "m": 2}], "next": None})
    assert _mismatches(shown, {"items": [], "next": None})
    assert _mismatches(shown, {"items": [{"id": 7, "n": 1}], "next": None})
