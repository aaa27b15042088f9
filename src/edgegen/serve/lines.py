"""Connections that are kept within bounds: how many, how long their heads may be, and how long they may take.

uvicorn bounds neither the size of a request's head nor the time until it is complete; a client that opens connections and
says nothing, or says it byte by byte, would hold them for ever. This wraps its protocol and looks at what passes.
"""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_CONNECTIONS = 1000
HEAD_S = 10.0  # until a request's head is complete, from the connection or from its first byte
MAX_HEAD_BYTES = 32 * 1024
READ_S, LEAST_BYTES_PER_S = 30.0, 1024.0  # a client that reads less than this for so long is given up


class Connection(asyncio.Protocol):
    """One connection: uvicorn's protocol behind bounds."""

    def __init__(self, *given: Any, **named: Any):
        self._inner = HttpToolsProtocol(*given, **named)
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._seen: Any = None  # the request whose head was complete last
        self._head_bytes = 0
        self._reader: asyncio.TimerHandle | None = None
        self._unread_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if len(self._inner.connections) >= MAX_CONNECTIONS:
            _refuse(transport, b"503 Service Unavailable", "too many connections are open", b"retry-after: 1\r\n")
            return
        self._inner.connection_made(transport)  # type: ignore[arg-type]
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        cycle = self._inner.cycle
        idle = cycle is None or cycle.response_complete
        if idle:
            self._head_bytes += len(data)
            if self._timer is None:
                self._wait()
        self._inner.data_received(data)
        if self._inner.cycle is not self._seen or self._transport.get_protocol() is not self:  # a head is complete
            self._seen, self._head_bytes = self._inner.cycle, 0
            self._rest()
        elif idle and self._head_bytes > MAX_HEAD_BYTES:
            text = f"the head of a request may have up to {MAX_HEAD_BYTES} bytes"
            _refuse(self._transport, b"431 Request Header Fields Too Large", text)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        self._unwatch()
        if self._inner.transport is not None:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on that the client reads slowly, and look whether it reads at all."""
        self._inner.pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Pass on that the client reads again."""
        self._unwatch()
        self._inner.resume_writing()

    def _watch(self) -> None:
        self._unread_bytes = self._transport.get_write_buffer_size()
        self._reader = asyncio.get_running_loop().call_later(READ_S, self._look)

    def _unwatch(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def _look(self) -> None:
        """Give up a client that has not read enough; what is written waits in memory for it."""
        if self._unread_bytes - self._transport.get_write_buffer_size() < READ_S * LEAST_BYTES_PER_S:
            self._transport.abort()
        else:
            self._watch()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(HEAD_S, self._late)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        _refuse(self._transport, b"408 Request Timeout", f"the head of a request has to be here within {HEAD_S:g} s")


def _refuse(transport: Any, status: bytes, message: str, headers: bytes = b"") -> None:
    """Answer what never became a request, in the one shape, and close."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": "bad_connection"}
    body = json.dumps({"error": error}).encode()
    head = b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-type: application/json\r\n" + headers
    transport.write(head + b"content-length: " + str(len(body)).encode() + b"\r\n\r\n" + body)
    transport.close()
