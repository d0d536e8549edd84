"""How long anything waits for PostgreSQL: a server that is gone, or there and mute, is an error, not a wait for ever.

Seconds, from the outside in: a connection is made in 5; packets that nobody acknowledges end it after 15 (libpq's
keepalives and `tcp_user_timeout`); the server ends a statement after 60, and a transaction whose client was silent
for 60, so that a worker that vanished holds no lock; what the server has not answered after 70, it never will.
What the URL's query says of itself (`?connect_timeout=30`) wins over these, but for the last.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection

CONNECT_S = 5
SILENCE_S = 15
STATEMENT_S = 60
ANSWER_S = 70.0


def deadlines(given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of libpq for what the URL's query leaves open."""
    ours = {
        "connect_timeout": CONNECT_S,
        "keepalives_idle": 5,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": SILENCE_S * 1000,
        "options": f"-c statement_timeout={STATEMENT_S}s -c idle_in_transaction_session_timeout={STATEMENT_S}s",
    }
    return {name: value for name, value in ours.items() if name not in given}


class Deadlined(psycopg.Connection[Any]):
    """A connection that is closed when the server does not answer a statement."""

    answer_s: float | None = ANSWER_S

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """As psycopg's own. Raises ConnectionTimeout after `answer_s` seconds."""
        try:
            return super().wait(gen, interval, timeout or self.answer_s)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.pgconn.finish()  # whatever came after all would be taken for the next statement's answer
            raise psycopg.errors.ConnectionTimeout("the server did not answer") from None


def connect_with_deadlines(
    _dialect: object, _record: object, args: Sequence[Any], parameters: Mapping[str, Any]
) -> Deadlined:
    """For SQLAlchemy's event `do_connect`."""
    return Deadlined.connect(*args, **parameters)


@contextmanager
def without_deadline(connection: Connection) -> Iterator[None]:
    """Inside a transaction: let its statements take as long as they need, as those of migrations may."""
    driver: object = connection.connection.dbapi_connection
    if not isinstance(driver, Deadlined):
        yield
        return
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    before, driver.answer_s = driver.answer_s, None
    try:
        yield
    finally:
        driver.answer_s = before
