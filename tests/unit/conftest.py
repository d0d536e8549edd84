"""What the tests of the command line share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import voice.cli
from tests.logs import left_as_it_was
from tests.typed import Run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Type a verb; answers exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOICE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")

    def _run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["voice", *arguments])
        with pytest.raises(SystemExit) as ended:
            voice.cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    with left_as_it_was(monkeypatch):
        yield _run
