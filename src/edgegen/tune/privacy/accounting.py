"""How much privacy is spent: epsilon of noisy sums, by three independent accountants, and what a budget allows.

One release is a sum over records, each clipped to norm C and each in the sum with probability `sample_rate`, independently
of the others (Poisson sampling), plus Gaussian noise of standard deviation `noise` C. Its Renyi divergence (Mironov, Talwar and
Zhang 2019, arXiv:1908.10530) adds up over releases, and gives epsilon for a delta (Balle et al. 2020, arXiv:1905.09982, theorem 21).
Neighbours differ by one record added or removed.

All three accountants bound the same thing the same way; that they agree checks their code and our use of them. Beyond epsilon of
about 12 the best order lies between 1 and 2, where dp-accounting leaves orders out whose series converges slowly, and answers more.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from edgegen.core.checks import positive
from edgegen.core.errors import EdgegenError, InputError
from edgegen.tune.privacy.promise import Privacy

# Orders of the divergence that are searched. Small budgets are decided by orders beyond 63, where Opacus' own list ends.
ORDERS = (*(1 + x / 10 for x in range(1, 100)), *range(11, 64), 80, 96, 128, 192, 256, 512, 1024)
MOST_STEPS = 10**9  # where counting stops


class BudgetSpentError(EdgegenError):
    """One more step would pass the budget of epsilon."""


@dataclass(frozen=True)
class Release:
    """Some noisy sums of one kind."""

    noise: float  # standard deviation of the noise over the clip
    sample_rate: float  # probability with which a record is in one sum, in (0, 1]
    steps: int  # how many sums

    def __post_init__(self) -> None:
        positive(self, "noise", "sample_rate")
        if self.sample_rate > 1:
            raise InputError(f"sample_rate must be at most 1, got {self.sample_rate}", param="sample_rate")
        if self.steps < 0:
            raise InputError(f"steps must be at least 0, got {self.steps}", param="steps")


Accountant = Callable[[Sequence[Release], float], float]  # (releases, delta) -> epsilon


def by_opacus(releases: Sequence[Release], delta: float) -> float:
    """Compute epsilon by the accountant of Opacus."""
    rdp = sum((release.steps * _per_step(release.noise, release.sample_rate) for release in releases), np.zeros(()))
    return _epsilon_of(rdp, delta)


def by_dp_accounting(releases: Sequence[Release], delta: float) -> float:
    """Compute epsilon by Google's dp-accounting."""
    from dp_accounting import dp_event, rdp

    accountant = rdp.RdpAccountant(ORDERS)
    with _quiet("absl"):  # one line for each order that it leaves out
        for release in releases:
            event = dp_event.GaussianDpEvent(release.noise)
            if release.sample_rate < 1:
                event = dp_event.PoissonSampledDpEvent(release.sample_rate, event)
            if release.steps:
                accountant.compose(event, release.steps)
    return float(accountant.get_epsilon(delta))


def by_flower(releases: Sequence[Release], delta: float) -> float:
    """Compute epsilon by the accountant of Flower, which knows rounds in which every client takes part.

    **Raises** `InputError` for a sample rate below 1: its wrappers draw a fixed number of clients, for which no gain is claimed.
    """
    from flwr.supercore.privacy_accounting import (
        GaussianPrivacyEvent,
        NeighboringRelation,
        PrivacyConfig,
        SamplingMethod,
    )
    from flwr.supercore.privacy_accounting.rdp_accountant import RdpAccountant

    if any(release.sample_rate < 1 for release in releases):
        raise InputError("Flower counts rounds in which every client takes part; sample_rate must be 1")
    config = PrivacyConfig(
        target_delta=delta,
        population_size=1,
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        sampling_method=SamplingMethod.NO_AMPLIFICATION,
    )
    accountant = RdpAccountant(config, ORDERS)
    for release in releases:
        if release.steps:
            event = GaussianPrivacyEvent(noise_multiplier=release.noise, sample_size=1, population_size=1)
            accountant.compose(event, release.steps)
    return float(accountant.get_privacy_spent().epsilon)


ACCOUNTANTS: dict[str, Accountant] = {"opacus": by_opacus, "dp-accounting": by_dp_accounting, "flower": by_flower}


def epsilon(releases: Sequence[Release], delta: float) -> float:
    """Compute epsilon of some releases at a delta; 0 if there was none."""
    return by_opacus(releases, delta) if any(release.steps for release in releases) else 0.0


@lru_cache(maxsize=64)  # a search takes a second or two
def least_noise(max_epsilon: float, *, delta: float, sample_rate: float, steps: int) -> float:
    """Find the least noise (over the clip) with which so many steps stay within a budget, to a thousandth of epsilon.

    **Raises** `InputError` if no noise is enough.
    """
    from opacus.accountants.utils import get_noise_multiplier

    Release(1.0, sample_rate, steps)  # checks the numbers
    if not 0 < max_epsilon < math.inf:
        raise InputError(f"a budget must be above 0 and finite, got {max_epsilon}", param="max_epsilon")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # the search passes noises whose best order is the last: a bound too
            noise = get_noise_multiplier(
                target_epsilon=max_epsilon,
                target_delta=delta,
                sample_rate=sample_rate,
                steps=steps,
                accountant="rdp",
                epsilon_tolerance=max_epsilon * 1e-3,
                alphas=ORDERS,
            )
    except ValueError as error:
        raise InputError(
            f"no noise keeps {steps} steps within epsilon {max_epsilon:g} at delta {delta:g}: allow a larger epsilon",
            param="max_epsilon",
        ) from error
    return float(noise)


def affordable_steps(privacy: Privacy, sample_rate: float, *, spent: Sequence[Release] = ()) -> int:
    """Count the further steps that the budget allows after what was spent; MOST_STEPS is the largest answer.

    Epsilon grows with every step, so the count is found by doubling and halving.
    """
    so_far = sum((one.steps * _per_step(one.noise, one.sample_rate) for one in spent), np.zeros(()))
    each = _per_step(privacy.noise, sample_rate)

    def fits(steps: int) -> bool:
        return _epsilon_of(so_far + steps * each, privacy.delta) <= privacy.max_epsilon

    if not fits(1):
        return 0
    low, high = 1, 2
    while high < MOST_STEPS and fits(high):
        low, high = high, 2 * high
    if high >= MOST_STEPS:
        return MOST_STEPS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def affordable_rounds(privacy: Privacy, sample_rate: float, local_steps: int, *, spent: Sequence[Release] = ()) -> int:
    """Count the further whole rounds of `local_steps` noisy steps that the budget allows.

    At client level a round is one release, so `local_steps` is 1 however long the sites train.
    """
    if local_steps < 1:
        raise InputError(f"local_steps must be at least 1, got {local_steps}", param="local_steps")
    return affordable_steps(privacy, sample_rate, spent=spent) // local_steps


def epsilon_of_rounds(privacy: Privacy, sample_rates: Sequence[float], local_steps: int) -> Callable[[int], float]:
    """Give the function from rounds to the epsilon of the site that spends most, if all take part in every round.

    sample_rates: batch over examples of each site; the highest decides. Sites hold different examples, so what one spends
    does not add to what another does. At client level the rates are (1.0,) and `local_steps` is 1.
    """
    if not sample_rates:
        raise InputError("epsilon needs the sample rate of at least one site", param="sample_rates")
    highest = max(sample_rates)
    Release(privacy.noise, highest, local_steps)  # checks the numbers
    return lambda rounds: epsilon([Release(privacy.noise, highest, rounds * local_steps)], privacy.delta)


def after(spent: Sequence[Release], release: Release) -> tuple[Release, ...]:
    """Add a release to what was spent; one of the same kind as the last joins it."""
    if spent and (spent[-1].noise, spent[-1].sample_rate) == (release.noise, release.sample_rate):
        joined = Release(release.noise, release.sample_rate, spent[-1].steps + release.steps)
        return (*spent[:-1], joined)
    return (*spent, release)


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Let a logger say errors only, for a while."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@lru_cache(maxsize=256)
def _per_step(noise: float, sample_rate: float) -> np.ndarray:
    """Renyi divergence of one release at every order, float64[orders]."""
    from opacus.accountants.analysis.rdp import compute_rdp

    return np.asarray(compute_rdp(q=sample_rate, noise_multiplier=noise, steps=1, orders=list(ORDERS)))


def _epsilon_of(rdp: np.ndarray, delta: float) -> float:
    from opacus.accountants.analysis.rdp import get_privacy_spent

    if not 0 < delta < 1:
        raise InputError(f"delta must be above 0 and below 1, got {delta}", param="delta")
    with warnings.catch_warnings():
        # A best order at the end of the list makes the bound a little loose, not wrong.
        warnings.simplefilter("ignore", UserWarning)
        found, _ = get_privacy_spent(
            orders=list(ORDERS), rdp=np.broadcast_to(rdp, (len(ORDERS),)).tolist(), delta=delta
        )
    return math.inf if math.isnan(found) else max(0.0, float(found))
