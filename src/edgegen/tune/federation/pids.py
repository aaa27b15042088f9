"""Processes of a run: which are alive, which belong to it, and how they end."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgegen.tune.federation.packing import MARK


def is_alive(pid: int) -> bool:
    """Return whether a process is there and is more than an entry that nobody has read yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return not Path("/proc/self").exists()


def marked(mark: str) -> list[int]:
    """Return the processes that carry this run's mark. Where there is no /proc, those of Flower end with their parents."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            pid = int(path.parent.name)
            if wanted in path.read_bytes().split(b"\0") and is_alive(pid):
                found.append(pid)
        except OSError:
            continue
    return found


def kill(pid: int) -> None:
    """End a process at once, if it is there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end this process like Ctrl-C does, with its contexts left in order."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def end(number, frame) -> None:
        del number, frame
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
