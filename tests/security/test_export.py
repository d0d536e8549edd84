"""Exports: who may have what, what is recorded, and files that are whole or visibly are not."""

import csv
import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from typer.testing import CliRunner

from tests.api.helpers import analysed, make_theme, other_project, post, post_all, refused, serving
from tests.conftest import SECRET, first_project, make_runtime, new_key
from voice import exports
from voice.cli import app as cli
from voice.db.tables import Event
from voice.exports import Export, stream
from voice.runtime import Runtime
from voice.search import FeedbackFilter


def rows(client: TestClient, **params: Any) -> list[dict[str, str]]:
    answer = client.get("/v1/export", params=params)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))


def items(client: TestClient, **params: Any) -> list[dict[str, Any]]:
    answer = client.get("/v1/export", params={"format": "jsonl", **params})
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def last_event(runtime: Runtime) -> Event:
    with runtime.database.read() as session:
        wanted = select(Event).where(Event.kind == "feedback.exported").order_by(Event.id.desc()).limit(1)
        return session.scalars(wanted).one()


@pytest.fixture
def asked_as(api: TestClient, installation: Runtime) -> Iterator[Any]:
    def headers(role: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {new_key(installation, role)}"}

    return headers


def test_both_formats_say_the_same(api: TestClient, installation: Runtime) -> None:
    [one, two] = analysed(
        api, installation, "Lovely, but slow", "Crash again", source="formats", rating=4, rating_scale="csat"
    )
    theme = make_theme(installation, "Slow", [one])
    shown = items(api, source="formats")
    assert [item["id"] for item in shown] == [two, one]  # the newest arrival first
    table = {row["id"]: row for row in rows(api, source="formats")}
    for item in shown:
        row = table[item["id"]]
        assert row["text"] == item["text"]
        assert row["rating"] == "4.0"
        assert row["sentiment"] == item["analysis"]["sentiment"]["label"]
        assert float(row["sentiment_score"]) == item["analysis"]["sentiment"]["score"]
    assert (table[one]["theme_id"], table[one]["theme"], table[two]["theme_id"]) == (theme, "Slow", "")
    listed = {item["id"]: item for item in api.get("/v1/feedback?source=formats").json()["items"]}
    assert all({k: v for k, v in listed[item["id"]].items() if k != "author"} == item for item in shown)


def test_filters(api: TestClient, installation: Runtime) -> None:
    ids = analysed(api, installation, "alpha words", "beta words", source="filters")
    theme = make_theme(installation, "Filtered", ids[:1])
    assert [row["id"] for row in rows(api, source="filters", q="alpha")] == ids[:1]
    assert [row["id"] for row in rows(api, theme=theme)] == ids[:1]
    assert len(rows(api, source="filters", status="analysed")) == 2
    assert rows(api, source="filters", to="2001-01-01T00:00:00Z") == []
    for unknown in ({"like": "x"}, {"limit": 5}, {"format": "xlsx"}, {"colour": "red"}):
        refused(api.get("/v1/export", params=unknown), 422)


def test_nothing_of_an_author_unless_asked(
    api: TestClient, installation: Runtime, asked_as: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    author = {
        "id": "u-4711",
        "name": "Ada Example",
        "email": "ada@example.com",
        "account": "Acme",
        "segment": "gold",
    }
    post_all(api, [{"text": "with an author", "source": "authors", "author": author}])
    for file_format in ("csv", "jsonl"):
        params = {"source": "authors", "format": file_format}
        with monkeypatch.context() as patch:
            patch.setattr(type(installation.secrets), "unseal", None)  # not even opened
            plain = api.get("/v1/export", params=params).text
        assert not [word for word in ("u-4711", "Ada", "ada@", "Acme") if word in plain]
        assert "gold" in plain
        full = api.get("/v1/export", params=params | {"authors": "true"}).text
        assert "u-4711" in full
        assert "Ada Example" in full
        assert "ada@example.com" not in full
        read = api.get("/v1/audit?kind=person.read&limit=1").json()["items"][0]["after"]["people"]
        assert installation.secrets.person_key(first_project(installation), "id", "u-4711") in read
        for role in ("viewer", "triager"):
            answer = api.get("/v1/export", params=params | {"authors": "true"}, headers=asked_as(role))
            refused(answer, 403)
            assert api.get("/v1/export", params=params, headers=asked_as(role)).text == plain


def test_headers(api: TestClient) -> None:
    answer = api.get("/v1/export")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    name = answer.headers["content-disposition"]
    assert name.startswith('attachment; filename="voice-main-20')
    assert name.endswith('Z.csv"')
    assert "content-length" not in answer.headers
    assert api.get("/v1/export?format=jsonl").headers["content-type"] == "application/x-ndjson"
    assert not answer.content.startswith(b"\xef\xbb\xbf")
    assert api.get("/v1/export?bom=true").content == b"\xef\xbb\xbf" + answer.content


def test_it_is_recorded(api: TestClient, installation: Runtime) -> None:
    post(api, "one", "two", "three", source="recorded")
    rows(api, source="recorded", q="ann@example.com", **{"from": "2020-01-01T00:00:00Z"})
    found = last_event(installation)
    assert found.after == {
        "format": "csv",
        "authors": False,
        "filter": {"source": ["recorded"], "from": "2020-01-01T00:00:00Z", "q": True},
        "rows": 0,
    }
    assert "ann@example.com" not in api.get("/v1/audit?kind=feedback.exported").text
    items(api, source="recorded", authors="true")
    found = last_event(installation)
    assert (found.after["authors"], found.after["format"], found.after["rows"]) == (True, "jsonl", 3)
    assert found.actor == f"key:{api.get('/v1/me').json()['key']}"
    assert found.subject_id == first_project(installation)


def test_one_that_broke_off_is_recorded_as_such(api: TestClient, installation: Runtime) -> None:
    post(api, "one", source="broken")
    asked = Export(first_project(installation), FeedbackFilter(source=("broken",)))
    parts = stream(installation.database, installation.secrets, asked, actor="test", clock=installation.clock)
    next(parts)
    parts.close()  # type: ignore[attr-defined]
    assert last_event(installation).after["rows"] is None


def test_nothing_leaves_when_it_cannot_be_recorded(
    api: TestClient, installation: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> int:
        raise RuntimeError("no room for events")

    post(api, "secret words", source="unrecorded")
    monkeypatch.setattr("voice.exports.append", failing)
    answer = api.get("/v1/export", params={"source": "unrecorded"})
    assert answer.status_code == 500
    assert "secret words" not in answer.text


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "PAGE", 3)


def walked(runtime: Runtime, slug: str, between: Any) -> list[str]:
    """The ids of an export between whose pages something happens."""
    asked = Export(first_project(runtime), FeedbackFilter(source=(slug,)), format="jsonl")
    found: list[str] = []
    for part in stream(runtime.database, runtime.secrets, asked, actor="test", clock=runtime.clock):
        found += [json.loads(line)["id"] for line in part.splitlines()]
        between()
    return found


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 6, 7])
def test_every_item_once_at_every_page_boundary(
    api: TestClient, installation: Runtime, small_pages: None, n: int
) -> None:
    ids = post(api, *(f"{n} {i}" for i in range(n)), source=f"pages{n}") if n else []
    assert walked(installation, f"pages{n}", lambda: None) == ids[::-1]


def test_what_is_there_all_the_time_is_in_the_file_once(
    api: TestClient, installation: Runtime, small_pages: None
) -> None:
    """Others arrive, and some change the moment they were said at, while pages are read."""
    bodies = [{"text": str(i), "external_id": str(i), "source": "moving"} for i in range(12)]
    ids = post_all(api, bodies)
    turns = iter(range(100))

    def disturb() -> None:
        turn = next(turns)
        post(api, f"new {turn}", source="moving")
        moved = bodies[turn % 12] | {"created_at": f"20{10 + turn}-01-01T00:00:00Z"}
        assert api.post("/v1/feedback", json=moved).json()["outcome"] == "updated"

    assert [one for one in walked(installation, "moving", disturb) if one in ids] == ids[::-1]


def test_no_transaction_stays_open_between_pages(
    api: TestClient, installation: Runtime, small_pages: None
) -> None:
    post(api, *map(str, range(7)), source="short")
    engine = installation.database.engine
    idle = engine.pool.checkedout()  # type: ignore[attr-defined]
    walked(installation, "short", lambda: pytest.fail("open") if engine.pool.checkedout() != idle else None)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(
    sqlite_url: str, tmp_path: Path, fake_models: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE", 50)
    runtime = make_runtime(sqlite_url, tmp_path)
    with serving(runtime, new_key(runtime, "admin")) as client:
        peaks = []
        for _ in range(2):
            post_all(client, ({"text": f"{i} " + "x" * 9_000, "source": "big"} for i in range(500)))
            asked = Export(first_project(runtime), FeedbackFilter(source=("big",)), format="jsonl")
            tracemalloc.start()
            size = sum(
                len(part)
                for part in stream(
                    runtime.database, runtime.secrets, asked, actor="test", clock=runtime.clock
                )
            )
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    runtime.close()
    assert size > 9_000_000
    assert peaks[1] < peaks[0] * 1.3
    assert peaks[1] < size / 2


def test_another_project(api: TestClient, installation: Runtime) -> None:
    post(api, "our words", source="ours")
    theirs = {"Authorization": f"Bearer {other_project(installation, 'exporting')}"}
    answer = api.get("/v1/export?format=jsonl", headers=theirs)
    assert (answer.status_code, answer.text) == (200, "")
    assert 'filename="voice-exporting-' in answer.headers["content-disposition"]


class TestCommand:
    @pytest.fixture
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_models: None) -> Path:
        monkeypatch.setenv("VOICE_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.setenv("VOICE_SECRET_KEY", SECRET)
        monkeypatch.chdir(tmp_path)
        runtime = make_runtime("", tmp_path / "data")
        with serving(runtime, new_key(runtime, "admin")) as client:
            post(client, "=1+1", source="cells")
            post(client, "plain", source="others")
        runtime.close()
        return tmp_path

    def test_to_the_standard_output(self, home: Path) -> None:
        ran = CliRunner().invoke(cli, ["export", "--filter", "source=cells"])
        assert ran.exit_code == 0, ran.output
        [row] = csv.DictReader(io.StringIO(ran.stdout_bytes.decode(), newline=""))
        assert row["text"] == "'=1+1"

    def test_to_a_file_for_its_owner_alone(self, home: Path) -> None:
        target = home / "out.jsonl"
        ran = CliRunner().invoke(cli, ["export", str(target), "--format", "jsonl"])
        assert ran.exit_code == 0, ran.output
        assert sorted(json.loads(line)["text"] for line in target.read_text().splitlines()) == [
            "=1+1",
            "plain",
        ]
        assert target.stat().st_mode & 0o777 == 0o600
        assert [path.name for path in home.iterdir() if path.name.startswith(".out")] == []

    def test_half_a_file_does_not_get_the_name(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def failing(*_: object, **__: object) -> bytes:
            raise RuntimeError("in the middle")

        monkeypatch.setattr("voice.exports.lines", failing)
        ran = CliRunner().invoke(cli, ["export", str(home / "out.csv")])
        assert ran.exit_code == 1
        assert [path.name for path in home.iterdir() if "out" in path.name] == []

    @pytest.mark.parametrize(
        "given", ["colour=red", "source", "source=", "status=lost", "from=yesterday", "theme"]
    )
    def test_filters_that_are_none(self, home: Path, given: str) -> None:
        ran = CliRunner().invoke(cli, ["export", "--filter", given])
        assert ran.exit_code == 1
        assert "--filter" in str(ran.exception)
