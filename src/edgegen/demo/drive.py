"""Send the requests of the demo to a gateway over HTTP, each at its time, and keep what comes back."""

import asyncio
import base64
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Literal

import httpx

from edgegen.experiments.arrivals import Ask

_PATIENCE_S = 60.0  # beyond the longest deadline by far: a request that takes longer is a fault, and is counted as one


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one request, as its client saw it."""

    ask: Ask
    status: Literal["finished", "refused", "failed"]
    latency_s: float
    picture: bytes | None = None  # PNG
    item: dict = dataclasses.field(default_factory=dict)  # the gateway's account: node, model, steps, times, energy
    error: str = ""

    @property
    def in_time(self) -> bool:
        """Delivered before its deadline, by the client's clock."""
        return self.status == "finished" and self.latency_s <= self.ask.deadline_s

    @property
    def energy_j(self) -> float:
        """Energy of device and node together."""
        actual = self.item.get("actual", {})
        return float(actual.get("device_energy_j", 0.0) + actual.get("node_energy_j", 0.0))


async def send_all(url: str, asks: Sequence[Ask], *, on_outcome: Callable[[Outcome], None]) -> list[Outcome]:
    """Send every request at its time and return the outcomes in the order of the requests."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(base_url=url, timeout=_PATIENCE_S, limits=limits) as client:
        begin_s = time.monotonic()

        async def one(ask: Ask) -> Outcome:
            await asyncio.sleep(max(0.0, begin_s + ask.at_s - time.monotonic()))
            outcome = await _send(client, ask)
            on_outcome(outcome)
            return outcome

        return list(await asyncio.gather(*map(one, asks)))


async def _send(client: httpx.AsyncClient, ask: Ask) -> Outcome:
    begin_s = time.monotonic()
    try:
        response = await client.post("/v1/images/generations", json=ask.body())
    except httpx.HTTPError as error:
        return Outcome(ask, "failed", time.monotonic() - begin_s, error=f"{type(error).__name__}: {error}")
    latency_s = time.monotonic() - begin_s
    answer = response.json()
    if response.status_code != 200:
        problem = answer.get("error", {})
        refused = problem.get("code") == "infeasible" or response.status_code == 429
        status = "refused" if refused else "failed"
        return Outcome(ask, status, latency_s, error=str(problem.get("message", response.text)))
    picture = base64.b64decode(answer["data"][0]["b64_json"])
    return Outcome(ask, "finished", latency_s, picture, answer["edgegen"]["items"][0])
