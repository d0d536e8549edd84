"""`voice import` tells what happened and answers with its exit code."""

import csv
from pathlib import Path
from typing import Any

import pytest
import typer
from sqlalchemy import func, select
from typer.testing import CliRunner, Result

from voice.cli import importing
from voice.config import load_settings
from voice.db.session import Database
from voice.db.tables import Feedback
from voice.runtime import Runtime

app = typer.Typer()
importing.register(app)


@app.callback()
def _several_verbs() -> None:
    """With a single verb, Typer would leave its name out."""


class Bell:
    def __init__(self) -> None:
        self.rung: list[str] = []

    def ring(self, job: str, **arguments: str) -> None:
        self.rung.append(job)


@pytest.fixture
def bell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bell:
    monkeypatch.setenv("VOICE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    made = Bell()
    monkeypatch.setattr(importing, "Runtime", lambda settings: Runtime(settings, doorbell=made))
    return made


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


def stored() -> int:
    database = Database(load_settings().database)
    with database.read() as session:
        count = session.scalar(select(func.count()).select_from(Feedback))
    database.dispose()
    return count or 0


def write(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def test_a_good_file(tmp_path: Path, bell: Bell) -> None:
    path = write(tmp_path / "a.csv", "Comment,[bold]Shop\x1b[2J\nslow,north\nfast,south\n")
    result = run(path, "--channel", "survey")
    assert (result.exit_code, stored(), bell.rung) == (0, 2, ["analyse"])
    assert "[bold]Shop�[2J" in result.output
    assert "\x1b" not in result.output
    again = run(path, "--channel", "survey")
    assert again.exit_code == 0
    assert again.output.split()[-7:] == ["2", "0", "0", "2", "0", "0", "0"]


def test_rejected_rows_are_listed_and_written(tmp_path: Path, bell: Bell) -> None:
    rows = "".join(f"text {i},yesterday\n" for i in range(15))
    path = write(tmp_path / "a.csv", f"text,date\ngood,2026-05-04\n{rows}")
    result = run(path, "--errors", tmp_path / "errors.csv")
    assert (result.exit_code, stored()) == (1, 1)
    assert "line 3, created_at: is not a date" in result.output
    assert "and 5 more faults" in result.output
    with (tmp_path / "errors.csv").open(newline="") as file:
        table = list(csv.reader(file))
    assert table[0] == ["line", "field", "message"]
    assert [row[:2] for row in table[1:]] == [[str(line), "created_at"] for line in range(3, 18)]


def test_a_dry_run_stores_nothing(tmp_path: Path, bell: Bell) -> None:
    path = write(tmp_path / "a.csv", "Q1,Stars\nwrite to jo@mail.example,5\n")
    result = run(path, "--dry-run", "--map", "text=Q1")
    assert (result.exit_code, stored(), bell.rung) == (0, 0, [])
    assert "text: write to [email]" in result.output
    assert "stored" not in result.output


@pytest.mark.parametrize(
    ("content", "arguments", "says"),
    [
        (None, [], "No such file"),
        ("", [], "is empty"),
        ("text\n", [], "holds no rows below its header"),
        ("a,b\n1,2\n", [], "--map text=COLUMN"),
        ("text,score\na,1\n", [], "--rating-scale"),
        ("text\na\n", ["--map", "text"], "write FIELD=COLUMN"),
        ("text\na\n", ["--project", "nope"], "voice project create nope"),
        ("text\na\n", ["--errors", "none/e.csv"], "--errors: none/e.csv cannot be written"),
        ("text\na\n", ["--errors", "a.csv"], "is the file to import"),
        ("text,date\na,never\n", [], "line 2, created_at: is not a date"),
    ],
)
def test_nothing_to_read_is_one_line_and_code_2(
    tmp_path: Path, bell: Bell, content: str | None, arguments: list[str], says: str
) -> None:
    path = tmp_path / "a.csv"
    if content is not None:
        write(path, content)
    result = run(path, *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("voice import: ")
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert content is None or path.read_text() == content


def test_an_interrupted_import_goes_on(tmp_path: Path, bell: Bell, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.csv", "text\n" + "".join(f"number {i}\n" for i in range(700)))

    def interrupt(_: object) -> Any:
        def show(_: object) -> None:
            raise KeyboardInterrupt

        return show

    with monkeypatch.context() as patch:
        patch.setattr(importing, "_plain_progress", interrupt)
        first = run(path)
    assert (first.exit_code, stored()) == (130, 500)
    assert "go on from there" in first.stderr
    second = run(path)
    assert (second.exit_code, stored()) == (0, 700)
    assert "resumed after row 500" in second.output
