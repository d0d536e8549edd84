"""What lies in deploy/ names only what exists: metrics, labels, headings, options, settings."""

import inspect
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import uvicorn
import yaml
from prometheus_client.metrics import MetricWrapperBase

import api.metrics
import voice.metrics
from tests.docs.markdown import anchors
from voice.cli import app
from voice.config import Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana/voice.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [rule["expr"] for rule in RULES] + [t["expr"] for panel in PANELS for t in panel["targets"]]

TARGET_LABELS = {"job", "instance"}
"""What Prometheus adds to everything it scrapes."""
WORDS = {
    "sum", "min", "max", "count", "rate", "increase", "histogram_quantile", "absent", "time", "vector", "by", "and", "or",
}  # fmt: skip
TOKEN = re.compile(
    r"""\s+ | (?P<string>"[^"]*") | (?P<range>\[(?:\d+[smhd]|\$__rate_interval)\]) | (?P<number>\d+(?:\.\d+)?)
    | (?P<word>[a-zA-Z_]\w*) | (?P<sign>=~|!~|!=|==|>=|<=|[-+*/<>=]) | (?P<bracket>[(){},])""",
    re.VERBOSE,
)


def metrics() -> dict[str, set[str]]:
    """Every series that the code can show, with its own labels."""
    found = {}
    for metric in (*vars(api.metrics).values(), *vars(voice.metrics).values()):
        if isinstance(metric, MetricWrapperBase):
            [family] = metric.describe()
            labels = set(metric._labelnames)
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
            for suffix in suffixes.get(family.type, ("",)):
                found[family.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


SERIES = metrics()


def tokens(expression: str) -> Iterator[tuple[str, str]]:
    """Kind and text of each token; fails where PromQL knows none."""
    at = 0
    while at < len(expression):
        match = TOKEN.match(expression, at)
        assert match is not None, f"not PromQL: {expression[at:]!r}"
        at = match.end()
        if match.lastgroup is not None:
            yield match.lastgroup, match[0]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_whole_and_names_metrics_and_labels_that_exist(expression: str) -> None:
    found = list(tokens(expression))
    opened: list[str] = []
    for kind, word in found:
        if kind == "bracket" and word in "({":
            opened.append(word)
        elif kind == "bracket" and word in ")}":
            assert opened.pop() == {")": "(", "}": "{"}[word]
    assert opened == []
    names = {word for kind, word in found if kind == "word"} - WORDS
    series = {name for name in names if name.startswith("voice_")}
    assert series
    assert series <= set(SERIES)
    known = set().union(*(SERIES[name] for name in series)) | TARGET_LABELS
    assert names - series <= known


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_counter_is_only_ever_looked_at_as_it_grows(expression: str) -> None:
    counters = {name for name in SERIES if name.endswith(("_total", "_bucket", "_sum", "_count"))}
    for name in counters & set(re.findall(r"\w+", expression)):
        assert re.search(rf"(rate|increase)\({name}(\{{[^}}]*\}})?\[", expression)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"Voice[A-Z]\w+", rule["alert"])
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"].endswith(".")
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor in anchors(ROOT / page)
    assert rule["alert"] in (ROOT / page).read_text()


def test_alerts_have_different_names_and_every_runbook_has_its_alert() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    described = re.findall(r"^`(Voice\w+)`", (ROOT / "docs/operate/monitoring.md").read_text(), re.MULTILINE)
    assert sorted(described) == sorted(names)


@pytest.mark.parametrize("file", ["rules", "config"])
def test_promtool_agrees(file: str) -> None:
    """Where Prometheus is installed, its own checker has the last word."""
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is not on the path")
    name = {"rules": "rules.yml", "config": "prometheus.yml"}[file]
    subprocess.run([promtool, "check", file, name], cwd=DEPLOY / "prometheus", check=True)


def test_the_scrape_example_knows_the_services_and_ports_of_compose() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    example = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    found = [(c["names"], c["port"]) for s in example["scrape_configs"] for c in s.get("dns_sd_configs", [])]
    workers = sorted(name for name, s in services.items() if "VOICE_METRICS_PORT" in s.get("environment", {}))
    assert found == [(["api"], 8000), (workers, 9100)]
    assert {services[name]["environment"]["VOICE_METRICS_PORT"] for name in workers} == {"9100"}
    assert {services[name]["environment"]["VOICE_METRICS_HOST"] for name in workers} == {"0.0.0.0"}


def test_the_dashboard_can_be_imported() -> None:
    assert DASHBOARD["id"] is None
    assert DASHBOARD["schemaVersion"] >= 36
    variables = {one["name"]: one["type"] for one in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource": "datasource", "job": "query"}
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["title"]
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    used = set(re.findall(r"voice_\w+", " ".join(EXPRESSIONS)))
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in SERIES}
    unused = {f for f in families if not {f, f"{f}_bucket", f"{f}_sum", f"{f}_count"} & used}
    assert unused == {"voice_writer_group_requests"}


def test_the_nagios_example_uses_options_that_exist() -> None:
    text = (DEPLOY / "nagios/voice.cfg").read_text()
    verb = typer.main.get_command(app).commands["check"]  # type: ignore[attr-defined]
    known = {option for parameter in verb.params for option in parameter.opts}
    used = {
        option for line in re.findall(r"voice check (.*)", text) for option in line.split() if "--" in option
    }
    assert used
    assert used <= known
    commands = set(re.findall(r"check_command\s+(\S+)", text))
    assert commands == set(re.findall(r"command_name\s+(\S+)", text))
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize("file", ["Caddyfile", "nginx.conf"])
def test_a_proxy_takes_what_voice_takes_and_hides_metrics(file: str) -> None:
    text = (DEPLOY / "proxy" / file).read_text()
    largest = int(re.search(r"(?:max_size|client_max_body_size) (\d+)(?:MB|m;)", text)[1])  # type: ignore[index]
    assert largest * 1_000_000 > Settings.model_fields["batch_bytes"].default
    assert re.search(r"/metrics.*404|/metrics[^}]*\n.*404", text)
    assert "Strict-Transport-Security" in text
    assert "127.0.0.1:8000" in text
    assert text.count("{") == text.count("}")
    assert set(re.findall(r"VOICE_(\w+)", text)) <= {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("file", ["Caddyfile", "nginx.conf"])
def test_a_proxy_lets_go_of_idle_connections_before_voice_does(file: str) -> None:
    text = (DEPLOY / "proxy" / file).read_text()
    voice_closes = inspect.signature(uvicorn.Config).parameters["timeout_keep_alive"].default
    assert "timeout_keep_alive" not in (ROOT / "src/voice/cli/serving.py").read_text()
    [seconds] = re.findall(r"^\s+(?:keepalive_timeout|keepalive) (\d+)s;?$", text, re.MULTILINE)
    assert int(seconds) < voice_closes


def test_figures_of_the_sizing_guide_are_those_that_were_printed() -> None:
    """Each measured cell stands in the page of results that the text above the table links to."""
    guide = (ROOT / "docs/operate/sizing.md").read_text()
    section = guide.split("## What was measured")[1].split("\n## ")[0]
    results = (ROOT / "benchmarks/results/import_real.md").read_text()
    printed = set(re.findall(r"\d+(?:[.,]\d+)*", results))
    cells = re.findall(r"^\|.*\| ([\d.,]+) \|$", section, re.MULTILINE)
    assert len(cells) == 8
    assert set(cells) <= printed
    parts = [int(n) for n in re.findall(r"\d+", re.search(r"took ([\d +]+) =", guide)[1])]  # type: ignore[index]
    total = re.search(r"= ([\d,]+) MB", guide)[1]  # type: ignore[index]
    assert f"{sum(parts):,}" == total
    assert {str(part) for part in parts} <= set(cells)
