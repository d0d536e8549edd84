"""What a person installs is whole: the wheel, in an empty environment, away from this repository."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    check([*PIP, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT])
    (built,) = folder.glob("voice-*.whl")
    return built


def check(command: list[str | Path], *, cwd: str | Path = ROOT) -> str:
    """Run to a successful end; answers what it printed."""
    # A source tree on the path would hide what the wheel lacks.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ended = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return ended.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_wheel_holds_the_three_packages_and_what_they_load(wheel: Path) -> None:
    held = set(ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in held if ".dist-info/" not in name} == {"voice", "api", "workers"}
    shipped = [file for file in (ROOT / "models" / "shipped").rglob("*") if file.is_file()]
    assert shipped
    assert {f"voice/_models/{file.relative_to(ROOT / 'models' / 'shipped')}" for file in shipped} <= held
    migrations = (ROOT / "src" / "voice" / "db" / "migrations" / "versions").glob("*.py")
    assert {f"voice/db/migrations/versions/{file.name}" for file in migrations} <= held


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_wheel_runs_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    check([sys.executable, "-m", "venv", tmp_path / "venv"])
    python = tmp_path / "venv" / "bin" / "python"
    pip: list[str | Path] = [python, *PIP[1:]]
    check([*pip, "install", "--quiet", "-c", ROOT / "constraints.txt", wheel], cwd=tmp_path)
    check([*pip, "check"], cwd=tmp_path)
    check([python, "-c", "import api.app, workers.app"], cwd=tmp_path)
    embed = "from voice.analysis.models import load_analyser as load; print(load(threads=1).embed(['Late!']).shape)"
    assert check([python, "-c", embed], cwd=tmp_path) == "(1, 384)\n"
    assert "Usage: voice" in check([tmp_path / "venv" / "bin" / "voice", "--help"], cwd=tmp_path)
    without = "from importlib.util import find_spec; print(find_spec('torch'), find_spec('pytest'))"
    assert check([python, "-c", without], cwd=tmp_path) == "None None\n"
