"""The processes beside the supervisor, run by path and not imported: standard library only, started with `-I -S`.

supervised.py exec PARENT COMMAND…   become COMMAND, bound to the life of PARENT
supervised.py watch                  kill every process named on stdin once stdin ends
"""

import contextlib
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal this process gets when the thread that started it ends; it survives exec."""


def _die_with(parent: int) -> None:
    """Linux only: be killed when the parent ends, however it ends."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit("the supervisor ended before its child began")


def _exec(parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        _die_with(parent)
    # Ctrl-C reaches the whole foreground group. Until the command has its own handler it must not answer with a
    # traceback; the supervisor's SIGTERM ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


def _watch() -> None:
    """Lines `+PID` and `-PID` on stdin; when it ends the supervisor has ended, and so must what is left."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    alive: set[int] = set()
    for line in sys.stdin:
        (alive.add if line[0] == "+" else alive.discard)(int(line[1:]))
    for pid in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    if sys.argv[1] == "exec":
        _exec(int(sys.argv[2]), sys.argv[3:])
    else:
        _watch()
