"""What health routes ask, on threads of their own: AnyIO's pool may be full of requests that wait for the database."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")

ANSWER_SECONDS = 3.0
"""Less than the five seconds that probes and scrapers commonly wait."""
MOST_ASKED = 8


class Probes:
    """Asks at most MOST_ASKED questions at once, those included that nobody waits for any more."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(MOST_ASKED)

    async def ask(self, question: Callable[[], T]) -> T:
        """The answer, with whatever the question raises. Raises TimeoutError after ANSWER_SECONDS; it goes on then."""
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._free.acquire()
            asked = asyncio.ensure_future(to_thread.run_sync(question, limiter=CapacityLimiter(1)))
            asked.add_done_callback(lambda _: self._free.release())
            return await asyncio.shield(asked)
