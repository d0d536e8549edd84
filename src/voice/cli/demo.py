"""The demo launch: sent through the public API day by day, and what came out of it."""

import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy import select

from voice.accounts import find_project
from voice.clock import DAY, parse_rfc3339, rfc3339, utc_now
from voice.config import Settings
from voice.db.tables import Feedback
from voice.demo import load
from voice.doorbell import CeleryDoorbell
from voice.errors import ConfigurationError, Unavailable
from voice.runtime import FIRST_PROJECT, Runtime

DAYS = 28
DAY_SECONDS = 300.0
_RING_AGAIN_SECONDS = 3.0
_BARS = "▁▂▃▄▅▆▇█"


def replay(settings: Settings, console: Console) -> None:
    """Send every day of the launch, wait for its analysis, evaluate as of its end. Continues where it stopped."""
    state_file = _state_file(settings)
    state: dict[str, Any] = {"now": rfc3339(utc_now().replace(microsecond=0)), "days": 0}
    if state_file.exists():
        state = json.loads(state_file.read_text())
    else:
        _refuse_other_data(settings)
    end = parse_rfc3339(state["now"])
    days = _by_day(load(end), end)
    project = _project_id(settings)
    doorbell = CeleryDoorbell(settings)
    columns = (
        TextColumn("demo launch"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with (
        Progress(*columns, console=console) as progress,
        _client(settings, "ingest") as ingest,
        _client(settings, "admin") as admin,
    ):
        task = progress.add_task("days", total=len(days), completed=state["days"])
        for number, (as_of, rows) in enumerate(days):
            if number < state["days"]:
                continue
            progress.update(task, description=f"{as_of:%a %d %b}, {len(rows)} items")
            _send(ingest, rows)
            _await_analysis(admin, doorbell)
            _evaluate(admin, doorbell, project, as_of)
            state["days"] = number + 1
            state_file.write_text(json.dumps(state))
            progress.advance(task)


def _state_file(settings: Settings) -> Path:
    return settings.data_dir / "demo.json"


def _by_day(rows: list[dict[str, Any]], end: datetime) -> list[tuple[datetime, list[dict[str, Any]]]]:
    """Rows grouped by whole days counted back from the end; each with the moment its day is over."""
    groups: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        age = (end - parse_rfc3339(row["created_at"])) // DAY
        groups.setdefault(age, []).append(row)
    return [(end - age * DAY, groups[age]) for age in sorted(groups, reverse=True)]


def _project_id(settings: Settings) -> str:
    runtime = Runtime(settings)
    with runtime.database.read() as session:
        project_id = find_project(session, FIRST_PROJECT).id
    runtime.close()
    return project_id


def _refuse_other_data(settings: Settings) -> None:
    """The demo is not mixed into anybody's feedback."""
    runtime = Runtime(settings)
    with runtime.database.read() as session:
        used = session.scalar(select(Feedback.id).limit(1)) is not None
    runtime.close()
    if used:
        raise ConfigurationError(
            f"VOICE_DATA_DIR: {settings.data_dir} holds other feedback; choose a new folder: VOICE_DATA_DIR=demo-data"
        )


def read_env(path: Path) -> dict[str, str]:
    """The NAME=value lines of a file such as `voice.env`."""
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _client(settings: Settings, role: str) -> httpx.Client:
    key = read_env(settings.data_dir / "voice.env").get(f"VOICE_{role.upper()}_KEY")
    if key is None:
        raise Unavailable(
            f"{settings.data_dir / 'voice.env'} is missing; the demo needs a new data folder: VOICE_DATA_DIR"
        )
    everywhere = ("0.0.0.0", "::")  # nosec B104  # compared, not listened on
    host = "127.0.0.1" if settings.host in everywhere else settings.host
    return httpx.Client(
        base_url=f"http://{host}:{settings.port}", headers={"Authorization": f"Bearer {key}"}, timeout=60.0
    )


def _send(client: httpx.Client, rows: list[dict[str, Any]]) -> None:
    body = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    answer = client.post(
        "/v1/feedback/batch", content=body.encode(), headers={"Content-Type": "application/x-ndjson"}
    )
    answer.raise_for_status()
    if rejected := answer.json()["rejected"]:
        raise Unavailable(f"{rejected} rows of the demo launch were refused")


def _patiently(client: httpx.Client) -> Iterator[dict[str, Any]]:
    deadline = time.monotonic() + DAY_SECONDS
    while time.monotonic() < deadline:
        yield client.get("/v1/status").raise_for_status().json()
        time.sleep(0.05)
    raise Unavailable(f"a day of the demo took longer than {DAY_SECONDS:.0f} s; see the log above")


def _await_analysis(client: httpx.Client, doorbell: CeleryDoorbell) -> None:
    rung = time.monotonic()
    for status in _patiently(client):
        if status["pending"] == 0:
            return
        if time.monotonic() - rung > _RING_AGAIN_SECONDS:
            doorbell.ring("analyse")
            rung = time.monotonic()


def _evaluate(client: httpx.Client, doorbell: CeleryDoorbell, project: str, as_of: datetime) -> None:
    tick, rung = rfc3339(as_of), 0.0
    for status in _patiently(client):
        mine = [run for run in status["evaluations"] if run["as_of"] == tick]
        if mine and mine[0]["finished_at"] is not None:
            return
        if not mine and time.monotonic() - rung > _RING_AGAIN_SECONDS:
            doorbell.ring("evaluate", project=project, as_of=tick)
            rung = time.monotonic()


def summarise(settings: Settings, console: Console) -> None:
    """Volume, sentiment, top and emerging themes, as the API tells them."""
    with _client(settings, "admin") as client:

        def get(path: str, **query: Any) -> Any:
            return client.get(path, params=query).raise_for_status().json()

        end = parse_rfc3339(json.loads(_state_file(settings).read_text())["now"])
        span = {"from": rfc3339(end - DAYS * DAY), "to": rfc3339(end + DAY)}
        volume = get("/v1/trends", metric="volume", interval="day", **span)["series"][0]["points"]
        mood = get("/v1/trends", metric="net_sentiment", interval="week", **span)["series"][0]["points"]
        topics = get("/v1/trends", metric="volume", by="topic", interval="week", limit=8, **span)["series"]
        themes = get("/v1/themes", sort="impact", limit=12)["items"]
    counts = [point["n"] for point in volume]
    since = parse_rfc3339(volume[0]["t"])
    console.print(f"\n{sum(counts)} feedback since {since:%d %B}  {_spark(counts)}", style="bold")
    console.print("net sentiment by week, with n: " + "  ".join(_mood(point) for point in mood))
    console.print("topics: " + ", ".join(f"{s['name']} {sum(p['n'] for p in s['points'])}" for s in topics))
    table = Table(title="Themes by people affected", title_justify="left", box=None, padding=(0, 1))
    for heading, justify in (
        ("theme", "left"),
        ("people", "right"),
        ("items", "right"),
        ("net", "right"),
        ("14 days", "left"),
        ("", "left"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for theme in themes:
        emerging = theme["emerging"]
        mark = f"emerging ×{emerging['rate_ratio']:.1f}" if emerging else ""
        net = theme["sentiment"]["net"]
        spark = _spark([day["n"] for day in theme["trend"]])
        table.add_row(
            theme["name"][:60],
            str(theme["people"]),
            str(theme["size"]),
            "" if net is None else f"{net:+.0f}",
            spark,
            mark,
        )
    console.print(table)


def _mood(point: dict[str, Any]) -> str:
    return "–" if point["value"] is None else f"{point['value']:+.0f} ({point['n']})"


def _spark(values: list[int]) -> str:
    top = max(values, default=0) or 1
    return "".join(_BARS[min(len(_BARS) - 1, round(value / top * (len(_BARS) - 1)))] for value in values)
