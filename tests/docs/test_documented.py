"""What the code offers is documented, and what is documented exists."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client.metrics import MetricWrapperBase

import api.metrics
import voice.metrics
from api.app import create_app
from tests.docs.markdown import ROOT
from voice.config import Settings
from voice.doorbell import JOB_QUEUES, QUEUES

API = (ROOT / "docs/use/api.md").read_text()
METRICS = (ROOT / "docs/operate/metrics.md").read_text()
LOGS = (ROOT / "docs/operate/logs.md").read_text()
EVENTS = (ROOT / "docs/develop/data-model.md").read_text()
JOBS = (ROOT / "docs/develop/architecture.md").read_text()


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _code() -> Iterator[ast.AST]:
    for part in ("src/voice", "api", "workers"):
        for file in sorted((ROOT / part).rglob("*.py")):
            if "db" not in file.parts:
                yield from ast.walk(ast.parse(file.read_text(encoding="utf-8")))


def _first_cells(page: str, heading: str) -> set[str]:
    """The words in code marks of the first column of the tables under a heading."""
    section = page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"^\| `([^`]+)`", section, re.MULTILINE))


@pytest.mark.parametrize(
    ("page", "make"), [("operate/settings.md", "settings_page"), ("use/cli.md", "cli_page")]
)
def test_the_page_is_what_the_generator_makes_of_the_code(page: str, make: str) -> None:
    made = getattr(_generator(), make)()
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == made, "run: python docs/generate.py"


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs/operate/settings.md").read_text()
    documented = set(re.findall(r"^\| `VOICE_(\w+)`", page, re.MULTILINE))
    assert documented == {name.upper() for name in Settings.model_fields}


def test_every_verb_is_documented() -> None:
    import typer

    from voice.cli import app

    verbs = {name for name, _ in _generator().verbs(typer.main.get_command(app))}
    page = (ROOT / "docs/use/cli.md").read_text()
    assert verbs
    assert verbs == set(re.findall(r"^## `(voice [^`]+)`$", page, re.MULTILINE))


def test_every_route_is_documented_and_every_documented_route_exists(tmp_path: Path) -> None:
    app = create_app(Settings(_env_file=None, data_dir=tmp_path))  # type: ignore[call-arg]
    routes = {
        f"{method.upper()} {path}"
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    }
    assert routes
    assert routes == set(re.findall(r"^### `([A-Z]+ [^`]+)`$", API, re.MULTILINE))


def test_every_job_and_queue_is_documented() -> None:
    assert _first_cells(JOBS, "Jobs") == set(JOB_QUEUES)
    assert all(f"`{queue}`" in JOBS for queue in QUEUES)


def test_every_metric_is_documented() -> None:
    names = set()
    for metric in (*vars(api.metrics).values(), *vars(voice.metrics).values()):
        if isinstance(metric, MetricWrapperBase):
            [family] = metric.describe()
            names.add(family.name + ("_total" if family.type == "counter" else ""))
    assert names
    assert names == _first_cells(METRICS, "What is measured")


def test_every_log_line_is_documented() -> None:
    names = {
        call.args[0].value
        for call in _code()
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "log"
        and call.func.attr in ("debug", "info", "warning", "error", "exception")
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }
    assert names
    assert names == _first_cells(LOGS, "What is logged")


def test_every_kind_of_event_is_documented() -> None:
    texts = {node.value for node in _code() if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    subjects = _event_subjects()
    dotted = {text for text in texts if re.fullmatch(r"[a-z]+\.[a-z]+", text)}
    kinds = {text for text in dotted if text.split(".")[0] in subjects}
    assert kinds
    assert kinds == _first_cells(EVENTS, "Events")


def _event_subjects() -> set[str]:
    """What the literal kinds given to Change(…) begin with."""
    found = set()
    for call in _code():
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Change":
            for argument in call.args[1:2]:
                if isinstance(argument, ast.Constant):
                    found.add(str(argument.value).split(".")[0])
    return found
