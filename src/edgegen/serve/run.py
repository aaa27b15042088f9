"""Start a whole gateway: workers, dispatcher, HTTP server; and end all of it again."""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import signal
import socket
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import structlog
import uvicorn

from edgegen.config import Config
from edgegen.core.errors import ConfigError
from edgegen.dispatch.fleet import Fleet
from edgegen.observe.logs import set_up
from edgegen.observe.tracing import otel_tracer
from edgegen.serve.assembly import Gateway
from edgegen.serve.auth import check_binding
from edgegen.serve.compose import Maker, compose, keys_of
from edgegen.serve.gateway import build_app
from edgegen.serve.lines import Connection
from edgegen.serve.runtime import Runtime
from edgegen.serve.storage.place import Storage
from edgegen.serve.workers.letters import MAX_FRAME_BYTES

log = structlog.get_logger(__name__)

GRACE_S = 20.0  # for pictures that are under way when the gateway is told to end
HTTP_GRACE_S = 5  # for connections after that
_BACKLOG = 1024


@dataclasses.dataclass(frozen=True)
class Tls:
    """What HTTPS is served with: files in PEM."""

    certificate: str
    key: str

    def check(self) -> None:
        """Read both, before anybody is served. **Raises** `ConfigError`."""
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"cannot serve with the certificate {self.certificate} and the key {self.key}: "
                f"{error.strerror or error}; expected two files in PEM that belong together"
            ) from None


@dataclasses.dataclass(frozen=True)
class Live:
    """A gateway that serves."""

    url: str
    gateway: Gateway

    @property
    def runtime(self) -> Runtime:
        """The loop around its dispatcher."""
        return self.gateway.runtime


@contextlib.asynccontextmanager
async def serving(
    make: Callable[[], Gateway],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    grace_s: float = 0.0,
    tls: Tls | None = None,
    insecure: bool = False,
) -> AsyncIterator[Live]:
    """Make a gateway, open its workers and serve until the block ends; port 0 takes a free one.

    **Raises** `ConfigError` when other machines could come in without a key, and it is not `insecure`.

    The address comes first: who cannot have it leaves the journal of whoever has it alone.
    """
    if not structlog.is_configured():  # as a library: say only what somebody should look at, and on the error stream
        set_up("warning")
    if tls is not None:
        tls.check()
    sock, gateway = _bind(host, port), None
    try:
        gateway = make()
        await gateway.open()
        check_binding(host, gateway.keys, insecure=insecure)
        settings = uvicorn.Config(
            build_app(gateway),
            http=Connection,
            ws="websockets-sansio",  # older versions of uvicorn take one by themselves that websockets deprecates
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws_max_size=MAX_FRAME_BYTES,
            timeout_graceful_shutdown=HTTP_GRACE_S,
        )
        server = uvicorn.Server(settings)
        # uvicorn would raise the signal again after its own end and so interrupt ours; `until_signal` listens instead.
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
        task = asyncio.create_task(server.serve(sockets=[sock]), name="http")
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        try:
            yield Live(_url(sock, "https" if tls else "http"), gateway)
        finally:
            await gateway.drain(grace_s)
            server.should_exit = True
            await task
    finally:
        if gateway is not None:
            await gateway.close()
        sock.close()


async def until_signal() -> str:
    """Wait for Ctrl-C or a request to end; return its name. A second Ctrl-C ends at once."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    names: list[str] = []

    def tell(number: signal.Signals) -> None:
        names.append(number.name)
        told.set()
        loop.remove_signal_handler(number)  # the next one has its usual effect

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, tell, number)
    await told.wait()
    return names[0]


def run_gateway(
    config: Config,
    fleet: Fleet,
    *,
    policy: str | None = None,
    journal: str | None = None,
    maker: Maker = "builtin",
    host: str | None = None,
    port: int | None = None,
    tls: Tls | None = None,
    traces: str | None = None,
    insecure: bool = False,
    storage: Storage | None = None,
    on_ready: Callable[[Live], None] = lambda live: None,
) -> None:
    """Serve until Ctrl-C; what is None is as the configuration says. `on_ready` is called once it serves.

    Without a `storage` there are no jobs and only the configured keys. `traces` is where an OpenTelemetry collector
    listens.

    **Raises** `ConfigError` when the address is taken, or open to other machines without a key.
    """
    keys, host, settings = keys_of(config), host or config.gateway.host, config.gateway
    if storage is None:
        check_binding(host, keys, insecure=insecure)
    if tls is None and settings.tls_cert:
        tls = Tls(settings.tls_cert, settings.tls_key)
    traces = settings.traces if traces is None else traces

    def make() -> Gateway:
        return compose(
            config,
            fleet,
            policy=policy,
            journal=journal,
            maker=maker,
            keys=keys,
            storage=storage,
            tracer=otel_tracer(traces) if traces else None,
        )

    async def main() -> None:
        at = settings.port if port is None else port
        async with serving(make, host=host, port=at, grace_s=GRACE_S, tls=tls, insecure=insecure) as live:
            on_ready(live)
            log.info("ending", signal=await until_signal())

    _run(main())


@contextlib.contextmanager
def in_thread(make: Callable[[], Gateway], *, tls: Tls | None = None) -> Iterator[Live]:
    """Serve from a thread of its own, for callers without an event loop (tests, the demo)."""
    ready: concurrent.futures.Future[tuple[Live, Callable[[], object]]] = concurrent.futures.Future()

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        async with serving(make, tls=tls) as live:
            ready.set_result((live, lambda: loop.call_soon_threadsafe(stop.set)))
            await stop.wait()

    def run() -> None:
        try:
            _run(main())
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=run, name="gateway")
    thread.start()
    try:
        live, stop = ready.result()
        try:
            yield live
        finally:
            stop()
    finally:
        thread.join()


def _run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, on uvloop where that exists: it saves a few tenths of a millisecond per request."""
    factory = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


def _bind(host: str, port: int) -> socket.socket:
    """Return a listening socket, so that the port is known before anybody is told."""
    with contextlib.ExitStack() as on_failure:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            sock = on_failure.enter_context(socket.socket(family, kind, protocol))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(_BACKLOG)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"cannot serve on {host} port {port}: {reason}; choose another --port") from error
        on_failure.pop_all()
        return sock


def _url(sock: socket.socket, scheme: str) -> str:
    host, port = sock.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}"
