"""The parent of an embedded Voice: starts the API, the workers and beat, restarts what ends, stops them together.

Children stay in the parent's session and process group and inherit its standard output. When the parent is killed the
kernel kills them (Linux: `PR_SET_PDEATHSIG`); on other POSIX systems a small watchdog process does. Not for Windows.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType, TracebackType
from typing import IO, Self

from filelock import FileLock, Timeout

LONGEST_BACKOFF_S = 10.0
HEALTHY_AFTER_S = 30.0
"""A child that ran this long starts again without delay, and its back-off from the beginning."""

LONGEST_LOG = 20_000_000
"""Bytes after which a child's log is put aside."""

_TICK_S = 0.1
_COURTESY_S = 1.0
"""After Ctrl-C the children have had their own SIGINT: they get this long before SIGTERM interrupts their farewell."""
_KILL_AT = 0.9
"""Share of the grace after which SIGKILL is sent, so that the children are gone before the grace has passed."""
_SUPERVISED = str(Path(__file__).with_name("supervised.py"))
_KERNEL_BINDS = sys.platform == "linux"


class AlreadyRunningError(Exception):
    """Another supervisor holds the lock of this data folder."""


@dataclass(frozen=True, kw_only=True)
class Child:
    """One process to keep running; `env` is added to the parent's environment.

    `log` takes what it prints; without one it prints where the parent does.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None


@dataclass
class _Slot:
    child: Child
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    short_lives: int = 0


def backoff(short_lives: int) -> float:
    """Seconds to wait after this many lives in a row, each shorter than HEALTHY_AFTER_S: 0.5, 1, 2, … at most 10."""
    return float(min(LONGEST_BACKOFF_S, 0.25 * 2 ** min(short_lives, 10)))


class Supervisor:
    """Keeps children running until it is told to stop.

    Used as a context manager from the main thread: entering takes the lock in `data_dir` and the signals, leaving
    stops every child. SIGINT, SIGTERM and SIGHUP stop it, and a second SIGINT kills at once. A signal that arrives
    outside `wait` and `stop` raises SystemExit(0) there, so that what the caller was doing ends too.
    """

    def __init__(self, data_dir: Path, *, grace_s: float = 15.0) -> None:
        self._data_dir = data_dir
        self._grace_s = grace_s
        self._lock = FileLock(data_dir / "supervisor.lock", timeout=0)
        self._pid_file = data_dir / "supervisor.pid"
        self._new: SimpleQueue[Child] = SimpleQueue()
        self._slots: list[_Slot] = []
        self._thread = threading.Thread(target=self._supervise, name="supervisor")
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._old_handlers: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}
        # Written by the signal handler, which may take no lock; hence plain attributes that the thread polls.
        self._stopping = False
        self._interrupted = False
        self._kill_now = False
        self._main_is_waiting = False

    def __enter__(self) -> Self:
        self._take_lock()
        if not _KERNEL_BINDS:
            self._watchdog = subprocess.Popen(_helper("watch"), stdin=subprocess.PIPE)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # `nohup` asks for SIGHUP to stay ignored.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._old_handlers[number] = signal.signal(number, self._on_signal)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        if self._watchdog is not None:
            self._watchdog.communicate()
        self._pid_file.unlink(missing_ok=True)
        self._lock.release()

    def start(self, child: Child) -> None:
        """Start one more child; it is kept running from now on."""
        self._new.put(child)

    def stop(self) -> None:
        """Stop every child and return when all are gone: SIGTERM, and SIGKILL shortly before the grace ends."""
        self._main_is_waiting = True
        self._stopping = True
        self._join()

    def wait(self) -> None:
        """Block until a signal has stopped the supervisor and every child is gone."""
        self._main_is_waiting = True
        self._join()

    def _join(self) -> None:
        # In slices: a join without end would hold signals back on some platforms.
        while self._thread.is_alive():
            self._thread.join(_TICK_S)

    def _take_lock(self) -> None:
        self._data_dir.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            pid = self._pid_file.read_text().strip() if self._pid_file.exists() else "unknown"
            raise AlreadyRunningError(f"already running in {self._data_dir}, pid {pid}") from None
        self._pid_file.write_text(f"{os.getpid()}\n")

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            self._kill_now = self._stopping
            self._interrupted = True
        self._stopping = True
        if not self._main_is_waiting:
            self._main_is_waiting = True
            raise SystemExit(0)

    def _supervise(self) -> None:
        # Every child is started by this one thread, which outlives them: on Linux a child is bound to the thread
        # that started it. Children inherit the mask, so that Ctrl-C cannot reach one before it can ignore it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            while not self._stopping:
                with contextlib.suppress(Empty):
                    self._slots.append(_Slot(self._new.get(timeout=_TICK_S)))
                for slot in self._slots:
                    self._tend(slot)
        finally:
            self._stop_children()

    def _tend(self, slot: _Slot) -> None:
        now = time.monotonic()
        _bound(slot.child.log)
        if slot.process is None:
            if now >= slot.due and not self._stopping:
                self._spawn(slot, now)
        elif (code := slot.process.poll()) is not None:
            self._tell_watchdog("-", slot.process.pid)
            slot.process = None
            self._plan_restart(slot, now, _how(code))

    def _spawn(self, slot: _Slot, now: float) -> None:
        slot.started = now
        try:
            with _opened(slot.child.log) as output:
                slot.process = subprocess.Popen(
                    _helper("exec", str(os.getpid()), *slot.child.argv),
                    env={**os.environ, **slot.child.env},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
        except OSError as error:
            self._plan_restart(slot, now, f"could not be started ({error.strerror})")
        else:
            self._tell_watchdog("+", slot.process.pid)

    def _plan_restart(self, slot: _Slot, now: float, reason: str) -> None:
        slot.short_lives = 0 if now - slot.started >= HEALTHY_AFTER_S else slot.short_lives + 1
        delay = backoff(slot.short_lives) if slot.short_lives else 0.0
        slot.due = now + delay
        if not self._stopping:
            _say(f"{slot.child.name} {reason}; again in {delay:g} s")

    def _stop_children(self) -> None:
        began = time.monotonic()
        self._await_children(began + (_COURTESY_S if self._interrupted else 0.0))
        self._signal_children(signal.SIGTERM)
        self._await_children(began + self._grace_s * _KILL_AT)
        for slot in self._alive():
            _say(f"{slot.child.name} did not stop; killed")
        self._signal_children(signal.SIGKILL)
        for slot in self._slots:
            if slot.process is not None:
                slot.process.wait()
                self._tell_watchdog("-", slot.process.pid)

    def _await_children(self, until: float) -> None:
        while self._alive() and time.monotonic() < until and not self._kill_now:
            time.sleep(_TICK_S / 2)

    def _alive(self) -> list[_Slot]:
        return [slot for slot in self._slots if slot.process is not None and slot.process.poll() is None]

    def _signal_children(self, number: signal.Signals) -> None:
        for slot in self._alive():
            if slot.process is not None:
                slot.process.send_signal(number)

    def _tell_watchdog(self, sign: str, pid: int) -> None:
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._watchdog.stdin.write(f"{sign}{pid}\n".encode())
            self._watchdog.stdin.flush()


def run(
    children: Sequence[Child],
    data_dir: Path,
    *,
    grace_s: float = 15.0,
    on_ready: Callable[[], None] | None = None,
) -> int:
    """Keep the children running until SIGINT, SIGTERM or SIGHUP; answers the exit code of the parent.

    `on_ready` is called once, when every child has been asked for. The code is 0 after a signal, and 1, with one
    line on standard error, when another parent has this data folder.
    """
    try:
        with Supervisor(data_dir, grace_s=grace_s) as supervisor:
            for child in children:
                supervisor.start(child)
            if on_ready is not None:
                on_ready()
            supervisor.wait()
    except AlreadyRunningError as error:
        print(f"voice: {error}", file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def _opened(log: Path | None) -> Iterator[IO[bytes] | None]:
    if log is None:
        yield None
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        yield output


def _bound(log: Path | None) -> None:
    """Put a long log aside, so that two files bound it; the child, which appends, goes on in the emptied one."""
    with contextlib.suppress(OSError):  # a full disk must not end the parent
        if log is not None and log.stat().st_size > LONGEST_LOG:
            shutil.copyfile(log, log.with_name(log.name + ".1"))
            os.truncate(log, 0)


def _say(what: str) -> None:
    with contextlib.suppress(OSError):  # where standard error leads, the disk may be full
        print(f"supervisor: {what}", file=sys.stderr, flush=True)


def _helper(*arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", _SUPERVISED, *arguments]


def _how(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
