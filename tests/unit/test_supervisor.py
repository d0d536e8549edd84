"""The supervisor with small real processes: restarts, stopping, orphans, the lock."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from voice.supervisor import LONGEST_BACKOFF_S, backoff

PARENT = """
import sys
from pathlib import Path
from voice import supervisor

{before}
children = [
    supervisor.Child(name=name, argv=[{python!r}, "-c", code], env={{"NAME": name}})
    for name, code in {children!r}.items()
]
sys.exit(supervisor.run(children, Path("data"), grace_s={grace}, on_ready=lambda: print("ready", flush=True)))
"""
# Every child appends its pid to a file of its name, so that a restart can be seen.
CHILD = """
import os, signal, time
with open(os.environ["NAME"], "a") as file:
    file.write(f"{os.getpid()}\\n")
"""
POLITE = CHILD + "signal.signal(signal.SIGINT, lambda *_: exit(0))\ntime.sleep(60)"
STUBBORN = (
    CHILD.replace("with open", "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwith open") + "time.sleep(60)"
)
DEADLINE_S = 20.0


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Running; a zombie, which nothing here will reap, counts as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Family:
    """A parent process in a folder of its own, and what its children wrote there."""

    def __init__(
        self,
        folder: Path,
        children: dict[str, str],
        *,
        grace: float = 5.0,
        before: str = "",
        python: str = sys.executable,
    ) -> None:
        self.folder = folder
        self.names = list(children)
        code = PARENT.format(before=before, children=children, grace=grace, python=python)
        self.parent = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def pids(self, name: str) -> list[int]:
        path = self.folder / name
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def all_pids(self) -> list[int]:
        return [pid for name in self.names for pid in self.pids(name)]

    def started(self) -> None:
        until(lambda: all(self.pids(name) for name in self.names))

    def ended(self) -> tuple[int, str]:
        """The parent's exit code and what it and its children wrote to standard error."""
        _, errors = self.parent.communicate(timeout=DEADLINE_S)
        return self.parent.returncode, errors


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Callable[..., Family]]:
    made: list[Family] = []

    def make(children: dict[str, str], **options: Any) -> Family:
        made.append(Family(tmp_path, children, **options))
        return made[-1]

    yield make
    for each in made:
        each.parent.kill()
        each.parent.communicate()
        for pid in each.all_pids():
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def test_a_killed_child_is_started_again(family: Callable[..., Family]) -> None:
    it = family({"api": POLITE, "worker": POLITE})
    it.started()
    os.kill(it.pids("worker")[0], signal.SIGKILL)
    until(lambda: len(it.pids("worker")) == 2)
    assert len(it.pids("api")) == 1
    it.parent.terminate()
    code, errors = it.ended()
    assert code == 0
    assert "worker was ended by SIGKILL; again in 0.5 s" in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_parent_alone_stops_every_child(
    family: Callable[..., Family], number: signal.Signals
) -> None:
    it = family({"api": POLITE, "worker": POLITE, "beat": POLITE})
    it.started()
    it.parent.send_signal(number)
    assert it.ended() == (0, "")
    assert not any(alive(pid) for pid in it.all_pids())


def test_ctrl_c_to_the_whole_group_is_quiet(family: Callable[..., Family]) -> None:
    # The second child has no handler of its own, as any child has not while it is still importing.
    it = family({"api": POLITE, "worker": CHILD + "time.sleep(60)"})
    it.started()
    os.killpg(it.parent.pid, signal.SIGINT)
    assert it.ended() == (0, "")
    assert not any(alive(pid) for pid in it.all_pids())


def test_a_child_that_ignores_sigterm_is_killed_within_the_grace(family: Callable[..., Family]) -> None:
    it = family({"worker": STUBBORN}, grace=1.0)
    it.started()
    it.parent.terminate()
    code, errors = it.ended()
    assert code == 0
    assert "worker did not stop; killed" in errors
    assert not alive(it.pids("worker")[0])


def test_a_second_ctrl_c_kills_at_once(family: Callable[..., Family]) -> None:
    it = family({"worker": STUBBORN}, grace=600.0)
    it.started()
    it.parent.send_signal(signal.SIGINT)
    time.sleep(0.3)
    it.parent.send_signal(signal.SIGINT)
    code, errors = it.ended()
    assert code == 0
    assert "Traceback" not in errors
    assert not alive(it.pids("worker")[0])


@pytest.mark.parametrize("before", ["", "supervisor._KERNEL_BINDS = False"], ids=["kernel", "watchdog"])
def test_no_child_outlives_a_killed_parent(family: Callable[..., Family], before: str) -> None:
    it = family({"api": POLITE, "worker": STUBBORN}, before=before)
    it.started()
    it.parent.kill()
    it.parent.wait()
    until(lambda: not any(alive(pid) for pid in it.all_pids()))


def test_the_watchdog_ends_with_its_parent_and_is_quiet(family: Callable[..., Family]) -> None:
    it = family({"api": POLITE}, before="supervisor._KERNEL_BINDS = False")
    it.started()
    os.killpg(it.parent.pid, signal.SIGINT)
    assert it.ended() == (0, "")


def test_children_stay_in_the_parents_session_under_their_own_name(family: Callable[..., Family]) -> None:
    it = family({"api": POLITE})
    it.started()
    pid = it.pids("api")[0]
    assert os.getsid(pid) == it.parent.pid
    assert os.getpgid(pid) == it.parent.pid
    assert Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:2] == [sys.executable.encode(), b"-c"]


def test_a_second_parent_is_refused_and_names_the_first(family: Callable[..., Family]) -> None:
    first = family({"api": POLITE})
    first.started()
    code, errors = family({"other": POLITE}).ended()
    assert code == 1
    assert errors == f"voice: already running in data, pid {first.parent.pid}\n"
    assert not (first.folder / "other").exists()
    first.parent.terminate()
    first.ended()
    third = family({"api": POLITE})
    until(lambda: len(third.pids("api")) == 2)


def test_a_command_that_does_not_exist_is_tried_again(family: Callable[..., Family]) -> None:
    it = family({"api": ""}, python="no-such-command")
    assert it.parent.stderr is not None
    assert it.parent.stderr.readline() == "cannot run no-such-command: No such file or directory\n"
    assert it.parent.stderr.readline() == "supervisor: api ended with exit code 127; again in 0.5 s\n"
    it.parent.terminate()
    assert it.ended()[0] == 0


def test_a_child_can_be_added_later_and_a_signal_interrupts_the_caller(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from voice.supervisor import Child, Supervisor

with Supervisor(Path("data"), grace_s=5) as supervisor:
    for name in ("api", "beat"):
        supervisor.start(Child(name=name, argv=[sys.executable, "-c", {POLITE!r}], env={{"NAME": name}}))
        while not Path(name).exists():
            time.sleep(0.02)
    print("ready", flush=True)
    time.sleep(60)
    print("not reached", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        parent.terminate()
        assert parent.stdout.read() == ""
        assert parent.wait(DEADLINE_S) == 0
    assert not any(alive(int((tmp_path / name).read_text())) for name in ("api", "beat"))


def test_backoff_grows_and_is_bounded() -> None:
    delays = [backoff(n) for n in range(1, 2000)]
    assert delays[:6] == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0]
    assert delays == sorted(delays)
    assert max(delays) == LONGEST_BACKOFF_S
