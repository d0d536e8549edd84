"""The doorbell: tells workers that rows wait. It carries no feedback, and losing a ring loses nothing."""

from typing import Protocol


class Doorbell(Protocol):
    """Rung after a commit; never raises."""

    def ring(self, job: str, **arguments: str) -> None: ...


class SilentDoorbell:
    """Nobody listens: for command-line verbs and tests that drain the queue themselves."""

    def ring(self, job: str, **arguments: str) -> None:
        """Nothing to tell anyone."""
