"""The gateway's end of the line to a worker: whole messages in, whole messages out, and the moment of its end."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from edgegen.serve.workers.messages import MAX_TO_GATEWAY_BYTES, LineError, decode

ENDED = "the worker process ended"
OnMessage = Callable[[dict[str, Any]], None]


class Line(asyncio.Protocol):
    """Calls `on_message` with every message; `ended` resolves to the reason why there will be no more."""

    def __init__(self, on_message: OnMessage):
        self._on_message = on_message
        self._parts: list[bytes] = []  # of the line that is not complete yet
        self._size = 0
        self._transport: asyncio.WriteTransport | None = None
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.heard_s = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard_s = time.monotonic()
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = b"".join([*self._parts, lines[0]])
            self._parts, self._size = [], 0
        self._parts.append(rest)
        self._size += len(rest)
        try:
            if self._size > MAX_TO_GATEWAY_BYTES:
                raise LineError(f"a line is longer than {MAX_TO_GATEWAY_BYTES} bytes")
            for line in lines:
                self._on_message(decode(line))
        except LineError as error:
            self.end(f"the worker sent what is no message: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.end(ENDED)

    def send(self, line: bytes) -> None:
        """Send an encoded message; after the end it goes nowhere."""
        if self._transport is not None:
            self._transport.write(line)

    def end(self, reason: str) -> None:
        """Close the line; the first reason counts."""
        if not self.ended.done():
            self.ended.set_result(reason)
        if self._transport is not None:
            self._transport.close()
            self._transport = None
