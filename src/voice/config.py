"""Every setting, grouped, each described; the defaults run everything on one machine.

Each field is read from the environment as `VOICE_` + its name in capitals. `docs/operate/settings.md` is
generated from here.
"""

import os
import secrets
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from voice.errors import ConfigurationError


def _setting(default: Any, group: str, description: str, **bounds: Any) -> Any:
    return Field(default=default, description=description, json_schema_extra={"group": group}, **bounds)


class Settings(BaseSettings):
    """Where Voice runs, what it may use and how much it accepts."""

    model_config = SettingsConfigDict(env_prefix="VOICE_", env_file=".env", extra="ignore", frozen=True)

    data_dir: Path = _setting(
        Path("data"), "place", "Folder for the embedded database, broker, keys and logs."
    )
    database_url: str = _setting(
        "",
        "place",
        "SQLAlchemy URL; empty means SQLite in the data folder. PostgreSQL: postgresql://user@host/name.",
    )
    broker_url: str = _setting(
        "", "place", "Celery broker; empty means files in the data folder. Redis: redis://host:6379/0."
    )
    host: str = _setting("127.0.0.1", "place", "Address the API listens on.")
    port: int = _setting(8000, "place", "Port the API listens on.", ge=0, le=65535)
    public_url: str = _setting("", "place", "Address people reach Voice at; empty means http://host:port.")
    secret_key: SecretStr = _setting(
        SecretStr(""),
        "secrets",
        "Root secret, 32 or more random characters; keys for encryption and person hashes are derived "
        "from it. Embedded: written to secret.key at the first start. PostgreSQL: required.",
    )
    encoder: str = _setting("voice-mini-1", "models", "Encoder: a name of models/catalogue.toml or a hub id.")
    device: Literal["auto", "cpu", "cuda"] = _setting("auto", "models", "Where hub models run.")
    model_threads: int = _setting(
        0, "models", "Threads of one model call; 0 means every core of the CPU quota.", ge=0
    )
    product_names: Annotated[tuple[str, ...], NoDecode] = _setting(
        (), "privacy", "Names that redaction must leave alone, separated by commas."
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
        for name in ("product_names", "trusted_proxies"):
            if isinstance(given := values.get(name), str):
                values[name] = tuple(part.strip() for part in given.split(",") if part.strip())
        return values

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
        return urlsplit(self.database).scheme.startswith("sqlite")

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
            f"VOICE_{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()
        )
        raise ConfigurationError(faults) from None


def root_secret(settings: Settings) -> bytes:
    """The root secret. Embedded: made on first use and kept in `secret.key`, mode 600.

    Raises ConfigurationError when PostgreSQL is configured without `VOICE_SECRET_KEY`, or the key is short.
    """
    if given := settings.secret_key.get_secret_value():
        if len(given) < 32:
            raise ConfigurationError("VOICE_SECRET_KEY: needs 32 characters or more")
        return given.encode()
    if not settings.is_embedded_database:
        raise ConfigurationError("VOICE_SECRET_KEY: required with PostgreSQL; try: openssl rand -hex 32")
    path = settings.data_dir / "secret.key"
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        with open(path, "x", opener=_private) as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        pass
    if len(key := path.read_text().strip()) < 32:
        raise ConfigurationError(f"{path}: damaged; restore it from a backup")
    return key.encode()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)
