"""Reading our own Markdown: fenced blocks, links, headings."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"")
_HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)


def pages() -> list[Path]:
    """Every Markdown file of the project that people read."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")]
    found += [*ROOT.glob("models/**/*.md"), *ROOT.glob("src/voice/**/*.md")]
    return sorted(found)


def named(page: Path) -> str:
    """The page's path from the root, as a test's name."""
    return str(page.relative_to(ROOT))


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what else its first line says, its text and the line it begins on."""

    language: str
    flags: tuple[str, ...]
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(m[1], tuple(m[2].split()), m[3], text.count("\n", 0, m.start()) + 1)
        for m in _FENCE.finditer(text)
    ]


def links(page: Path) -> list[str]:
    """Targets of the page's links and pictures, those inside code left out."""
    prose = _CODE.sub("", page.read_text(encoding="utf-8"))
    return [a or b for a, b in _LINK.findall(prose)]


def anchors(page: Path) -> set[str]:
    """The fragments that headings of a page answer to, as GitHub makes them."""
    without_code = re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    return {_slug(heading) for heading in _HEADING.findall(without_code)}


def _slug(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")
