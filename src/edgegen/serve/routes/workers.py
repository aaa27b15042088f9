"""`/v1/workers`: machines that join by themselves, and `POST /v1/workers/tokens` for the tokens that they join with.

The connection proves itself by its first message, not by the key of a user: a token that works once, or the secret that
the machine was given then. Neither stands in an address or a header, where it would end in somebody's log.
"""

import asyncio
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, StringConstraints

from edgegen.core.errors import InputError, UnknownNameError
from edgegen.serve.assembly import Gateway
from edgegen.serve.wire import STRICT
from edgegen.serve.workers.entrance import TOKEN_S
from edgegen.serve.workers.letters import read_frame
from edgegen.serve.workers.messages import PROTOCOL, LineError
from edgegen.serve.workers.pull import PullWorker

log = structlog.get_logger(__name__)

GREETING_S = 10.0
REFUSAL_S = 0.5  # a wrong secret waits for its answer, so that nobody tries many
MAX_GREETING = 32  # connections that have not proved themselves yet
MAX_GREETING_CHARACTERS = 4096
REFUSED, BROKEN, FULL, GONE = 4401, 4400, 1013, 1012  # close codes; 4401 means: do not come back with this


class TokenBody(BaseModel):
    """Which node the machine is going to be."""

    model_config = STRICT

    node: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Token(BaseModel):
    """What a machine joins with, once."""

    node: str
    token: str
    expires_s: float


def router(gateway: Gateway) -> APIRouter:
    """Return the routes of workers."""
    routes = APIRouter(tags=["workers"])
    greeting = asyncio.Semaphore(MAX_GREETING)

    @routes.post("/v1/workers/tokens")
    async def token(body: TokenBody) -> Token:
        """Return a token with which one machine can join as a node whose worker is of the kind `pull`."""
        _puller(gateway, body.node)
        return Token(node=body.node, token=gateway.entrance.issue(body.node), expires_s=TOKEN_S)

    @routes.websocket("/v1/workers")
    async def join(socket: WebSocket) -> None:
        await socket.accept()
        if greeting.locked():
            await socket.close(FULL, "too many join at this moment")
            return
        async with greeting:
            admitted = await _greeted(gateway, socket)
        if admitted is not None:
            await _attend(socket, *admitted)

    return routes


def _puller(gateway: Gateway, node: str) -> PullWorker:
    workers = gateway.runtime.roads.workers
    pulled = [name for name, worker in workers.items() if isinstance(worker, PullWorker)]
    if node not in workers:
        raise UnknownNameError("node", node, pulled, param="node")
    worker = workers[node]
    if not isinstance(worker, PullWorker):
        raise InputError(
            f"machines join as nodes whose worker is of the kind 'pull'; {node!r} is none. "
            f"Nodes that are: {', '.join(pulled) or 'none'}",
            param="node",
        )
    return worker


async def _greeted(gateway: Gateway, socket: WebSocket) -> tuple[PullWorker, dict[str, Any], str | None] | None:
    """Return the worker that a connection proved to be, its greeting, and the secret it is told; or refuse it."""
    try:
        async with asyncio.timeout(GREETING_S):
            text = await socket.receive_text()
        if len(text) > MAX_GREETING_CHARACTERS:
            raise LineError("a greeting is short")
        hello = read_frame(text)
    except (TimeoutError, LineError, WebSocketDisconnect, KeyError):
        await _close(socket, BROKEN, "expected a greeting")
        return None
    if hello.get("protocol") != PROTOCOL:
        await _close(socket, REFUSED, f"the gateway speaks protocol {PROTOCOL}; install the same version of edgegen")
        return None
    node, secret = _proved(gateway, hello)
    if node is None:
        log.warning("a worker was refused", client=socket.client.host if socket.client else None)
        await asyncio.sleep(REFUSAL_S)
        await _close(socket, REFUSED, "the token or secret is not valid (any more); ask for a new token")
        return None
    try:
        return _puller(gateway, node), hello, secret
    except (InputError, UnknownNameError):
        await _close(socket, REFUSED, "the node takes no machines that join")
        return None


def _proved(gateway: Gateway, hello: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return the node and, for a machine that is new, its secret."""
    token, node, secret = (str(hello.get(name, "")) for name in ("token", "node", "secret"))
    if token:
        return gateway.entrance.redeem(token) or (None, None)
    return (node, None) if gateway.entrance.recognises(node, secret) else (None, None)


async def _attend(socket: WebSocket, worker: PullWorker, hello: dict[str, Any], secret: str | None) -> None:
    try:
        await worker.attend(_Wire(socket), hello, secret)
        await _close(socket, GONE, "another connection took over, or the gateway is closing")
    except ConnectionError:
        await _close(socket, GONE, "the connection broke")
    except LineError as error:
        log.warning("a worker sent what is no message", node=worker.node, error=str(error))
        await _close(socket, BROKEN, "that was no message")


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    try:
        await socket.close(code, reason)
    except (RuntimeError, WebSocketDisconnect):
        return  # it is closed already


class _Wire:
    """A connection as `exchange` wants it."""

    def __init__(self, socket: WebSocket):
        self._socket = socket

    async def send(self, text: str) -> None:
        """Send a frame."""
        try:
            await self._socket.send_text(text)
        except (WebSocketDisconnect, RuntimeError) as error:
            raise ConnectionError("the connection is closed") from error

    async def receive(self) -> str:
        """Wait for a frame."""
        try:
            return await self._socket.receive_text()
        except (WebSocketDisconnect, RuntimeError, KeyError) as error:
            raise ConnectionError("the connection is closed") from error
