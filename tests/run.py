"""Every check of the project, in the order in which it is cheapest to fail: what `./voice test` runs.

With arguments, pytest alone with those. With CI=true the tests marked `slow` run too.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Not resolved: the tools lie beside the environment's own link to Python.
BIN = Path(sys.executable).parent


def steps(arguments: list[str], *, ci: bool) -> list[list[str]]:
    """The commands to run, each as its arguments."""
    if arguments:
        return [["pytest", *arguments]]
    # One process per core and whole files to each, so that a file's expensive fixtures are made once.
    pytest = ["pytest", "-n", "auto", "--dist", "loadfile"]
    # Asks a service outside, so only where every check is wanted.
    audit = [["python", "tests/audit.py"]] if ci else []
    return [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["bandit", "--quiet", "--configfile", "pyproject.toml", "--recursive", "src", "api", "workers"],
        *audit,
        ["mypy"],
        ["lint-imports"],
        pytest if ci else [*pytest, "-m", "not slow"],
    ]


def main(arguments: list[str]) -> int:
    """Run the steps until one fails; answers the failing step's exit code, or 0."""
    for step in steps(arguments, ci=os.environ.get("CI") == "true"):
        print(f"\n── {' '.join(step)}", flush=True)
        started = time.monotonic()
        code = subprocess.run([BIN / step[0], *step[1:]], cwd=ROOT, check=False).returncode
        print(
            f"── {step[0]}: {'ok' if code == 0 else f'failed ({code})'}, {time.monotonic() - started:.1f} s"
        )
        if code:
            return code
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
