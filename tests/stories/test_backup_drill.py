"""The drill: an installation is backed up while people post, then lost; it comes back, and who was erased does not."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import first_project
from tests.recount import assert_exact
from tests.services import postgres_database, redis_database
from tests.stories.installations import Distributed, Embedded, Installation, running, until
from tests.stories.test_launch_story import (
    SECRET_WORD,
    Story,
    nothing_of_an_erased_person_is_left_on_the_disk,
)
from voice.backup import opened
from voice.config import Settings
from voice.runtime import Runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GROWN = {"events", "projects", "suppressions", "erasures", "themes", "job_runs"}
"""Tables that erasing somebody again writes to, or that a claim was on its way in."""
HERS = {
    "people",
    "person_emails",
    "feedback",
    "analyses",
    "feedback_topics",
    "corrections",
    "marginals",
    "responses",
}
"""Tables that an erased person leaves."""

Lines = dict[str, Counter[bytes]]


@contextmanager
def installed(kind: str, folder: Path) -> Iterator[Installation]:
    """An installation of a kind that nothing runs in yet."""
    folder.mkdir()
    with ExitStack() as stack:
        place: Installation = (
            Embedded(folder)
            if kind == "embedded"
            else Distributed(
                folder, stack.enter_context(postgres_database()), stack.enter_context(redis_database())
            )
        )
        stack.callback(place.stop)
        yield place


def voice(place: Installation, *arguments: str) -> str:
    """What a verb says; it must succeed."""
    ended = place.run("voice", *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def secret_of(place: Installation) -> str:
    return place.env.get("VOICE_SECRET_KEY") or (place.data / "secret.key").read_text().strip()


class Chatter(threading.Thread):
    """Posts one after the other until it is told to stop; remembers what was acknowledged."""

    def __init__(self, place: Installation) -> None:
        super().__init__()
        self._place = place
        self.stored: list[str] = []
        self._over = threading.Event()

    def run(self) -> None:
        with self._place.client() as client:
            while not self._over.is_set():
                answer = client.post(
                    "/v1/feedback", json={"text": f"The kettle is late, {len(self.stored)}."}
                )
                assert answer.status_code == 202, answer.text
                self.stored.append(answer.json()["id"])

    def stop(self) -> None:
        self._over.set()
        self.join()


def lines_of(path: Path) -> Lines:
    with opened(path) as archive:
        return {part.table: Counter(archive.lines(part)) for part in archive.manifest.tables}


def ids(lines: Counter[bytes], name: str = "id") -> set[str]:
    return {json.loads(line)[name] for line in lines}


def settle(story: Story) -> None:
    until(lambda: story.get("/v1/status")["pending"] == 0, "everything is analysed")


def prepared(place: Installation) -> Story:
    """Themes, a correction, a name that a person gave; Zoe has spoken."""
    story = Story(place.client())
    story.people_complain()
    story.complaints_become_themes()
    item = next(item for item in story.items(sentiment="negative") if item["theme"])
    story.client.patch(
        f"/v1/feedback/{item['id']}/analysis", json={"sentiment": "positive"}
    ).raise_for_status()
    theme = next(iter(story.themes()))
    story.client.patch(f"/v1/themes/{theme}", json={"name": "Named by hand"}).raise_for_status()
    return story


def backed_up_while_people_post(place: Installation, path: Path) -> Lines:
    chatter = Chatter(place)
    chatter.start()
    until(lambda: len(chatter.stored) > 20, "people post")
    before = set(chatter.stored)
    said = voice(place, "backup", str(path))
    during = len(chatter.stored) - len(before)
    chatter.stop()
    assert during > 0, "nobody posted meanwhile"
    with opened(path) as archive:
        manifest = archive.manifest
    assert f"{manifest.rows:,} rows" in said
    assert voice(place, "backup", "--verify", str(path)).startswith("whole: ")
    found = lines_of(path)
    assert {part.table: part.rows for part in manifest.tables} == {t: n.total() for t, n in found.items()}
    assert before <= ids(found["feedback"])
    return found


def checked(place: Installation, backup: Lines, told: str, path: Path) -> None:
    """Nothing but the erased person is missing, before anything has started."""
    assert " 2 items of people erased" in told
    voice(place, "backup", str(path))
    found = lines_of(path)
    for table, before in backup.items():
        if table in HERS:
            assert found[table].total() <= before.total(), table
        elif table not in GROWN:
            assert found[table] == before, table
    gone = ids(backup["feedback"]) - ids(found["feedback"])
    assert len(gone) == 2
    assert not ids(found["feedback"]) - ids(backup["feedback"])
    assert ids(found["themes"]) == ids(backup["themes"])
    said = b"".join(line for lines in found.values() for line in lines)
    assert SECRET_WORD.encode() not in said
    assert not [one for one in gone if one.encode() in said]
    assert SECRET_WORD.encode() in b"".join(backup["feedback"])


def it_goes_on(place: Installation, key: str, before: dict[str, Any]) -> None:
    """Keys work, themes and corrections are there, new feedback is analysed, and Zoe cannot come back."""
    headers = {"Authorization": f"Bearer {key}"}
    with (
        running(place),
        httpx.Client(base_url=f"http://127.0.0.1:{place.port}", headers=headers, timeout=60) as client,
    ):
        story = Story(client)
        settle(story)
        assert story.get("/v1/me")["role"] == "admin"
        assert {theme["name"] for theme in story.themes().values()} >= {"Named by hand"}
        assert set(story.themes()) == set(before)
        assert story.items(q=SECRET_WORD) == []
        assert story.post("/v1/people/export", {"author_id": "zoe"}) == {"people": [], "feedback": []}
        said = {"text": f"{SECRET_WORD} once more.", "external_id": "1", "author": {"id": "zoe"}}
        client.post("/v1/feedback", json=said)
        fresh = story.post("/v1/feedback", {"text": "I was charged twice for the piano."}, status=202)["id"]
        settle(story)
        assert story.get(f"/v1/feedback/{fresh}")["status"] == "analysed"
        assert story.items(q=SECRET_WORD) == []
        story.trends_say_what_lists_say()
    runtime = Runtime(
        Settings(
            _env_file=None,  # type: ignore[call-arg]
            data_dir=place.data,
            database_url=place.env.get("VOICE_DATABASE_URL", ""),
            secret_key=secret_of(place),
        )
    )
    assert_exact(runtime.database, first_project(runtime))
    runtime.close()
    nothing_of_an_erased_person_is_left_on_the_disk(place)


@pytest.mark.parametrize(("kind", "other"), [("embedded", "distributed"), ("distributed", "embedded")])
def test_the_drill(kind: str, other: str, tmp_path: Path) -> None:
    path, kept = tmp_path / "all.backup", tmp_path / "kept"
    with installed(kind, tmp_path / "old") as old, installed(other, tmp_path / "new") as new:
        with running(old):
            story = prepared(old)
            backup = backed_up_while_people_post(old, path)
            settle(story)
            story.post("/v1/feedback", {"text": "Posted after the backup."}, status=202)
            assert story.post("/v1/people/erase", {"author_id": "zoe"})["feedback"] == 2
            voice(old, "erasures", "export", str(kept))
            themes, key = story.themes(), old.admin_key()
            story.client.close()

        # The machine is lost: a fresh place of the other kind, with the secret and the erasures that were kept apart.
        new.env["VOICE_SECRET_KEY"] = secret_of(old)
        told = voice(new, "restore", str(path), "--erasures", str(kept))
        checked(new, backup, told, tmp_path / "new.backup")
        it_goes_on(new, key, themes)

        # The data is lost: back to the old place, whose own erasures are known.
        refused = old.run("voice", "restore", str(path))
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "--yes" in refused.stderr
        told = voice(old, "restore", str(path), "--yes")
        checked(old, backup, told, tmp_path / "old.backup")
        it_goes_on(old, key, themes)
