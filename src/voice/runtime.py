"""The one place that turns settings into engine, secrets, models, clock and doorbell."""

import threading
from datetime import datetime
from functools import cached_property

from sqlalchemy.exc import SQLAlchemyError

from voice.accounts import Secrets, ensure_project, fill_vault, installed_secrets, list_projects
from voice.analysis.analyser import Analyser
from voice.analysis.models import load_analyser
from voice.analysis.topic_editing import seed_topics
from voice.analysis.topics import load_taxonomy
from voice.clock import Clock, utc_now
from voice.config import Settings
from voice.db.dialects import is_database_trouble
from voice.db.migrate import migrate
from voice.db.session import Database
from voice.doorbell import CeleryDoorbell
from voice.events import Doorbell
from voice.feedback.intake import Intake
from voice.pipeline import Pipeline
from voice.redaction import Redactor
from voice.retention import Limits, parse_limits
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
    ) -> None:
        self.settings = settings
        self.clock = clock
        self._given_doorbell = doorbell
        self._loading = threading.Lock()
        self._analyser: Analyser | None = None

    @cached_property
    def database(self) -> Database:
        self.settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Database(self.settings.database)

    @cached_property
    def secrets(self) -> Secrets:
        return installed_secrets(self.settings, self.database)

    @cached_property
    def intake(self) -> Intake:
        return Intake(self.secrets, Redactor(allow=self.settings.product_names))

    @cached_property
    def doorbell(self) -> Doorbell:
        return self._given_doorbell or CeleryDoorbell(self.settings)

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

    @cached_property
    def retention(self) -> Limits:
        """How old feedback may become, by channel. Raises ConfigurationError for a rule that cannot be read."""
        return parse_limits(self.settings.retention)

    def migrate(self) -> None:
        """Bring the schema up to date; fill the vault; make the first project, give every project its taxonomy.

        Raises ConfigurationError when the root secret is not the one that the database was sealed under.
        """
        _ = self.retention  # a rule that cannot be read is refused at the start, not at the first removal
        migrate(self.database.engine)
        with self.database.write() as session:
            fill_vault(session, self.secrets.ring)
            ensure_project(session, FIRST_PROJECT, actor="system", now=self.clock())
            for project in list_projects(session):
                seed_topics(session, project.id, load_taxonomy(), now=self.clock())

    def check_secrets(self) -> None:
        """Raises ConfigurationError when the root secret is not the one that the database was sealed under.

        A database that is away is no fault of the secrets: they are read when it is back.
        """
        try:
            self.secrets.fingerprint()
        except SQLAlchemyError as error:
            if not is_database_trouble(error):
                raise

    def close(self) -> None:
        """Give the database connections back."""
        if "database" in self.__dict__:
            self.database.dispose()
