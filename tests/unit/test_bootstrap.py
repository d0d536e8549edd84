"""`./voice` on a toy project: it has no dependencies and its own build backend, so that pip needs no network."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BOOTSTRAP = Path(__file__).resolve().parents[2] / "voice"
DEADLINE_S = 60.0

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "voice"
version = "1"
dependencies = []
"""
# Each installation adds a line to `builds`; while a file named `hold` exists, it does not finish.
BACKEND = """
import time, zipfile
from pathlib import Path

FILES = {
    "toy.py": "import sys\\ndef main():\\n    print('toy', *sys.argv[1:])\\n",
    "voice-1.dist-info/METADATA": "Metadata-Version: 2.1\\nName: voice\\nVersion: 1\\n"
    "Provides-Extra: torch\\nProvides-Extra: test\\n",
    "voice-1.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: toy\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    "voice-1.dist-info/entry_points.txt": "[console_scripts]\\nvoice = toy:main\\n",
}

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    with open("builds", "a") as builds:
        builds.write("build\\n")
    while Path("hold").exists():
        time.sleep(0.05)
    if Path("broken").exists():
        raise SystemExit("the toy is broken: certificate verify failed")
    name = "voice-1-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory, name), "w") as wheel:
        for path, text in FILES.items():
            wheel.writestr(path, text)
        wheel.writestr("voice-1.dist-info/RECORD", "".join(f"{path},,\\n" for path in FILES))
    return name
"""


class Toy:
    """A project folder with the real bootstrap in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "tests").mkdir(parents=True)
        shutil.copy(BOOTSTRAP, root / "voice")
        (root / "pyproject.toml").write_text(PYPROJECT)
        (root / "constraints.txt").write_text("")
        (root / "backend.py").write_text(BACKEND)
        (root / "tests" / "run.py").write_text("import sys\nprint('tests', *sys.argv[1:])\n")

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, self.root / "voice", *arguments],
            # Started from elsewhere, as people do.
            cwd="/",
            env={**os.environ, "PIP_NO_INDEX": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.begin(*arguments)
        output, errors = process.communicate(timeout=DEADLINE_S)
        return process.returncode, output, errors

    def builds(self) -> int:
        path = self.root / "builds"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def until_build(self, number: int) -> None:
        end = time.monotonic() + DEADLINE_S
        while self.builds() < number:
            assert time.monotonic() < end, "the installation did not begin"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A toy that was started once; its path has a space, as some home folders do."""
    toy = Toy(tmp_path_factory.mktemp("boot") / "my voice")
    code, output, errors = toy.run("up", "--port", "1")
    assert (code, output) == (0, "toy up --port 1\n"), errors
    assert "installed in" in errors
    return toy


def test_the_second_start_asks_nothing_of_pip(toy: Toy) -> None:
    before = toy.builds()
    (pip,) = toy.root.glob(".venv/lib/python*/site-packages/pip")
    hidden = pip.rename(pip.with_name("hidden"))
    try:
        assert toy.run("demo") == (0, "toy demo\n", "")
    finally:
        hidden.rename(pip)
    assert toy.builds() == before


def test_changed_pins_are_installed_and_changed_tool_settings_are_not(toy: Toy) -> None:
    before = toy.builds()
    (toy.root / "pyproject.toml").write_text(PYPROJECT + "\n[tool.ruff]\nline-length = 100\n")
    assert toy.run("up")[1] == "toy up\n"
    assert toy.builds() == before
    (toy.root / "constraints.txt").write_text("six==1.17.0\n")
    assert toy.run("up")[1] == "toy up\n"
    assert toy.builds() == before + 1


def test_tests_get_their_extras_once_and_a_plain_start_keeps_them(toy: Toy) -> None:
    before = toy.builds()
    for _ in range(2):
        assert toy.run("test", "-k", "x")[1] == "tests -k x\n"
        assert toy.run("up")[1] == "toy up\n"
    assert toy.builds() <= before + 1
    stamp = json.loads((toy.root / ".venv" / "voice-installed.json").read_text())
    assert stamp["extras"] == ["test", "torch"]


def test_a_failure_shows_the_end_of_the_log_and_a_hint_and_spoils_nothing(toy: Toy) -> None:
    (toy.root / "constraints.txt").write_text("six==1.16.0\n")
    (toy.root / "broken").touch()
    made = (toy.root / ".venv" / "pyvenv.cfg").stat().st_mtime_ns
    code, output, errors = toy.run("up")
    assert (code, output) == (1, "")
    assert "the toy is broken" in errors
    assert str(toy.root / ".venv" / "install.log") in errors
    assert errors.splitlines()[-1].startswith("pip does not trust its package index")
    assert "Traceback" not in errors
    (toy.root / "broken").unlink()
    assert toy.run("up")[:2] == (0, "toy up\n")
    assert (toy.root / ".venv" / "pyvenv.cfg").stat().st_mtime_ns == made


@pytest.mark.slow
def test_two_starts_at_once_install_once(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy")
    (toy.root / "hold").touch()
    first = toy.begin("up")
    toy.until_build(1)
    second = toy.begin("demo")
    assert second.stderr is not None
    assert "another ./voice is installing" in second.stderr.readline()
    (toy.root / "hold").unlink()
    assert first.communicate(timeout=DEADLINE_S)[0] == "toy up\n"
    assert second.communicate(timeout=DEADLINE_S)[0] == "toy demo\n"
    assert toy.builds() == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_installation_is_repaired_by_the_next_start(
    tmp_path: Path, number: signal.Signals
) -> None:
    toy = Toy(tmp_path / "toy")
    (toy.root / "hold").touch()
    first = toy.begin("up")
    toy.until_build(1)
    first.send_signal(number)
    errors = first.communicate(timeout=DEADLINE_S)[1]
    assert "Traceback" not in errors
    second = toy.begin("up")
    (toy.root / "hold").unlink()
    output, errors = second.communicate(timeout=DEADLINE_S)
    assert (second.returncode, output) == (0, "toy up\n"), errors
    assert "making it anew" in errors
    assert toy.builds() == 2


def test_older_pythons_get_a_sentence_and_not_a_traceback() -> None:
    source = BOOTSTRAP.read_text()
    ast.parse(source, feature_version=(3, 6))
    pretend = f"import sys; sys.version_info = (3, 9, 18); exec({source!r})"
    ended = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Voice needs Python 3.11 or newer")
    assert "is Python 3.9." in ended.stderr
    assert "Traceback" not in ended.stderr
