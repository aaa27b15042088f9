"""What must be exact: averages, merged adapters, secret sums, noise, and what noise costs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgegen.core.result import Bar

SITES, NUMBERS, RANK = 5, 1000, 4
DRAWS = 100_000
SENSIBLE = 10.0  # beyond it a promise is worth little, and the orders of the two differ
NOISES, RATES, COUNTS, DELTA = (0.7, 1.0, 2.0), (0.05, 0.2, 1.0), (60, 600), 1e-5


def exact_bars(progress: Callable[[str], None]) -> list[Bar]:
    """Compare each with what is computed by hand."""
    progress("exactness: averages, adapters, secret sums, noise, accountants")
    return [*_averages(), _merged(), *_noise(), *_accountants()]


def _averages() -> list[Bar]:
    from edgegen.tune.federation.in_process import run_in_process
    from edgegen.tune.federation.learners import AbstractLearner, Arrays, Fitted
    from edgegen.tune.federation.settings import FederatedSettings, SecureSection

    class Fixed(AbstractLearner):
        """Moves halfway to numbers of its own, and a little less each round."""

        def __init__(self, site: int) -> None:
            self.own = np.random.default_rng(site).normal(size=NUMBERS).astype(np.float32) / 5
            self.weight = 100.0 * (site + 1)

        def fit(self, arrays: Arrays, *, round: int, steps: int) -> Fitted:  # noqa: A002
            del steps
            return Fitted({"x": arrays["x"] + (self.own - arrays["x"]) / (1 + round)}, self.weight)

        def evaluate(self, arrays: Arrays) -> dict[str, float]:
            return {"distance": float(np.abs(arrays["x"] - self.own).mean())}

    sites = [Fixed(number) for number in range(SITES)]
    start = {"x": np.zeros(NUMBERS, np.float32)}

    def by_hand(rounds: int, chosen: list[Fixed]) -> np.ndarray:
        x = start["x"].astype(float)
        for number in range(1, rounds + 1):
            moved = [x + (one.own - x) / (1 + number) for one in chosen]
            x = np.average(moved, axis=0, weights=[one.weight for one in chosen])
        return x

    def error(rounds: int, chosen: list[Fixed], delay=lambda site, message: 0.0, **settings) -> float:
        described = FederatedSettings(rounds=rounds, **settings)
        done = run_in_process(sites.__getitem__, SITES, described, start, delay_s=delay)
        return float(np.abs(done.arrays["x"] - by_hand(rounds, chosen)).max())

    secure = SecureSection(shares=3, threshold=2, max_weight=500)
    return [
        Bar.at_most("in process against FedAvg by hand, 3 rounds of 5 sites: largest error", error(3, sites), 1e-6),
        Bar.at_most("SecAgg+ against the mean by hand: largest error", error(1, sites, secure=secure), 1e-5),
        Bar.at_most(
            "SecAgg+ with one site lost after its keys were shared: largest error",
            error(1, [one for at, one in enumerate(sites) if at != 1], _lost_late, secure=secure),
            1e-5,
        ),
    ]


def _lost_late(site: int, message) -> float:
    from edgegen.tune.federation.secure import is_masked_vector

    return math.inf if site == 1 and is_masked_vector(message) else 0.0


def _merged() -> Bar:
    from edgegen.tune import adapters

    rng = np.random.default_rng(0)
    shared = {f"layer{number}.lora_A": rng.normal(size=(RANK, 32)).astype(np.float32) for number in range(8)}
    sent = [
        {
            **shared,
            **{f"layer{number}.lora_B": rng.normal(size=(48, RANK)).astype(np.float32) / 10 for number in range(8)},
        }
        for _ in range(SITES)
    ]
    lacking, _ = adapters.missed(sent, [1.0, 2.0, 3.0, 4.0, 5.0], 1.0)
    worst = max(float(np.abs(change).max()) for change in lacking.values())
    return Bar.at_most("ffa: merged adapter against the mean of the merged: largest error", worst, 1e-6)


def _noise() -> list[Bar]:
    from edgegen.tune.privacy.client_noise import noisy_mean, norm
    from edgegen.tune.privacy.promise import CLIENT, Privacy

    rng = np.random.default_rng(0)
    privacy = Privacy(CLIENT, noise=0.8, clip=0.5)
    updates = [{"x": rng.normal(size=DRAWS).astype(np.float32)} for _ in range(SITES)]
    quiet = noisy_mean(updates, Privacy(CLIENT, noise=1e-12, clip=privacy.clip), rng)
    noisy = noisy_mean(updates, privacy, rng)
    spread = float(np.std(noisy["x"].astype(float) - quiet["x"]))
    return [
        Bar.at_most("clipped updates: largest norm of their mean over the clip", norm(quiet) / privacy.clip, 1 + 1e-6),
        Bar.within(
            "noise on the mean: deviation over z C / K",
            spread / (privacy.noise * privacy.clip / SITES),
            0.97,
            1.03,
            n=DRAWS,
        ),
    ]


def _accountants() -> list[Bar]:
    from edgegen.tune.privacy.accounting import Release, by_dp_accounting, by_opacus

    grid = [Release(noise, rate, steps) for noise in NOISES for rate in RATES for steps in COUNTS]
    pairs = [(by_opacus([one], DELTA), by_dp_accounting([one], DELTA)) for one in grid]
    apart = {ours: abs(ours / theirs - 1) for ours, theirs in pairs}
    told = [gap for ours, gap in apart.items() if ours <= SENSIBLE]
    return [
        Bar.at_most(f"epsilon up to {SENSIBLE:g} by two accountants: largest difference", max(told), 0.01, n=len(told)),
        Bar.report("epsilon of any size by two accountants: largest difference", max(apart.values()), n=len(grid)),
    ]
