"""A node whose machine comes by itself, over one connection that it opens: a laptop, a phone, a computer behind NAT.

The node is absent until its machine joins. A link that breaks may come back within a grace time: its jobs go on meanwhile,
and what either end said is sent again (`serve.workers.letters`). After that the machine counts as lost.
"""

import asyncio
import base64
import math
import secrets
import time
from collections.abc import Callable
from typing import Any

import structlog

from edgegen.serve.workers.errands import AbstractSpokenWorker
from edgegen.serve.workers.letters import Letters, Wire, exchange
from edgegen.serve.workers.messages import MAX_STEPS, PROTOCOL, LineError, encode
from edgegen.serve.workers.protocol import WorkerGoneError

log = structlog.get_logger(__name__)

_NAMES = 64


class _Session:
    """One life of a machine at this node, over as many connections as it takes."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)
        self.letters = Letters()
        self.carrier: asyncio.Task[None] | None = None  # of the connection that it has now
        self.connections = 0


class PullWorker(AbstractSpokenWorker):
    """The gateway's end; `attend` is called with every connection whose machine was recognised."""

    def __init__(self, node: str, *, grace_s: float = 20.0):
        super().__init__(node)
        self._grace_s = grace_s
        self._session: _Session | None = None
        self._open = False
        self._vitals: dict[str, Any] = {}

    async def open(self, *, on_lost: Callable[[str], None], on_joined: Callable[[], None]) -> None:
        self._on_lost, self._on_joined, self._open = on_lost, on_joined, True

    async def close(self) -> None:
        self._open = False
        session, self._session = self._session, None
        self._errands.lose("the gateway is closing")
        if session is not None and session.carrier is not None:
            session.carrier.cancel()
            await asyncio.wait({session.carrier})

    @property
    def alive(self) -> bool:
        return self._session is not None

    def told(self) -> dict[str, Any]:
        session = self._session
        if session is None:
            return {}
        return {**self._vitals, "connected": session.carrier is not None, "connections": session.connections}

    async def attend(self, wire: Wire, greeting: dict[str, Any], secret: str | None) -> None:
        """Carry the conversation over a connection until that breaks. `secret` is told to a machine that is new.

        **Raises** `ConnectionError` when the connection breaks, `LineError` when the machine sends what is no message.
        """
        if not self._open:
            raise ConnectionError("the gateway is closing")
        session, resumed, has = self._admitted(greeting)
        session.connections += 1
        if session.carrier is not None:  # the machine knows before we do that its old connection is broken
            session.carrier.cancel()
        carrier = session.carrier = asyncio.ensure_future(self._carry(session, wire, has, resumed, secret))
        try:
            await asyncio.wait({carrier})
            if not carrier.cancelled():
                carrier.result()
        except LineError as error:
            self._end(session, f"it sent what is no message: {error}")
            raise
        finally:
            carrier.cancel()
            if session.carrier is carrier and self._session is session:
                session.carrier = None
                log.info("a worker's link is broken", node=self.node, grace_s=self._grace_s)
                count = session.connections
                asyncio.get_running_loop().call_later(self._grace_s, self._expire, session, count)

    def _admitted(self, greeting: dict[str, Any]) -> tuple[_Session, bool, int]:
        """Return the session of a greeting, whether it goes on, and the last number that its machine has."""
        session, has = self._session, greeting.get("heard", 0)
        if session is not None and greeting.get("session") == session.id:
            if type(has) is not int or not 0 <= has <= session.letters.posted:
                raise LineError(f"expected to be heard up to {session.letters.posted}, got {has!r}")
            return session, True, has
        if session is not None:
            self._end(session, "its machine began anew")
        self._session, self._vitals = _Session(), {}
        return self._session, False, 0

    async def _carry(self, session: _Session, wire: Wire, has: int, resumed: bool, secret: str | None) -> None:
        letters = session.letters
        welcome = {"node": self.node, "session": session.id, "resumed": resumed, "heard": letters.heard}
        if secret is not None:
            welcome["secret"] = secret
        await wire.send(encode("welcome", protocol=PROTOCOL, **welcome).decode())
        if not resumed:
            log.info("a worker joined", node=self.node)
            self._on_joined()

        def on_message(message: dict[str, Any]) -> None:
            if message["type"] == "bye":
                self._end(session, "its machine left")
                raise ConnectionError("its machine left")
            self._errands.hear(_checked(message))

        def on_beat(beat: dict[str, Any]) -> None:
            self._vitals = {**_vitals(beat), "heard": time.time()}

        await exchange(letters, wire, on_message, has=has, beat=dict, on_beat=on_beat)

    def _send(self, message: bytes) -> None:
        if self._session is None:
            raise WorkerGoneError(f"no machine has joined as node {self.node!r}")
        try:
            self._session.letters.post(message)
        except LineError as error:
            self._end(self._session, str(error))
            raise WorkerGoneError(f"the machine of node {self.node!r} does not listen") from None

    def _expire(self, session: _Session, connections: int) -> None:
        if session.connections == connections:
            self._end(session, f"its link was broken for {self._grace_s:g} s")

    def _end(self, session: _Session, reason: str) -> None:
        if self._session is not session:
            return
        self._session = None
        if session.carrier is not None:
            session.carrier.cancel()
        log.warning("worker lost", node=self.node, reason=reason)
        self._errands.lose(reason)
        self._on_lost(reason)


def _checked(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose fields are what their names say; a machine elsewhere may send anything."""
    if message["type"] not in _KINDS:
        raise LineError(f"no message of type {message['type'][:_NAMES]!r}")
    for name, value in message.items():
        if name not in _FIELDS or not _FIELDS[name](value):
            raise LineError(f"a {message['type']} whose {name[:_NAMES]!r} is not what it should be")
    return message


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < math.inf


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_STEPS


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_nothing(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_png(value: Any) -> bool:
    try:
        return base64.b64decode(value, validate=True).startswith(b"\x89PNG\r\n\x1a\n")
    except (TypeError, ValueError):
        return False


_KINDS = ("progress", "finished", "failed", "released", "loaded")
_FIELDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("type", "id", "model", "reason"), _is_text),
    **dict.fromkeys(("step", "steps"), _is_count),
    **dict.fromkeys(("seconds", "queue_s", "load_s", "generate_s", "compute_s", "behind_s"), _is_time),
    "retry": lambda value: isinstance(value, bool),
    "png_b64": _is_png,
    "preview_b64": lambda value: value is None or _is_png(value),
    "checkpoint_b64": _is_text_or_nothing,
}


def _vitals(beat: dict[str, Any]) -> dict[str, Any]:
    """Return what a machine says about itself, in bounds."""
    told: dict[str, Any] = {}
    for name in ("queue", "battery", "rtt_s", "uplink_bps"):
        value = beat.get(name)
        if isinstance(value, int | float) and 0 <= value < 1e15:
            told[name] = value
    loaded = beat.get("loaded")
    if isinstance(loaded, list):
        told["loaded"] = [name for name in loaded[:_NAMES] if isinstance(name, str) and len(name) <= _NAMES]
    return told
