"""Every setting, grouped, each described; the defaults run everything on one machine.

Each field is read from the environment as `VOICE_` + its name in capitals. `docs/operate/settings.md` is
generated from here.
"""

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from voice.errors import ConfigurationError


def _setting(default: Any, group: str, description: str, **bounds: Any) -> Any:
    return Field(default=default, description=description, json_schema_extra={"group": group}, **bounds)


class Settings(BaseSettings):
    """Where Voice runs, what it may use and how much it accepts."""

    model_config = SettingsConfigDict(
        env_prefix="VOICE_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    data_dir: Path = _setting(
        Path("data"), "place", "Folder for the embedded database, broker, keys and logs."
    )
    database_url: str = _setting(
        "",
        "place",
        "SQLAlchemy URL; empty means SQLite in the data folder. PostgreSQL: postgresql://user@host/name.",
        repr=False,
    )
    broker_url: str = _setting(
        "",
        "place",
        "Celery broker; empty means files in the data folder. Redis: redis://host:6379/0.",
        repr=False,
    )
    host: str = _setting("127.0.0.1", "place", "Address the API listens on.")
    port: int = _setting(8000, "place", "Port the API listens on.", ge=0, le=65535)
    metrics_port: int = _setting(
        0,
        "place",
        "Port on which a worker serves its own /metrics; 0 means that it does not. Not used under voice up.",
        ge=0,
        le=65535,
    )
    metrics_host: str = _setting("127.0.0.1", "place", "Address a worker serves its own /metrics at.")
    public_url: str = _setting("", "place", "Address people reach Voice at; empty means http://host:port.")
    secret_key: SecretStr = _setting(
        SecretStr(""),
        "secrets",
        "Root secret, 32 or more random characters; keys for encryption and person hashes are derived "
        "from it. PostgreSQL: required. Embedded: empty means that secret.key in the data folder holds it, "
        "made at the first start.",
    )
    secret_key_old: SecretStr = _setting(
        SecretStr(""),
        "secrets",
        "Other root secrets, separated by commas, that still open what was sealed under them: the earlier ones "
        "while a rotation is under way.",
    )
    encoder: str = _setting("voice-mini-1", "models", "Encoder: a name of models/catalogue.toml or a hub id.")
    device: Literal["auto", "cpu", "cuda"] = _setting("auto", "models", "Where hub models run.")
    model_threads: int = _setting(
        0, "models", "Threads of one model call; 0 means every core of the CPU quota.", ge=0
    )
    product_names: Annotated[tuple[str, ...], NoDecode] = _setting(
        (), "privacy", "Names that redaction must leave alone, separated by commas."
    )
    retention: Annotated[tuple[str, ...], NoDecode] = _setting(
        (),
        "privacy",
        "How many days feedback is kept, by channel, separated by commas: review:730,*:365. Empty: for ever.",
    )
    batch_size: int = _setting(128, "work", "Feedback rows that a worker claims at once.", ge=1, le=1000)
    lease_seconds: int = _setting(
        60, "work", "How long a claimed row belongs to its worker without renewal.", ge=5
    )
    max_attempts: int = _setting(
        5, "work", "Failures of a row claimed alone before it is set aside as dead.", ge=1, le=100
    )
    window_days: int = _setting(28, "themes", "Days of feedback that discovery looks at.", ge=1)
    window_items: int = _setting(
        20_000, "themes", "Most verbatims that discovery looks at, newest first.", ge=1, le=100_000
    )
    evaluate_seconds: int = _setting(
        300, "themes", "How often themes are discovered and emergence is tested.", ge=1
    )
    writer_queue: int = _setting(
        1_000, "limits", "Intake requests waiting for the writer before it answers 429.", ge=1
    )
    widget_per_minute: int = _setting(
        10, "limits", "Requests a minute from one address with a widget key.", ge=1
    )
    ingest_per_minute: int = _setting(6_000, "limits", "Requests a minute with an ingest key.", ge=1)
    other_per_minute: int = _setting(1_200, "limits", "Requests a minute with any other key.", ge=1)
    refused_per_minute: int = _setting(
        60, "limits", "Requests a minute from one address without a valid key.", ge=1
    )
    body_bytes: int = _setting(256_000, "limits", "Largest body of a single request, in bytes.", ge=1)
    batch_bytes: int = _setting(20_000_000, "limits", "Largest body of a batch, in bytes.", ge=1)
    batch_lines: int = _setting(10_000, "limits", "Most lines of a batch.", ge=1)
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = _setting(
        (), "limits", "Addresses or networks, separated by commas, whose X-Forwarded-For is believed."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _setting(
        "INFO", "place", "Least severe log line."
    )

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in ("product_names", "retention", "trusted_proxies"):
            if isinstance(given := values.get(name), str):
                values[name] = tuple(part.strip() for part in given.split(",") if part.strip())
        return values

    @field_validator("database_url", "broker_url")
    @classmethod
    def _refuse_torn_urls(cls, url: str, field: ValidationInfo) -> str:
        """A raw @, / or # can make a part of the password the host or the port, which error messages quote."""
        torn = url.partition("://")[2].partition("?")[0].count("@") > 1 and not url.startswith("sqlite")
        try:
            if field.field_name == "broker_url":
                _ = urlsplit(url).port
            elif "://" in url:
                make_url(url)
        except (ValueError, ArgumentError):
            torn = True
        if torn:
            raise ValueError("cannot be read; percent-encode the special characters of its password")
        return url

    @property
    def most_in_flight(self) -> int:
        """Requests that one API process answers at once.

        A full queue and the 500 that the writer may hold are fewer: whom the queue has no room for is told so (429).
        """
        return self.writer_queue + 600

    @property
    def database(self) -> str:
        """The database URL with its driver, defaults filled in. Raises ConfigurationError for any other database."""
        if not self.database_url:
            return f"sqlite:///{self.data_dir.absolute() / 'voice.db'}"
        for scheme in ("postgresql://", "postgres://"):
            if self.database_url.startswith(scheme):
                return "postgresql+psycopg://" + self.database_url.removeprefix(scheme)
        if not self.database_url.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ConfigurationError(
                "VOICE_DATABASE_URL: must be sqlite:///path or postgresql://user@host/name"
            )
        return self.database_url

    @property
    def broker(self) -> str:
        """The broker URL, defaults filled in."""
        return self.broker_url or "filesystem://localhost//"

    @property
    def broker_folder(self) -> Path:
        return self.data_dir.absolute() / "broker"

    @property
    def is_embedded_database(self) -> bool:
        return self.database.startswith("sqlite")

    @property
    def is_embedded_broker(self) -> bool:
        return self.broker.startswith("filesystem")

    @property
    def url(self) -> str:
        return self.public_url or f"http://{self.host}:{self.port}"


def load_settings(**given: Any) -> Settings:
    """Settings from the environment and `.env`; `given` wins. Raises ConfigurationError naming the variable."""
    try:
        return Settings(**given)
    except ValidationError as error:
        faults = "; ".join(
            f"VOICE_{'.'.join(map(str, e['loc'])).upper()}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise ConfigurationError(faults) from None
