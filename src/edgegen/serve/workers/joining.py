"""A machine joins a gateway as a node's worker, over one connection that it opens itself, and comes back when that breaks."""

import asyncio
import contextlib
import json
import os
import random
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import websockets
from websockets.asyncio.client import ClientConnection, connect

from edgegen.core.errors import ConfigError, InputError, WorkerError
from edgegen.serve.workers.entrance import write_private
from edgegen.serve.workers.letters import MAX_FRAME_BYTES, Letters, exchange, read_frame
from edgegen.serve.workers.messages import PROTOCOL, LineError, encode
from edgegen.serve.workers.station import Station

log = structlog.get_logger(__name__)

FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.2, 15.0
WELCOME_S = 15.0
PING_S = 5.0
GOODBYE_S = 2.0
REFUSED = 4401
_SUPPLIES = Path("/sys/class/power_supply")  # Linux; elsewhere a machine says nothing of its battery
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Pass:
    """What a machine shows at the gateway: a token once, then the secret that it keeps in a file of mode 0600."""

    def __init__(self, path: Path, token: str | None):
        self._path, self._token = path, token
        self._kept = self._read()
        if not token and not self._kept:
            raise InputError(
                "a machine that was never here needs a token: `edgegen worker token NODE` on the gateway's side gives one, "
                "for --key-env or --key-file",
                param="key",
            )

    def shown(self) -> dict[str, str]:
        """Return what to show now: a token first, since it may be for another node than before."""
        return {"token": self._token} if self._token else dict(self._kept)

    def refused(self) -> bool:
        """Hear that what was shown is not valid, and tell whether there is something else to show."""
        used, self._token = self._token, None
        return used is not None and bool(self._kept)  # a token that was used at an earlier start

    def welcomed(self, node: str, secret: str | None) -> None:
        """Keep the secret that came with a token."""
        if secret:
            self._kept, self._token = {"node": node, "secret": secret}, None
            write_private(self._path, self._kept)

    def _read(self) -> dict[str, str]:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            return {"node": str(kept["node"]), "secret": str(kept["secret"])}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self._path} holds no worker's secret: {error}; remove it and join with a token"
            ) from None


class Member:
    """One machine's membership. `on_joined(node, resumed)` is called with every connection that holds."""

    def __init__(
        self,
        address: str,
        credentials: Pass,
        make_station: Callable[[Callable[[bytes], None]], Station],
        *,
        on_joined: Callable[[str, bool], None] = lambda node, resumed: None,
    ):
        self._address, self._pass, self._on_joined = address, credentials, on_joined
        self._letters, self._session = Letters(), ""
        self._station = make_station(self._post)
        self._over = False  # the session cannot go on: too much was never acknowledged

    async def run(self) -> None:
        """Work for the gateway until this is cancelled. **Raises** `WorkerError` when the gateway refuses the machine."""
        working = asyncio.create_task(self._station.run())
        joining = asyncio.create_task(self._join_for_ever())
        try:
            done, _ = await asyncio.wait({working, joining}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (joining, working):
                task.cancel()
            await asyncio.gather(joining, working, return_exceptions=True)

    def _post(self, line: bytes) -> None:
        try:
            self._letters.post(line)
        except LineError as error:
            if not self._over:
                log.warning("the gateway has not listened for too long", error=str(error))
            self._over = True

    async def _join_for_ever(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                async with connect(
                    self._address,
                    max_size=MAX_FRAME_BYTES,
                    ping_interval=PING_S,
                    ping_timeout=2 * PING_S,
                    close_timeout=1.0,
                    user_agent_header=None,
                ) as socket:
                    held = await self._attend(socket)
            except (OSError, TimeoutError, LineError, websockets.WebSocketException) as error:
                held = False
                log.warning("no connection to the gateway", error=f"{type(error).__name__}: {error}")
            backoff_s = FIRST_BACKOFF_S if held else min(2 * backoff_s, LAST_BACKOFF_S)
            await asyncio.sleep(backoff_s * random.uniform(0.7, 1.3))

    async def _attend(self, socket: ClientConnection) -> bool:
        """Work over one connection until it breaks; tell whether it ever held."""
        wire, session = _Wire(socket), "" if self._over else self._session
        greeting = {"protocol": PROTOCOL, "session": session, "heard": self._letters.heard, **self._pass.shown()}
        held = False
        try:
            await socket.send(json.dumps(greeting))
            async with asyncio.timeout(WELCOME_S):
                welcome = read_frame(await wire.receive())
            node, resumed, has = str(welcome["node"]), bool(welcome["resumed"]), int(welcome["heard"])
            self._pass.welcomed(node, welcome.get("secret"))
            if not resumed:
                await self._begin_anew(str(welcome["session"]))
            held = True
            log.info("joined", node=node, resumed=resumed)
            self._on_joined(node, resumed)
            await exchange(
                self._letters,
                wire,
                self._station.deliver,
                has=has,
                beat=lambda: self._vitals(socket),
                on_beat=lambda beat: None,
            )
        except asyncio.CancelledError:
            await _leave(socket, self._letters)
            raise
        except (ConnectionError, KeyError, TypeError, ValueError) as error:
            if socket.close_code == REFUSED:
                if self._pass.refused():
                    return True
                raise WorkerError(f"the gateway refuses this machine: {socket.close_reason}") from None
            log.warning("the connection to the gateway broke", error=str(error))
        return held

    async def _begin_anew(self, session: str) -> None:
        """Forget the gateway's old orders: it has given them to others."""
        if self._session:
            await self._station.fresh()
        self._letters, self._session, self._over = Letters(), session, False

    def _vitals(self, socket: ClientConnection) -> dict[str, Any]:
        if self._over:
            raise ConnectionError("what could not be told ends the session")
        told = {
            "queue": len(self._station.jobs),
            "loaded": sorted(self._station.loaded),
            "battery": battery(),
            "rtt_s": socket.latency or None,  # zero until the first ping is back
            "uplink_bps": self._letters.uplink_bps,
        }
        return {name: value for name, value in told.items() if value is not None}


async def _leave(socket: ClientConnection, letters: Letters) -> None:
    """Say goodbye, so that the gateway need not wait for a return."""
    with contextlib.suppress(websockets.WebSocketException, TimeoutError, LineError):
        letters.post(encode("bye"))
        async with asyncio.timeout(GOODBYE_S):
            for number, text in letters.after(0):
                await socket.send(letters.frame(number, text))


def socket_address(url: str, *, insecure: bool) -> str:
    """Return where to connect to for the address of a gateway. **Raises** `InputError`."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            f"expected the address of a gateway such as 'https://gateway.example', got {url!r}", param="url"
        )
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not insecure:
        raise InputError(
            f"{url} would carry secrets and pictures in the open; use https, or say --insecure if the way is safe",
            param="url",
        )
    scheme = {"http": "ws", "https": "wss"}[parts.scheme]
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}/v1/workers"


def battery(supplies: Path = _SUPPLIES) -> float | None:
    """Return how full the battery is, from 0 to 1, or None without one."""
    for supply in sorted(supplies.glob("*")):
        with contextlib.suppress(OSError, ValueError):
            if (supply / "type").read_text().strip() == "Battery":
                return min(1.0, max(0.0, float((supply / "capacity").read_text()) / 100))
    return None


def secret_file(url: str, environment: os._Environ | dict[str, str] = os.environ) -> Path:
    """Return where a machine keeps its secret for a gateway unless it is told another place."""
    parts = urllib.parse.urlsplit(url)
    state = environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "edgegen" / f"worker-{parts.hostname}-{parts.port or parts.scheme}.json"


class _Wire:
    """A connection as `exchange` wants it."""

    def __init__(self, socket: ClientConnection):
        self._socket = socket

    async def send(self, text: str) -> None:
        """Send a frame."""
        try:
            await self._socket.send(text)
        except websockets.ConnectionClosed as error:
            raise ConnectionError(str(error)) from error

    async def receive(self) -> str:
        """Wait for a frame."""
        try:
            text = await self._socket.recv()
        except websockets.ConnectionClosed as error:
            raise ConnectionError(str(error)) from error
        return text if isinstance(text, str) else text.decode()
