"""What runs inside of a replica of somebody else's serving system: the desk of a worker process, in a thread of its own.

The system's event loop hands messages over and gets messages back, so a replica obeys and tells just as a process does.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from edgegen.serve.workers.desk import Desk
from edgegen.serve.workers.messages import decode, encode, load_id
from edgegen.serve.workers.process import make_maker, obey

_ENDS = ("finished", "failed", "released")


class Studio:
    """Makes pictures with one maker. It has its models in memory before it takes the first order."""

    def __init__(self, maker: str, folders: Mapping[str, str], slots: int, models: Sequence[str] = ()):
        made = make_maker(maker, dict(folders))
        for model in models:
            made.load(model)
        self._desk = Desk(made, self._hear, slots=slots)
        self._orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._listening: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Queue[tuple[bytes, bool]]]] = {}
        self._thread = threading.Thread(target=self._work, name="studio", daemon=True)
        self._thread.start()

    async def make(self, order: bytes) -> AsyncIterator[bytes]:
        """Obey a `start` message, and tell what a process would tell about it. Whoever stops listening stops the work."""
        message = decode(order)
        identifier = str(message["job"]["id"])
        told: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()
        self._listening[identifier] = (asyncio.get_running_loop(), told)
        self._orders.put(message)
        ended = False
        try:
            while not ended:
                line, ended = await told.get()
                yield line
        finally:
            self._listening.pop(identifier, None)
            if not ended:
                self._orders.put(decode(encode("cancel", id=identifier)))

    def close(self) -> None:
        """End the thread."""
        self._orders.put(decode(encode("bye")))
        self._thread.join()

    def _work(self) -> None:
        while True:
            idle_s = self._desk.advance()
            try:
                order = self._orders.get(timeout=idle_s) if idle_s != 0 else self._orders.get_nowait()
            except queue.Empty:
                continue
            if not obey(self._desk, order):
                return

    def _hear(self, line: bytes) -> None:
        """Pass on what the desk says; called in its thread."""
        message = decode(line)
        identifier = message.get("id", load_id(message.get("model", "")))
        if (listener := self._listening.get(identifier)) is not None:
            loop, told = listener
            loop.call_soon_threadsafe(told.put_nowait, (line, message["type"] in _ENDS))
