"""A node that is somebody else's engine behind OpenAI's Images API: vLLM-Omni, SGLang-Diffusion, LocalAI, a hosted one.

Such an engine tells nothing while it works. So this worker tells the last step when the picture is there, and only where
the engine was told how many steps to do; it has no previews, keeps every picture's number of steps, and an order that is
taken back closes its connection. Time in the engine's own queue counts as generation, since nobody can tell them apart.
"""

import asyncio
import base64
import contextlib
import dataclasses
import io
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import structlog
from PIL import Image

from edgegen.config import OpenAIWorkerSection
from edgegen.core.errors import ConfigError
from edgegen.serve.workers.dialects import DIALECTS, Dialect
from edgegen.serve.workers.makers import to_png
from edgegen.serve.workers.messages import Job, Progress, Report
from edgegen.serve.workers.protocol import Abilities, AbstractWorker, JobError, OnProgress, WorkerGoneError

log = structlog.get_logger(__name__)

PATH = "/v1/images/generations"
MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_PIXELS = 4096 * 4096
CONNECT_S = 5.0
HEALTH_EVERY_S = 5.0
MISSES = 2  # looks in a row without an answer after which the engine counts as gone
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.2, 15.0
STEADY_S = 60.0  # an engine that stayed this long is looked for with the first backoff again
_PNG_START = b"\x89PNG\r\n\x1a\n"
_ITS_FAULT = (400, 413, 422)  # of the request: another node would not do better


class EngineWorker(AbstractWorker):
    """One engine. `key` is sent as its bearer token and appears nowhere else."""

    def __init__(
        self,
        node: str,
        *,
        url: str,
        dialect: Dialect,
        key: str | None = None,
        model_names: Mapping[str, str] | None = None,
        size: str | None = None,
        guidance: float | None = None,
        timeout_s: float = 300.0,
    ):
        self.node = node
        self.abilities = Abilities(steps=dialect.steps is not None, previews=False)
        self._url, self._dialect, self._timeout_s = url, dialect, timeout_s
        self._names, self._size, self._guidance = dict(model_names or {}), size, guidance
        self._headers = {"Accept-Encoding": "identity", **({"Authorization": f"Bearer {key}"} if key else {})}
        self._client: httpx.AsyncClient | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._gone: asyncio.Future[str] | None = None  # resolves to the reason when the engine goes away
        self._on_lost: Callable[[str], None] = lambda reason: None

    @classmethod
    def of(cls, node: str, section: OpenAIWorkerSection, environment: Mapping[str, str] = os.environ) -> "EngineWorker":
        """Return the worker of a node's section. **Raises** `ConfigError` when the key's variable is not set."""
        key = environment.get(section.key_env) if section.key_env else None
        if section.key_env and not key:
            raise ConfigError(
                f"nodes {node!r}.worker.key_env names the environment variable {section.key_env!r}, which is not set; "
                "put the engine's key into it, or remove key_env for an engine without keys"
            )
        dialect = DIALECTS[section.dialect]
        dialect = dataclasses.replace(
            dialect, steps=section.steps_field or dialect.steps, health=section.health or dialect.health
        )
        return cls(
            node,
            url=section.url,
            dialect=dialect,
            key=key,
            model_names=section.model_names,
            size=section.size,
            guidance=section.guidance,
            timeout_s=section.timeout,
        )

    async def open(self, *, on_lost: Callable[[str], None], on_joined: Callable[[], None]) -> None:
        self._on_lost = on_lost
        self._client = httpx.AsyncClient(
            base_url=self._url,
            headers=self._headers,
            timeout=httpx.Timeout(self._timeout_s, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=256, max_keepalive_connections=32),
            follow_redirects=False,  # the key goes where the configuration says, and nowhere else
            trust_env=False,
        )
        if (trouble := await self._look()) is None:
            self._gone = asyncio.get_running_loop().create_future()
        else:
            log.warning("the engine does not answer yet", node=self.node, reason=trouble)
        self._keeper = asyncio.create_task(self._keep(on_joined), name=f"engine {self.node}")

    async def load(self, model: str, *, pad_s: float) -> float:
        """Return after the padding: which models an engine holds is its own affair."""
        self._there()
        await asyncio.sleep(pad_s)
        return pad_s

    async def evict(self, model: str) -> None:
        del model

    async def run(self, job: Job, on_progress: OnProgress) -> Report:
        gone, began_s = self._there(), time.monotonic()
        asking = asyncio.create_task(self._ask(job))
        try:
            await asyncio.wait({asking, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise WorkerGoneError(f"the engine of node {self.node!r} went away: {gone.result()}")
            png = asking.result()
        finally:
            if not asking.done():  # its end closes the connection, and so the engine hears of it
                asking.cancel()
                await asyncio.wait({asking})
        if self.abilities.steps:
            on_progress(Progress(job.id, job.steps, job.steps))
        text = base64.b64encode(png).decode()
        return Report(job.id, text, 0.0, 0.0, time.monotonic() - began_s, compute_s=0.0, behind_s=0.0)

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
            self._keeper = None
        if self._gone is not None and not self._gone.done():
            self._gone.set_result("the gateway is closing")
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    @property
    def alive(self) -> bool:
        return self._gone is not None and not self._gone.done()

    def _there(self) -> asyncio.Future[str]:
        if self._gone is None or self._gone.done():
            raise WorkerGoneError(f"the engine of node {self.node!r} does not answer at the moment")
        return self._gone

    async def _ask(self, job: Job) -> bytes:
        """Return the picture as a PNG. **Raises** `JobError`, or `WorkerGoneError` when nobody is there."""
        assert self._client is not None
        body = self._dialect.body(
            prompt=job.prompt,
            model=self._names.get(job.model, job.model),
            steps=job.steps,
            seed=job.seed,
            size=self._size,
            guidance=self._guidance,
        )
        try:
            async with asyncio.timeout(self._timeout_s), self._client.stream("POST", PATH, json=body) as response:
                text = await _bounded(response)
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout):
            raise JobError(f"the engine did not answer within {self._timeout_s:g} s", retry=True) from None
        except httpx.TransportError as error:
            if not isinstance(error, httpx.ConnectError) and await self._look() is None:
                raise JobError(f"the engine broke off: {_named(error)}", retry=True) from None
            self._lose(_named(error))
            raise WorkerGoneError(f"the engine of node {self.node!r} went away: {_named(error)}") from None
        return await _picture(response.status_code, text)

    async def _look(self) -> str | None:
        """Return what is wrong with the engine, or None."""
        assert self._client is not None
        try:
            async with asyncio.timeout(2 * CONNECT_S), self._client.stream("GET", self._dialect.health) as response:
                return (
                    None if response.status_code == 200 else f"its {self._dialect.health} says {response.status_code}"
                )
        except TimeoutError:
            return f"its {self._dialect.health} takes longer than {2 * CONNECT_S:g} s"
        except httpx.HTTPError as error:
            return _named(error)

    async def _keep(self, on_joined: Callable[[], None]) -> None:
        """Look after the engine for ever: notice its end while nothing is asked of it, and its return."""
        misses, backoff_s, joined_s = 0, FIRST_BACKOFF_S, time.monotonic()
        while True:
            if self.alive:
                assert self._gone is not None
                await asyncio.wait({self._gone}, timeout=HEALTH_EVERY_S)
                trouble = await self._look() if self.alive else None
                misses = misses + 1 if trouble else 0
                if trouble and misses >= MISSES:
                    self._lose(trouble)
                backoff_s = FIRST_BACKOFF_S if time.monotonic() - joined_s > STEADY_S else backoff_s
                continue
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)
            if await self._look() is None:
                misses, joined_s = 0, time.monotonic()
                self._gone = asyncio.get_running_loop().create_future()
                log.info("the engine is there", node=self.node)
                on_joined()

    def _lose(self, reason: str) -> None:
        """Tell once that the engine went away, and everybody who waits for it."""
        if self._gone is None or self._gone.done():
            return
        self._gone.set_result(reason)
        log.warning("engine lost", node=self.node, reason=reason)
        self._on_lost(reason)


async def _bounded(response: httpx.Response) -> bytes:
    """Read a body as it comes, up to the bound."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise JobError("the engine packed its answer though it was asked not to", retry=True)
    parts, size = [], 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise JobError(f"the engine's answer is longer than {MAX_ANSWER_BYTES} bytes", retry=True)
        parts.append(part)
    return b"".join(parts)


async def _picture(status: int, text: bytes) -> bytes:
    if 300 <= status < 400:
        raise JobError(
            f"the engine redirects ({status}), which is not followed; put its final url into url", retry=True
        )
    answer: Any = None
    with contextlib.suppress(ValueError):
        answer = json.loads(text)
    if status != 200:
        raise JobError(f"the engine says {status}: {_reason(answer)}", retry=status not in _ITS_FAULT)
    try:
        picture = base64.b64decode(answer["data"][0]["b64_json"], validate=True)
    except (KeyError, IndexError, TypeError, ValueError):
        message = "the engine's answer has no picture in data[0].b64_json; addresses of pictures are not followed"
        raise JobError(message, retry=True) from None
    if picture.startswith(_PNG_START):
        return picture
    return await asyncio.to_thread(_as_png, picture)


def _as_png(picture: bytes) -> bytes:
    try:
        with Image.open(io.BytesIO(picture), formats=["JPEG", "WEBP"]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise JobError(f"the engine's picture has more than {MAX_PIXELS} pixels", retry=True)
            return to_png(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise JobError("the engine's picture is no PNG, JPEG or WebP", retry=True) from None


def _reason(answer: Any) -> str:
    """Return what an engine says about an error, in OpenAI's form or in its own, shortened."""
    told = answer.get("error", answer.get("detail", answer)) if isinstance(answer, dict) else answer
    if isinstance(told, dict):
        told = told.get("message", told)
    return str(told)[:200]


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
