"""The server's loop: who is asked, what comes back, when it ends; written down after every round and gone on with after a kill.

Everything that a round does follows from the settings, its number and the arrays before it, so a run that was killed and
goes on from its folder gives what an uninterrupted one gives.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from flwr.serverapp import Grid

from edgegen.core.errors import InputError, WorkerError
from edgegen.tune.federation.exchange import AbstractExchange, Combine, Exchanged, PlainExchange, judge_at_sites
from edgegen.tune.federation.learners import Arrays
from edgegen.tune.federation.records import Progress, Round, RunFolder
from edgegen.tune.federation.secure import SecureExchange
from edgegen.tune.federation.settings import FederatedSettings, asked_sites, check_sites, needed_sites
from edgegen.tune.federation.stops import Epsilon, reason_to_stop

Judge = Callable[[Arrays], dict[str, float]]


def _nobody(progress: Progress) -> None:
    del progress


def _log(warning: str) -> None:
    logging.getLogger("edgegen.tune").warning(warning)


@dataclass(frozen=True)
class Around:
    """What stands around a run and is not in its settings."""

    judge: Judge | None = None  # measures the global arrays at the server
    epsilon: Epsilon | None = None  # of so many rounds; the privacy budget is judged by it
    combine: Combine | None = None  # makes the new arrays of the mean and the single updates (mode 'fedex')
    on_round: Callable[[Progress], None] = _nobody  # called after each round, written down already
    on_warning: Callable[[str], None] = _log  # told what the settings make useless
    wait_s: float = 600.0  # how long fewer sites than needed are waited for
    expected: int = 0  # sites that are waited for before the first round, at most `wait_s`


def run_rounds(
    grid: Grid,
    settings: FederatedSettings,
    start: Arrays,
    *,
    around: Around | None = None,
    folder: RunFolder | None = None,
) -> Progress:
    """Run rounds over `grid` until one of the settings ends it, and return the arrays and what was written down.

    With a `folder`, a run that it holds is gone on with and `start` is not looked at. **Raises** `ConfigError` if the sites
    that are there cannot do what the settings ask, `WorkerError` if too few come.
    """
    around = around or Around()
    if settings.privacy.max_epsilon is not None and around.epsilon is None:
        raise InputError("privacy.max_epsilon needs an accountant that says what a round spends", param="privacy")
    progress = (folder.read() if folder else None) or Progress({n: np.asarray(v, np.float32) for n, v in start.items()})
    exchange = exchange_of(settings, around.combine)
    checked = False
    while (reason := reason_to_stop(progress.history, settings, around.epsilon)) is None:
        number = len(progress.history) + 1
        # At first, too few are an error that says why; later, they are waited for.
        needed = needed_sites(settings) if checked else settings.min_sites
        present = await_sites(grid, needed if checked else max(needed, around.expected), needed, around.wait_s)
        if not checked:
            numbers = sum(values.size for values in progress.arrays.values())
            for warning in check_sites(settings, len(present), numbers):
                around.on_warning(warning)
            checked = True
        progress = _one_round(grid, exchange, settings, progress, sample(present, settings, number), around)
        if folder:
            folder.write(progress)
        around.on_round(progress)
    progress = replace(progress, ended=reason)
    if folder:
        folder.write(progress)
    return progress


def exchange_of(settings: FederatedSettings, combine: Combine | None = None) -> AbstractExchange:
    """Return how updates are exchanged under these settings.

    **Raises** `InputError` for mode 'fedex' without what puts its factors together.
    """
    if settings.secure:
        return SecureExchange(settings)
    if settings.mode == "fedex" and combine is None:
        raise InputError("mode 'fedex' needs `combine`, which adds what the product of means misses", param="mode")
    return PlainExchange(settings, combine=combine)


def sample(present: list[int], settings: FederatedSettings, number: int) -> list[int]:
    """Return the nodes that round `number` asks, drawn from the run's seed and not from chance of the process."""
    rng = np.random.default_rng((settings.seed, number, 2))
    chosen = rng.choice(len(present), asked_sites(settings, len(present)), replace=False)
    return [present[i] for i in sorted(chosen)]


def await_sites(grid: Grid, wanted: int, needed: int, wait_s: float) -> list[int]:
    """Return the nodes that are there, in order, once `wanted` are, or at least `needed` after `wait_s` seconds."""
    until = time.monotonic() + wait_s
    while len(present := sorted(grid.get_node_ids())) < wanted and time.monotonic() < until:
        time.sleep(0.5)
    if len(present) < max(needed, 1):
        raise WorkerError(
            f"{len(present)} sites came within {wait_s:g} s, and a round needs {needed}; start more of them, or ask for"
            " less (min_sites, malicious, secure.shares)"
        )
    return present


def _one_round(
    grid: Grid,
    exchange: AbstractExchange,
    settings: FederatedSettings,
    progress: Progress,
    nodes: list[int],
    around: Around,
) -> Progress:
    number, began = len(progress.history) + 1, time.monotonic()
    trained = exchange.train(grid, progress.arrays, nodes, number)
    arrays = progress.arrays if trained.arrays is None else trained.arrays
    judged = Exchanged()
    if settings.evaluate == "sites":
        judged = judge_at_sites(grid, settings, arrays, nodes, number)
    quality = {**judged.metrics, **(around.judge(arrays) if around.judge else {})}
    sites = {str(site): numbers for site, numbers in trained.sites.items()}
    for site, numbers in judged.sites.items():
        sites[str(site)] = {**sites.get(str(site), {}), **numbers}
    record = Round(
        number,
        asked=trained.asked,
        answered=len(trained.sites),
        late=trained.late,
        failed=trained.failed,
        down_bytes=trained.down.wire_bytes + judged.down.wire_bytes,
        up_bytes=trained.up.wire_bytes + judged.up.wire_bytes,
        down_payload_bytes=trained.down.payload_bytes + judged.down.payload_bytes,
        up_payload_bytes=trained.up.payload_bytes + judged.up.payload_bytes,
        elapsed_s=time.monotonic() - began,
        changed=trained.arrays is not None,
        metrics=trained.metrics,
        quality=quality,
        sites=sites,
        epsilon=around.epsilon(number) if around.epsilon else None,
    )
    return Progress(arrays, (*progress.history, record))
