"""One launch, told through HTTP to real processes: from the first complaint to the erasure of who made it."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stories.installations import (
    STOP_S,
    Embedded,
    Installation,
    children,
    distributed,
    embedded,
    free_port,
    until,
)
from voice.clock import parse_rfc3339

THINGS = ("lamp", "sofa", "bicycle", "kettle")
COMPLAINTS = {
    "charged": (
        "I was charged twice for the {}.",
        "My card was billed two times when I bought the {}.",
        "Double charge on my statement after ordering the {}, please refund.",
        "You took the money twice for the {} at checkout.",
    ),
    "login": (
        "I cannot log in since I bought the {}.",
        "The password reset link never arrives on my {}.",
        "Login keeps failing on my {} with the right password.",
        "I am locked out of my account and need it for the {}.",
    ),
}
SECRET_WORD = "Zanzibarquux"


class Story:
    """What a team does with its feedback during a launch."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(path, params=query).raise_for_status().json()

    def post(self, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = self.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def themes(self) -> dict[str, dict[str, Any]]:
        return {theme["id"]: theme for theme in self.get("/v1/themes")["items"]}

    def items(self, **query: Any) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        following: dict[str, str] = {}
        while True:
            found = self.get("/v1/feedback", limit=500, **query, **following)
            items += found["items"]
            if found["next"] is None:
                return items
            following = {"cursor": found["next"]}

    def trend(self, **query: Any) -> dict[str, tuple[int, float | None]]:
        """Value → how many, and the metric, over the whole time as one bucket a week."""
        series = self.get("/v1/trends", interval="week", **query)["series"]
        points = {one["value"]: [point for point in one["points"] if point["n"]] for one in series}
        return {
            value: (sum(p["n"] for p in said), said[0]["value"]) for value, said in points.items() if said
        }

    def tell(self) -> None:
        self.people_complain()
        self.complaints_become_themes()
        self.trends_say_what_lists_say()
        self.a_correction_moves_the_trend()
        self.a_merge_is_undone_exactly()
        self.a_person_is_erased()
        self.trends_say_what_lists_say()

    def people_complain(self) -> None:
        rows = []
        for about, phrases in COMPLAINTS.items():
            for n, phrase in enumerate(phrases):
                for thing in THINGS:
                    author = {"id": f"{thing}-{n}", "email": f"{thing}{n}@example.com"}
                    row = {
                        "text": phrase.format(thing),
                        "external_id": f"{about} {n} {thing}",
                        "source": "desk",
                    }
                    rows.append(row | {"author": author, "version": "2.0"})
        body = "\n".join(json.dumps(row) for row in rows)
        answer = self.client.post("/v1/feedback/batch", content=body, timeout=120).raise_for_status().json()
        assert (answer["stored"], answer["rejected"]) == (32, 0)
        said = {
            "text": f"{SECRET_WORD} was charged twice for the carpet.",
            "external_id": "1",
            "author": {"id": "zoe"},
        }
        assert self.post("/v1/feedback", said, status=202)["outcome"] == "stored"
        assert self.post("/v1/feedback", said, status=202)["outcome"] == "duplicate"
        said["text"] = f"{SECRET_WORD} was charged twice for the carpet at checkout."
        assert self.post("/v1/feedback", said, status=202)["outcome"] == "updated"
        mail = {
            "text": "Write to me at zoe@example.com",
            "rating": 2,
            "rating_scale": "csat",
            "author": {"id": "zoe"},
        }
        self.post("/v1/feedback", mail, status=202)

    def complaints_become_themes(self) -> None:
        until(lambda: self.get("/v1/status")["pending"] == 0, "everything is analysed")
        assert self.get("/v1/status")["dead"] == 0
        until(self.settled, "themes were evaluated after the last analysis")
        items = self.items()
        assert len(items) == 34
        assert {item["status"] for item in items} == {"analysed"}
        assert "[email]" in next(item["text"] for item in items if item["rating"])
        assert [theme["size"] >= 12 for theme in self.themes().values()] == [True, True]

    def settled(self) -> bool:
        status = self.get("/v1/status")
        last = self.get("/v1/audit", kind="feedback.analysed", limit=1)["items"][0]["at"]
        evaluated = status["evaluated_at"] and parse_rfc3339(status["evaluated_at"]) > parse_rfc3339(last)
        return bool(evaluated and all(run["finished_at"] for run in status["evaluations"]))

    def trends_say_what_lists_say(self) -> None:
        sizes = {theme_id: theme["size"] for theme_id, theme in self.themes().items()}
        assert sizes == {theme_id: len(self.items(theme=theme_id)) for theme_id in sizes}
        assert sizes == {value: n for value, (n, _) in self.trend(metric="volume", by="theme").items()}
        assert self.trend(metric="volume") == {"all": (len(self.items()), len(self.items()))}
        for label in ("negative", "positive", "neutral"):
            [(n, share)] = self.trend(metric="sentiment_share", label=label).values()
            assert share == pytest.approx(len(self.items(sentiment=label)) / n)

    def a_correction_moves_the_trend(self) -> None:
        item = next(item for item in self.items(sentiment="negative") if item["theme"])
        [(n, before)] = self.trend(metric="net_sentiment").values()
        assert before is not None
        answer = self.client.patch(f"/v1/feedback/{item['id']}/analysis", json={"sentiment": "positive"})
        answer.raise_for_status()
        [(same, after)] = self.trend(metric="net_sentiment").values()
        assert same == n
        assert after == pytest.approx(before + 200 / n)
        assert item["id"] in {one["id"] for one in self.items(sentiment="positive")}
        self.trends_say_what_lists_say()

    def a_merge_is_undone_exactly(self) -> None:
        before, trend = self.themes(), self.trend(metric="volume", by="theme")
        (one, first), (other, second) = before.items()
        preview = self.post(f"/v1/themes/{one}/merge?preview=true", {"into": other})
        assert preview["feedback"] == first["size"]
        assert self.themes() == before
        event = self.post(f"/v1/themes/{one}/merge", {"into": other})["event"]
        merged = self.themes()
        assert list(merged) == [other]
        assert merged[other]["size"] == first["size"] + second["size"]
        assert merged[other]["aliases"] == [one]
        moved = self.client.get(f"/v1/themes/{one}", follow_redirects=False)
        assert (moved.status_code, moved.headers["location"]) == (308, f"/v1/themes/{other}")
        self.trends_say_what_lists_say()
        self.post(f"/v1/events/{event}/undo")
        after = self.themes()
        for theme in (*before.values(), *after.values()):
            del theme["version"]
        assert (after, self.trend(metric="volume", by="theme")) == (before, trend)

    def a_person_is_erased(self) -> None:
        hers = [item for item in self.items() if item["author"] and item["author"]["id"] == "zoe"]
        assert len(hers) == 2
        [(n, _)] = self.trend(metric="volume").values()
        assert len(self.items(q=SECRET_WORD)) == 1
        proof = self.post("/v1/people/erase", {"author_id": "zoe"})
        assert proof["feedback"] == 2
        assert "zoe" not in json.dumps(proof)
        [(left, _)] = self.trend(metric="volume").values()
        assert left == n - 2
        for item in hers:
            assert self.client.get(f"/v1/feedback/{item['id']}").status_code == 404
        assert self.items(q=SECRET_WORD) == []
        assert SECRET_WORD not in json.dumps(self.themes())
        assert self.post("/v1/people/export", {"author_id": "zoe"}) == {"people": [], "feedback": []}

    def seen(self) -> Any:
        """What a restart must not change."""
        return (
            self.items(),
            self.themes(),
            self.trend(metric="volume", by="theme"),
            self.get("/v1/keys")["items"],
        )


def assert_silent(installation: Installation) -> None:
    """No log quotes feedback or shows an error nobody caught."""
    for name, text in installation.logs().items():
        assert SECRET_WORD not in text, name
        assert "Traceback" not in text, name
        assert "request_failed" not in text, name


@pytest.mark.timeout(600)
def test_the_story_with_everything_on_one_machine(tmp_path: Path) -> None:
    with embedded(tmp_path) as place:
        with place.client() as client:
            Story(client).tell()
            before = without_last_use(Story(client).seen())
        keys = (place.data / "voice.env").read_text()
        assert (place.data / "voice.env").stat().st_mode & 0o777 == 0o600
        assert (place.data / "secret.key").stat().st_mode & 0o777 == 0o600
        a_second_parent_is_refused(place)
        a_taken_port_is_one_line(place)
        a_signal_to_the_parent_alone_stops_everything(place)
        nothing_of_an_erased_person_is_left_on_the_disk(place)
        assert_silent(place)
        place.start()
        with place.client() as client:
            assert without_last_use(Story(client).seen()) == before
        assert (place.data / "voice.env").read_text() == keys
        a_signal_to_the_parent_alone_stops_everything(place)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_story_with_everything_apart(tmp_path: Path) -> None:
    with distributed(tmp_path) as place:
        with place.client() as client:
            Story(client).tell()
        assert_silent(place)


def without_last_use(seen: Any) -> Any:
    *others, keys = seen
    return (*others, [{name: value for name, value in key.items() if name != "last_used_at"} for key in keys])


def one_line(place: Installation, **env: str) -> str:
    """What `voice up` says before it gives up."""
    ended = place.run("voice", "up", **env)
    assert (ended.returncode, ended.stdout) == (1, ""), ended
    [line] = ended.stderr.splitlines()
    return line


def a_second_parent_is_refused(place: Embedded) -> None:
    line = one_line(place, VOICE_PORT=str(free_port()))
    assert line == f"voice: already running in {place.data}, pid {place.parent.pid}"


def a_taken_port_is_one_line(place: Installation) -> None:
    line = one_line(place, VOICE_DATA_DIR=str(place.folder / "other"))
    assert line.startswith(f"voice: VOICE_PORT: cannot listen on 127.0.0.1:{place.port} ")
    assert not (place.folder / "other" / "voice.env").exists()


def a_signal_to_the_parent_alone_stops_everything(place: Embedded) -> None:
    expected = (
        "voice api",
        "-Q analyse -P solo",
        "-Q pull,themes,notify -P threads",
        "workers.app --quiet beat",
    )
    until(
        lambda: all(part in " ".join(children(place.parent.pid).values()) for part in expected),
        "all children run",
    )
    family = children(place.parent.pid)
    place.parent.terminate()
    assert place.parent.wait(STOP_S + 10) == 0
    assert not {pid for pid in family if Path(f"/proc/{pid}").exists()}
    place.processes.clear()


def nothing_of_an_erased_person_is_left_on_the_disk(place: Installation) -> None:
    for path in place.data.rglob("*"):
        if path.is_file():
            assert SECRET_WORD.encode() not in path.read_bytes(), path
