"""`voice up`, `voice demo`, `voice api`, `voice worker`, `voice migrate`: the processes."""

import os
import resource
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from voice.accounts import create_key, find_project, list_keys
from voice.cli import demo as demo_launch
from voice.config import Settings, load_settings
from voice.db.migrate import schema_of
from voice.errors import ConfigurationError, Unavailable
from voice.files import write_private
from voice.logs import configure_logs
from voice.metrics import CHILD_NAME, SHARED_FOLDER
from voice.runtime import FIRST_PROJECT, Runtime
from voice.supervisor import AlreadyRunningError, Child, Supervisor

SERVER: dict[str, Any] = {
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "timeout_graceful_shutdown": 10,
    "http": "api.protocol:GuardedProtocol",
    "ws": "none",
}
"""How Uvicorn serves the API."""

READY_SECONDS = 60.0
IDLE_CONNECTIONS = 400
"""Connections beyond the requests that are answered at once. With more open, Uvicorn itself answers 503."""
BACKGROUND_QUEUES = "pull,themes,notify"

console = Console(highlight=False)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("up")(up)
    app.command("demo")(demo)
    app.command("api")(api)
    app.command("worker")(worker)
    app.command("migrate")(migrate)


def up() -> None:
    """Run everything on this machine: API, workers and schedule, restarted when they die. Ctrl-C stops it."""
    _serve(lambda _settings, start_beat: start_beat())


def demo() -> None:
    """The same, with the demo launch sent through the public API, day by day."""

    def replay(settings: Settings, start_beat: Callable[[], None]) -> None:
        demo_launch.replay(settings, console)
        start_beat()
        demo_launch.summarise(settings, console)

    _serve(replay)


def api(
    host: Annotated[str | None, typer.Option(help="Default: VOICE_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: VOICE_PORT.")] = None,
) -> None:
    """Run the API alone."""
    import uvicorn

    settings = load_settings()
    configure_logs(settings.log_level, process="api")
    runtime = Runtime(settings)
    runtime.check_secrets()
    runtime.close()
    most = settings.most_in_flight + IDLE_CONNECTIONS
    _allow_files(most)
    uvicorn.run(
        "api.app:create_app",
        factory=True,
        host=host or settings.host,
        port=port if port is not None else settings.port,
        limit_concurrency=most,
        **SERVER,
    )


def _allow_files(connections: int) -> None:
    """Let this process have a file for each connection and some besides, where the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 200
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def worker(
    queues: Annotated[
        str, typer.Option(help="Queues, separated by commas.")
    ] = f"analyse,{BACKGROUND_QUEUES}",
    beat: Annotated[bool, typer.Option(help="Run the schedule instead of a worker.")] = False,
) -> None:
    """Run a worker, or the schedule: a short form of `celery -A workers.app`."""
    argv = _celery("beat") if beat else _worker("worker", queues, pool="solo")
    os.execv(argv[0], argv)


def migrate() -> None:
    """Bring the database to the schema of this version."""
    settings = load_settings()
    runtime = Runtime(settings)
    runtime.migrate()
    schema = schema_of(runtime.database.engine)
    runtime.close()
    typer.echo(f"schema is {schema}: {_without_password(settings.database)}")


def _without_password(url: str) -> str:
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)


def _serve(when_ready: Callable[[Settings, Callable[[], None]], None]) -> None:
    settings = load_settings()
    configure_logs(settings.log_level, process="voice")
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with Supervisor(settings.data_dir) as supervisor:
            _refuse_taken_port(settings)
            if settings.is_embedded_broker:
                shutil.rmtree(settings.broker_folder, ignore_errors=True)
            shutil.rmtree(_metrics(settings), ignore_errors=True)
            _metrics(settings).mkdir()
            first_start(settings)
            for child in _children(settings):
                supervisor.start(child)
            _await_ready(settings)
            console.print(f"serving {settings.url}", style="bold")
            when_ready(settings, lambda: supervisor.start(_child(settings, "beat", _celery("beat"))))
            console.print(
                f"ready  {settings.url}  (keys: {settings.data_dir / 'voice.env'}, logs: {settings.data_dir / 'logs'}, Ctrl-C stops)",
                style="bold green",
                soft_wrap=True,
            )
            supervisor.wait()
    except AlreadyRunningError as error:
        raise Unavailable(str(error)) from None


def _refuse_taken_port(settings: Settings) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise ConfigurationError(
                f"VOICE_PORT: cannot listen on {settings.host}:{settings.port} ({error.strerror}); choose another"
            ) from None


def first_start(settings: Settings) -> None:
    """Migrate; on an empty installation make an admin and an ingest key and write them to `voice.env`, mode 600."""
    runtime = Runtime(settings)
    runtime.migrate()
    with runtime.database.write() as session:
        project = find_project(session, FIRST_PROJECT)
        if not list_keys(session, project.id):
            lines = [f"VOICE_URL={settings.url}"]
            for role in ("admin", "ingest"):
                _, plain = create_key(
                    session,
                    project_id=project.id,
                    role=role,
                    name=f"first {role} key",
                    actor="system",
                    now=runtime.clock(),
                )
                lines.append(f"VOICE_{role.upper()}_KEY={plain}")
            write_private(settings.data_dir / "voice.env", "\n".join(lines) + "\n")
    runtime.close()


def _children(settings: Settings) -> list[Child]:
    return [
        _child(settings, "api", [sys.executable, "-m", "voice", "api"]),
        _child(settings, "analyse", _worker("analyse", "analyse", pool="solo")),
        _child(
            settings, "background", _worker("background", BACKGROUND_QUEUES, pool="threads", concurrency=4)
        ),
    ]


def _child(settings: Settings, name: str, argv: list[str]) -> Child:
    env = {SHARED_FOLDER: str(_metrics(settings)), CHILD_NAME: name, "VOICE_METRICS_PORT": "0"}
    return Child(name=name, argv=argv, env=env, log=settings.data_dir / "logs" / f"{name}.log")


def _metrics(settings: Settings) -> Path:
    """Where the children keep their numbers, so that the API can show them all."""
    return settings.data_dir.absolute() / "metrics"


def _celery(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("celery")), "-A", "workers.app", "--quiet", *arguments]


def _worker(name: str, queues: str, *, pool: str, concurrency: int = 1) -> list[str]:
    chatter = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return _celery(
        "worker",
        "-Q",
        queues,
        "-P",
        pool,
        "-c",
        str(concurrency),
        "-n",
        f"{name}@%h",
        "-l",
        "WARNING",
        *chatter,
    )


def _await_ready(settings: Settings) -> None:
    deadline = time.monotonic() + READY_SECONDS
    everywhere = ("0.0.0.0", "::")  # nosec B104  # compared, not listened on
    host = "127.0.0.1" if settings.host in everywhere else settings.host
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://{host}:{settings.port}/readyz", timeout=2.0).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise Unavailable(f"the API did not become ready within {READY_SECONDS:.0f} s; see the log above")
