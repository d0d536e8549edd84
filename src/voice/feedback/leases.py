"""Keeping a lease while models run: a long batch stays its worker's as long as the worker lives."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import SQLAlchemyError

from voice import metrics
from voice.db.session import Database
from voice.feedback.claims import Claim, renew

log = structlog.get_logger()


@contextmanager
def kept(database: Database, held: Claim, *, lease_seconds: int) -> Iterator[None]:
    """Renew the lease every third of its length until the block ends; a renewal that fails is tried again."""
    done = threading.Event()

    def keep() -> None:
        while not done.wait(lease_seconds / 3):
            try:
                with database.write() as session:
                    still_ours = renew(session, held, lease_seconds=lease_seconds)
            except SQLAlchemyError as error:
                metrics.RENEWALS_FAILED.inc()
                log.warning("lease_not_renewed", error=type(error).__name__)
                continue
            if not still_ours:
                metrics.LEASES_LOST.inc()
                log.warning("lease_lost", rows=len(held.rows))
                return

    keeper = threading.Thread(target=keep, name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()
