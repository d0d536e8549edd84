"""Make docs/demo.svg and the block of text in the README from a real run: `python docs/capture.py`.

Runs `voice demo` on a terminal of its own in an empty folder, waits until it is ready, stops it, and draws how it
ended. `VOICE_PORT` chooses a port. POSIX only.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURE, README = ROOT / "docs" / "demo.svg", ROOT / "README.md"
COLUMNS = 110
BEGIN, END = "<!-- demo: made by docs/capture.py -->", "<!-- /demo -->"
_NOT_A_STYLE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-ln-z]|\][^\x07]*\x07|[()][A-Z0-9])")


def run_demo() -> str:
    """What `voice demo` prints on a terminal until it is ready, with its escape sequences."""
    controller, terminal = pty.openpty()
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("voice"), "demo"],
            cwd=folder,
            env={**os.environ, "COLUMNS": str(COLUMNS), "LINES": "50", "TERM": "xterm-256color"},
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
        )
        os.close(terminal)
        printed = b""
        try:
            while b"Ctrl-C stops" not in printed:
                try:
                    printed += os.read(controller, 65_536)
                except OSError:  # Linux: the other end was closed
                    sys.exit(f"voice demo ended early:\n{printed.decode(errors='replace')}")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
            os.close(controller)
    return printed.decode()


def ending(printed: str) -> str:
    """The last lines, from the count of feedback on; colours are kept, movements of the cursor taken out."""
    plain = _NOT_A_STYLE.sub("", printed).replace("\r\n", "\n")
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in plain.split("\n")]
    first = next(i for i, line in enumerate(lines) if " feedback since " in line)
    last = next(i for i, line in enumerate(lines) if "Ctrl-C stops" in line)
    return "\n".join(lines[first : last + 1])


def draw(text: Text, *, title: str) -> str:
    """The text as an SVG picture of a terminal that fetches no font."""
    width = max(line.cell_len for line in text.split()) + 1
    console = Console(record=True, width=width, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
    console.print(text, soft_wrap=True)
    svg = console.export_svg(title=title, unique_id="demo")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"[ \t]+$", "", svg.replace("Fira Code, monospace", "monospace"), flags=re.MULTILINE)


def main() -> None:
    """Run, draw, write."""
    text = Text.from_ansi(ending(run_demo()))
    today = f"{datetime.now(UTC):%d %B %Y}"
    PICTURE.write_text(draw(text, title="./voice demo"), encoding="utf-8")
    block = f"{BEGIN}\nFrom a real run on {today}:\n\n![The end of ./voice demo](docs/demo.svg)\n\n"
    plain = "\n".join(line.rstrip() for line in text.plain.splitlines())
    block += f"```text\n{plain}\n```\n{END}"
    readme = README.read_text(encoding="utf-8")
    before, _, rest = readme.partition(BEGIN)
    README.write_text(before + block + rest.partition(END)[2], encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)}, {README.name}")


if __name__ == "__main__":
    main()
