"""One version beside the next, on the schema of the next: processes are replaced one by one, and nothing breaks.

The older version is real: its files are taken from the history of this repository.
"""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.conftest import first_project
from tests.recount import assert_exact
from tests.services import postgres_database, redis_database, unavailable
from tests.stories.installations import COMPOSE, STOP_S, Distributed, Embedded, free_port, running, until
from tests.stories.test_backup_drill import Chatter
from tests.stories.test_launch_story import SECRET_WORD, Story
from voice.config import Settings
from voice.db.migrate import known_revisions, revision_of
from voice.runtime import Runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
OLDER_VERSION, OLDER_REVISION = "99cd56a9be", "0001"
"""Commit and schema of the version before this one."""
WORKERS = ("worker-analyse", "worker-background", "beat")
SERVICES = ("api", *WORKERS)


@pytest.fixture(scope="session")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the older version."""
    packed = subprocess.run(
        ["git", "archive", OLDER_VERSION, "src", "api", "workers", "models/shipped", "models/catalogue.toml"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if packed.returncode:
        unavailable(f"the history lacks {OLDER_VERSION}: {packed.stderr.decode().strip()}")
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


def at(version: Path) -> dict[str, str]:
    """The environment in which Python finds this version of the code before the installed one."""
    return {"PYTHONPATH": f"{version / 'src'}:{version}"}


class Rolling(Distributed):
    """A distributed installation of the older version, whose processes are replaced one kind at a time."""

    def __init__(self, folder: Path, database: str, broker: str, older: Path) -> None:
        super().__init__(folder, database, broker)
        self._older = older
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        self.env |= at(self._older)
        super().start()
        self._running = dict(zip(SERVICES, self.processes, strict=True))
        del self.env["PYTHONPATH"]

    def replace_workers(self) -> None:
        """Stop the older ones, which finish what they hold, and start the newer."""
        for name in WORKERS:
            self._end(name)
        for name in WORKERS:
            self._begin(name)

    def replace_api(self) -> None:
        """The newer one serves before the older one is stopped, as behind a proxy."""
        older = self._running["api"]
        self.port = free_port()
        self._begin("api")
        self.await_ready()
        self._running["older api"] = older
        self._end("older api")

    def _begin(self, name: str) -> None:
        command = yaml.safe_load(COMPOSE.read_text())["services"][name]["command"]
        self._running[name] = self.spawn(*self._here(command))

    def _end(self, name: str) -> None:
        process = self._running.pop(name)
        process.terminate()
        process.wait(STOP_S * 2)
        self.processes.remove(process)

    def runtime(self) -> Runtime:
        """The installation, as the code of now sees it."""
        settings = Settings(
            _env_file=None,  # type: ignore[call-arg]
            data_dir=self.data,
            database_url=self.env["VOICE_DATABASE_URL"],
            secret_key=self.env["VOICE_SECRET_KEY"],
        )
        return Runtime(settings)


MIA = {"id": "mia", "email": "mia@example.com"}
RETRIED = {
    "headers": {"Idempotency-Key": "retried-across-the-upgrade"},
    "json": {"text": "Sent twice."},
}


def schema(place: Rolling) -> str | None:
    runtime = place.runtime()
    try:
        return revision_of(runtime.database.engine)
    finally:
        runtime.close()


def migrated_under_load(place: Rolling) -> None:
    """The newer version migrates while the older one serves and people post."""
    assert schema(place) == OLDER_REVISION
    chatter = Chatter(place)
    chatter.start()
    until(lambda: len(chatter.stored) > 10, "people post")
    said = place.run("voice", "migrate")
    assert said.returncode == 0, said.stderr
    so_far = len(chatter.stored)
    until(lambda: len(chatter.stored) > so_far + 10, "people post on")
    chatter.stop()
    assert schema(place) == known_revisions()[-1]


def settle(story: Story) -> None:
    until(lambda: story.get("/v1/status")["pending"] == 0, "everything is analysed")
    assert story.get("/v1/status")["dead"] == 0


def side_by_side(story: Story) -> None:
    """Everything that people do, with one version at the edge and another in the workers."""
    said = [
        story.post("/v1/feedback", {"text": f"I was charged twice for the {n}.", "author": MIA}, status=202)[
            "id"
        ]
        for n in ("tent", "boat")
    ]
    settle(story)
    assert {story.get(f"/v1/feedback/{one}")["status"] for one in said} == {"analysed"}
    until(story.settled, "themes were evaluated")
    story.trends_say_what_lists_say()
    story.a_correction_moves_the_trend()
    theme = next(iter(story.themes()))
    story.client.patch(f"/v1/themes/{theme}", json={"name": "Named by hand"}).raise_for_status()
    assert story.themes()[theme]["name"] == "Named by hand"
    story.a_person_is_erased()
    settle(story)
    story.trends_say_what_lists_say()


@pytest.mark.parametrize("first", ["api", "workers"])
def test_versions_side_by_side_on_the_newer_schema(first: str, older: Path, tmp_path: Path) -> None:
    with (
        postgres_database() as database,
        redis_database() as broker,
        running(place := Rolling(tmp_path, database, broker, older)),
    ):
        with place.client() as client:
            story = Story(client)
            story.people_complain()
            story.complaints_become_themes()
            stored = client.post("/v1/feedback", **RETRIED).raise_for_status().json()
        migrated_under_load(place)
        steps = [place.replace_api, place.replace_workers]
        steps[first == "workers"]()
        with place.client() as client:
            side_by_side(Story(client))
        steps[first != "workers"]()
        with place.client() as client:
            story = Story(client)
            settle(story)
            story.trends_say_what_lists_say()
            again = client.post("/v1/feedback", **RETRIED).raise_for_status().json()
            assert again == stored
            # By her address alone, whichever version stored her.
            assert story.post("/v1/people/erase", {"email": MIA["email"]})["feedback"] == 2
            settle(story)
            assert story.items(q=SECRET_WORD) == []
        place.stop()
        runtime = place.runtime()
        assert_exact(runtime.database, first_project(runtime))
        runtime.close()
        for name, text in place.logs().items():
            assert "Traceback" not in text, name


def test_an_installation_on_one_machine_is_upgraded(older: Path, tmp_path: Path) -> None:
    place = Embedded(tmp_path)
    place.env |= at(older)
    with running(place), place.client() as client:
        story = Story(client)
        story.people_complain()
        story.complaints_become_themes()
        before = (story.items(), set(story.themes()))
    del place.env["PYTHONPATH"]
    place.starts = 0
    (tmp_path / "0-voice.log").unlink()
    with running(place), place.client() as client:
        story = Story(client)
        settle(story)
        assert {item["id"]: item["text"] for item in story.items()} == {i["id"]: i["text"] for i in before[0]}
        assert set(story.themes()) == before[1]
        story.trends_say_what_lists_say()
        story.a_correction_moves_the_trend()
        story.a_person_is_erased()
