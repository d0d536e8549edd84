"""Links lead somewhere, and what code says is written in the docs is there."""

import re
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, anchors, links, named, pages


@pytest.mark.parametrize("page", pages(), ids=named)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for target in links(page):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (fragment and fragment not in anchors(file)):
            broken.append(target)
    assert not broken


def test_every_page_of_the_docs_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        linked = [(page.parent / target.partition("#")[0]).resolve() for target in links(page)]
        waiting += [p for p in linked if p.suffix == ".md" and p.exists() and p not in reached]
    unreached = [named(page) for page in (ROOT / "docs").rglob("*.md") if page not in reached]
    assert not unreached


def test_every_page_that_code_names_exists() -> None:
    code = [
        p for part in ("src", "api", "workers", "models", "benchmarks") for p in (ROOT / part).rglob("*.py")
    ]
    assert code
    missing = {
        f"{named(file)}: {page}"
        for file in code
        for page in re.findall(r"\bdocs/[\w/-]+\.md\b", file.read_text(encoding="utf-8"))
        if not (ROOT / page).exists()
    }
    assert not missing


@pytest.mark.parametrize("page", pages(), ids=named)
def test_no_page_holds_a_path_of_one_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"(?<![\w.])/(?:home|root|work|Users)/\S+", text)
