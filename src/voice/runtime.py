"""The one place that turns settings into engine, secrets, models, clock and doorbell."""

import threading
from collections.abc import Callable
from datetime import datetime
from functools import cached_property

from voice.accounts import Secrets, ensure_project, list_projects
from voice.analysis.analyser import Analyser
from voice.analysis.models import load_analyser
from voice.analysis.topic_editing import seed_topics
from voice.analysis.topics import load_taxonomy
from voice.clock import Clock, utc_now
from voice.config import Settings, root_secret
from voice.db.migrate import migrate
from voice.db.session import Database
from voice.doorbell import CeleryDoorbell
from voice.events import Doorbell
from voice.feedback.intake import Intake
from voice.pipeline import Pipeline
from voice.redaction import Redactor
from voice.themes.evaluate import Evaluation, evaluate

FIRST_PROJECT = "main"


class Runtime:
    """What a process needs, made on first use: the API never loads a model it does not ask for."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock = utc_now,
        doorbell: Doorbell | None = None,
        on_doorbell_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self._given_doorbell = doorbell
        self._on_doorbell_failure = on_doorbell_failure
        self._loading = threading.Lock()
        self._analyser: Analyser | None = None

    @cached_property
    def database(self) -> Database:
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        return Database(self.settings.database)

    @cached_property
    def secrets(self) -> Secrets:
        return Secrets(root_secret(self.settings))

    @cached_property
    def intake(self) -> Intake:
        return Intake(self.secrets, Redactor(allow=self.settings.product_names))

    @cached_property
    def doorbell(self) -> Doorbell:
        return self._given_doorbell or CeleryDoorbell(self.settings, on_failure=self._on_doorbell_failure)

    @property
    def analyser(self) -> Analyser:
        """The models, loaded once per process."""
        with self._loading:
            if self._analyser is None:
                self._analyser = load_analyser(
                    encoder=self.settings.encoder,
                    device=self.settings.device,
                    threads=self.settings.model_threads or None,
                )
            return self._analyser

    @cached_property
    def pipeline(self) -> Pipeline:
        return Pipeline(
            self.database,
            self.analyser,
            self.clock,
            batch_size=self.settings.batch_size,
            lease_seconds=self.settings.lease_seconds,
            max_attempts=self.settings.max_attempts,
        )

    def evaluate(self, project_id: str, *, as_of: datetime) -> Evaluation:
        """Discover the project's themes and test emergence, as of a moment."""
        return evaluate(
            self.database,
            self.analyser,
            project_id,
            as_of=as_of,
            now=self.clock(),
            window_days=self.settings.window_days,
            window_items=self.settings.window_items,
        )

    def migrate(self) -> None:
        """Bring the schema up to date; make the first project and give every project its taxonomy."""
        migrate(self.database.engine)
        with self.database.write() as session:
            ensure_project(session, FIRST_PROJECT, actor="system", now=self.clock())
            for project in list_projects(session):
                seed_topics(session, project.id, load_taxonomy(), now=self.clock())

    def close(self) -> None:
        """Give the database connections back."""
        if "database" in self.__dict__:
            self.database.dispose()
