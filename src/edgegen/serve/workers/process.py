"""A generation worker: `python -m edgegen.serve.workers.process --fd N --maker builtin --slots 1`.

It is started by `serve.workers.client` with one end of a socket pair and lives exactly as long as the other end. It loads
no web framework, no jax and no torch, and uses one thread.
"""

import argparse
import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and onnxruntime are loaded
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from edgegen.serve.workers.desk import Desk
from edgegen.serve.workers.makers import AbstractMaker, InstantMaker
from edgegen.serve.workers.messages import (
    MAX_TO_WORKER_BYTES,
    PROTOCOL,
    LineError,
    decode,
    decode_job,
    decode_release,
    decode_retarget,
    encode,
)

HEARTBEAT_S = 1.0
LOADING_S = 600.0  # a model that is not in memory by then is not coming
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Line:
    """The worker's end of the line: whole messages in, whole messages out."""

    def __init__(self, sock: socket.socket):
        self._sock = sock
        self._buffer = bytearray()
        self.sent_s = time.monotonic()

    def send(self, line: bytes) -> None:
        """Send one encoded message."""
        self._sock.sendall(line)
        self.sent_s = time.monotonic()

    def receive(self, timeout_s: float) -> list[dict]:
        """Return the messages that arrive within a time.

        **Raises** `EOFError` when the gateway is gone and `LineError` when it sends what is no message.
        """
        ready, _, _ = select.select([self._sock], [], [], timeout_s)
        if not ready:
            return []
        data = self._sock.recv(65536)
        if not data:
            raise EOFError("the gateway is gone")
        if b"\n" not in data:  # of a long line, which is put together once
            self._buffer += data
            lines, rest = [], self._buffer
        else:
            *lines, rest = bytes(self._buffer + data).split(b"\n")
            self._buffer = bytearray(rest)
        if max(map(len, [*lines, rest])) > MAX_TO_WORKER_BYTES:
            raise LineError(f"a line is longer than {MAX_TO_WORKER_BYTES} bytes")
        return [decode(line) for line in lines]


class Pulse:
    """Says `alive` from a thread of its own while a model is loaded: gigabytes take longer than silence is suffered."""

    def __init__(self, send: Callable[[bytes], None], every_s: float = HEARTBEAT_S):
        self._send, self._every_s = send, every_s

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Beat as long as the block lasts, up to `LOADING_S`; nothing else may be sent meanwhile."""
        ended = threading.Event()
        thread = threading.Thread(target=self._beat, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _beat(self, ended: threading.Event) -> None:
        until_s = time.monotonic() + LOADING_S
        with contextlib.suppress(OSError):  # the gateway is gone; whoever receives from it will notice
            while not ended.wait(self._every_s) and time.monotonic() < until_s:
                self._send(encode("alive"))


def make_maker(
    kind: str,
    folders: dict[str, str],
    slots: int = 1,
    loading: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
) -> AbstractMaker:
    """Return the maker of that name; what it needs is imported only then.

    `folders` are of models that are not built in; `slots` pictures share a pass; `loading` is around what may last.
    """
    if kind == "instant":
        return InstantMaker()
    from edgegen.serve.workers.builtin_maker import BuiltinMaker

    return BuiltinMaker(folders, slots=slots, loading=loading)


def serve(line: Line, maker: AbstractMaker, slots: int) -> None:
    """Work until the gateway says `bye` or goes away."""
    desk = Desk(maker, line.send, slots=slots)
    line.send(encode("hello", protocol=PROTOCOL, pid=os.getpid()))
    while True:
        idle_s = desk.advance()
        for message in line.receive(HEARTBEAT_S if idle_s is None else min(idle_s, HEARTBEAT_S)):
            if not obey(desk, message):
                return
        if time.monotonic() - line.sent_s >= HEARTBEAT_S:
            line.send(encode("alive"))


def obey(desk: Desk, message: dict) -> bool:
    """Do what one message says; return False when it says to end."""
    match message["type"]:
        case "start":
            desk.start(decode_job(message))
        case "retarget":
            desk.retarget(*decode_retarget(message))
        case "release":
            desk.release(decode_release(message))
        case "cancel":
            desk.cancel(message["id"])
        case "learn":
            desk.learn(message["model"], message["folder"])
        case "load":
            desk.load(message["model"], message["pad_s"])
        case "evict":
            desk.evict(message["model"])
        case "bye":
            return False
        case other:
            raise LineError(f"no message of type {other!r}")
    return True


def end_with_parent() -> None:
    """Ask Linux to end this process with its parent; elsewhere the closed line does it a moment later."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the gateway ends its workers itself
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def main(arguments: list[str] | None = None) -> int:
    """Run a worker; the exit status is 0 when the gateway ended it or went away."""
    parser = argparse.ArgumentParser(description="A generation worker of the edgegen gateway.")
    parser.add_argument("--fd", type=int, required=True, help="inherited socket to the gateway")
    parser.add_argument("--maker", choices=("builtin", "instant"), default="builtin")
    parser.add_argument("--slots", type=int, default=1, help="pictures made side by side")
    parser.add_argument("--folder", action="append", default=[], metavar="MODEL=PATH", help="a model of your own")
    given = parser.parse_args(arguments)
    folders = dict(entry.split("=", 1) for entry in given.folder)
    end_with_parent()
    with socket.socket(fileno=given.fd) as sock:
        try:
            line = Line(sock)
            serve(line, make_maker(given.maker, folders, given.slots, Pulse(line.send).beating), given.slots)
        except (EOFError, ConnectionError):
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
