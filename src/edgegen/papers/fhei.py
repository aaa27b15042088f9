"""Enabling AI Quality Control via Feature Hierarchical Edge Inference. Choi, Kim and Ko, 2022, arXiv:2211.07860.

From the paper (abstract and opening only; the body could not be read): a network is split into a feature part on the edge
server and an inference part on the mobile; features come in a hierarchy of scales, a higher scale costs more computation and
communication and gives better quality; the sum of qualities is maximised under uplink, downlink, server and mobile limits by
a near-optimal method that outperforms several benchmarks. There are no numbers in the abstract.
Derived by us: levels fit into the deadline if and only if the largest eigenvalue of a 3 x 3 matrix is at most 1
(`plan.in_time`); prices of the three resources give a bound on the optimum (`bound`).
Guessed: all equations and parameters; rates are linear in the share of the band (OFDMA at a fixed power density).
Deviations: 1. Users may be left unserved (level 0, quality 0). 2. Quality against level is a table, not a fit.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from edgegen.core.checks import positive
from edgegen.core.citation import Citation
from edgegen.core.errors import InputError
from edgegen.core.result import Bar
from edgegen.plan import in_time

CITATION = Citation(
    key="choi2022fhei",
    authors="Choi, Jinhyuk and Kim, Seong-Lyun and Ko, Seung-Woo",
    title="Enabling AI Quality Control via Feature Hierarchical Edge Inference",
    year=2022,
    identifier="arXiv:2211.07860",
)
UPLINK, SERVER, DOWNLINK = range(3)
MAX_ENUMERATED = 200_000  # level vectors that `exact` is willing to look at
SMALL = 8  # mobiles up to which three levels are changed at once


@dataclasses.dataclass(frozen=True)
class Hierarchy:
    """What each scale costs and gives, float[L + 1] each; entry 0 is "not served" and costs and gives nothing."""

    quality: np.ndarray
    server_flop: np.ndarray  # up to this scale
    download_bits: np.ndarray
    mobile_flop: np.ndarray


@dataclasses.dataclass(frozen=True)
class Site:
    """K mobiles around one edge server. Arrays are float[K]."""

    hierarchy: Hierarchy
    upload_bits: np.ndarray
    uplink_bps: np.ndarray  # with the whole band
    downlink_bps: np.ndarray
    mobile_flops: np.ndarray
    weights: np.ndarray
    server_flops: float
    deadline_s: float

    def __post_init__(self):
        positive(
            self, "upload_bits", "uplink_bps", "downlink_bps", "mobile_flops", "weights", "server_flops", "deadline_s"
        )

    @property
    def users(self) -> int:
        """The number of mobiles, K."""
        return len(self.weights)

    def demands(self) -> tuple[np.ndarray, np.ndarray]:
        """Seconds at full share float[K, L + 1, 3] (uplink, server, downlink), and the time left for them float[K, L + 1].

        A level whose part on the mobile alone breaks the deadline has no time left (<= 0).
        """
        scales = self.hierarchy
        work = np.zeros((self.users, len(scales.quality), 3))
        work[:, 1:, UPLINK] = (self.upload_bits / self.uplink_bps)[:, None]
        work[:, 1:, SERVER] = scales.server_flop[1:] / self.server_flops
        work[:, 1:, DOWNLINK] = scales.download_bits[1:] / self.downlink_bps[:, None]
        return work, self.deadline_s - scales.mobile_flop / self.mobile_flops[:, None]

    def worth(self) -> np.ndarray:
        """Weighted quality float[K, L + 1]."""
        return self.weights[:, None] * self.hierarchy.quality


class Answer(NamedTuple):
    """Levels int[K], shares float[K, 3] (uplink, server, downlink), the sum of weighted qualities, and its bound."""

    levels: np.ndarray
    shares: np.ndarray
    quality: float
    bound: float = np.inf


def burden(site: Site, levels: np.ndarray) -> np.ndarray:
    """The part of every resource that level vectors int[..., K] need, float[...]; they fit if it is at most 1."""
    return in_time.burden(*_chosen(site, np.asarray(levels)))


def latency_s(site: Site, levels: np.ndarray, split: np.ndarray) -> np.ndarray:
    """Seconds float[K] from upload to the mobile's answer, computed from the model alone; 0 for who is not served."""
    scales = site.hierarchy
    with np.errstate(divide="ignore", invalid="ignore"):
        upload_s = site.upload_bits / (split[:, UPLINK] * site.uplink_bps)
        server_s = scales.server_flop[levels] / (split[:, SERVER] * site.server_flops)
        download_s = scales.download_bits[levels] / (split[:, DOWNLINK] * site.downlink_bps)
    total_s = upload_s + server_s + download_s + scales.mobile_flop[levels] / site.mobile_flops
    return np.where(levels > 0, total_s, 0.0)


def bound(site: Site, prices: np.ndarray) -> float:
    """A value that no choice of levels exceeds, for any prices float[3] >= 0 (Lagrange dual)."""
    return float((site.worth() - _charge(site, prices)).max(axis=1).sum() + prices.sum())


def near_optimal(site: Site, *, iterations: int = 500) -> Answer:
    """Search prices by subgradient, take every user's best level at them, then mend and polish."""
    best_bound, prices = np.inf, np.full(3, float(site.worth().max(axis=1).mean()) / 3)
    first = np.zeros(site.users, dtype=int)
    for step in range(1, iterations + 1):
        gains = site.worth() - _charge(site, prices)
        levels = gains.argmax(axis=1)
        value = float(gains.max(axis=1).sum() + prices.sum())
        if value < best_bound:
            best_bound, first = value, levels
        used = in_time.bought_shares(*_chosen(site, levels), prices).sum(axis=0)
        prices = np.maximum(prices + 0.3 * prices.mean() / np.sqrt(step) * np.clip(used - 1, -1, 1), 1e-9)
    starts = _mend(site, first, prices), greedy(site).levels
    best = max((_polish(site, levels) for levels in starts), key=lambda levels: _quality(site, levels))
    return _answer(site, best, best_bound)


def per_burden(gain: float, added: float) -> float:
    """Score a raise by what it gains per added burden."""
    return gain / max(added, 1e-12)


def greedy(site: Site, *, score: Callable[[float, float], float] = per_burden) -> Answer:
    """Raise, one level at a time, whoever scores highest among those that fit; a random score raises at random."""
    levels = np.zeros(site.users, dtype=int)
    while (better := _raised(site, levels, score)) is not None:
        levels = better
    return _answer(site, levels)


def exact(site: Site) -> Answer:
    """Look at every vector of levels.

    **Raises** `InputError` when there are too many.
    """
    top = len(site.hierarchy.quality)
    if top**site.users > MAX_ENUMERATED:
        raise InputError(f"{top} levels and {site.users} mobiles are more than {MAX_ENUMERATED} vectors to look at")
    every = np.indices((top,) * site.users).reshape(site.users, -1).T
    fits = burden(site, every) <= in_time.FITS
    value = np.take_along_axis(site.worth()[None], every[..., None], axis=2)[..., 0].sum(axis=1)
    best = every[np.where(fits, value, -np.inf).argmax()]
    return _answer(site, best)


def equal_shares(site: Site) -> Answer:
    """Give everybody the same share of everything, and the best level that this allows."""
    split, top = np.full((site.users, 3), 1.0 / site.users), len(site.hierarchy.quality)
    ready_s = [latency_s(site, np.full(site.users, level), split) for level in range(top)]
    levels = ((np.array(ready_s) <= site.deadline_s) * np.arange(top)[:, None]).max(axis=0)
    return Answer(levels, split, _quality(site, levels))


def same_level(site: Site) -> Answer:
    """The highest level that all mobiles can have together."""
    top = len(site.hierarchy.quality)
    common = [level for level in range(top) if burden(site, np.full(site.users, level)) <= in_time.FITS]
    return _answer(site, np.full(site.users, common[-1]))


def hierarchy() -> Hierarchy:
    """The default scales: synthetic, in the range of object detectors."""
    return Hierarchy(
        quality=np.array([0.0, 0.28, 0.35, 0.40, 0.43]),
        server_flop=np.array([0.0, 5, 12, 25, 50]) * 1e9,
        download_bits=np.array([0.0, 0.4, 1.2, 3.2, 8.0]) * 1e6,
        mobile_flop=np.array([0.0, 2, 4, 8, 14]) * 1e9,
    )


def golden() -> Site:
    """The instance of the golden values: three mobiles with unlike links and processors."""
    return Site(
        hierarchy(),
        upload_bits=np.full(3, 2e6),
        uplink_bps=np.array([60.0, 30, 15]) * 1e6,
        downlink_bps=np.array([80.0, 50, 20]) * 1e6,
        mobile_flops=np.array([120.0, 80, 100]) * 1e9,
        weights=np.ones(3),
        server_flops=1e12,
        deadline_s=0.35,
    )


def random_site(rng: np.random.Generator, users: int, *, capacity: float = 1.0) -> Site:
    """A site with links, processors and a deadline around those of the golden instance; `capacity` multiplies what is shared."""
    return Site(
        hierarchy(),
        upload_bits=rng.uniform(1e6, 3e6, users),
        uplink_bps=capacity * rng.uniform(15e6, 60e6, users),
        downlink_bps=capacity * rng.uniform(20e6, 80e6, users),
        mobile_flops=rng.uniform(60e9, 140e9, users),
        weights=np.ones(users),
        server_flops=capacity * rng.uniform(0.5e12, 2e12),
        deadline_s=rng.uniform(0.25, 0.6),
    )


def claims(progress: Callable[[str], None], *, instances: int = 100, seed: int = 7) -> list[Bar]:
    """Check "always outperforms several benchmarks" (abstract), and our own bar: at least 98 % of the optimum."""
    rng = np.random.default_rng(seed)
    of_optimum, beaten = [], []
    progress(f"fhei: {instances} small sites against the optimum and the benchmarks, then 20 large ones")
    for _ in range(instances):
        site = random_site(rng, users=int(rng.integers(2, 6)))
        ours, best = near_optimal(site), exact(site)
        rivals = [equal_shares(site), same_level(site), greedy(site, score=lambda gain, added: rng.random())]
        of_optimum.append(ours.quality / best.quality if best.quality else 1.0)
        beaten.append(all(ours.quality >= rival.quality - 1e-9 for rival in rivals))
    crowded = [near_optimal(random_site(rng, users=30)) for _ in range(10)]
    large = [near_optimal(random_site(rng, users=30, capacity=30 / 4)) for _ in range(10)]
    gap, narrow = (max(1 - answer.quality / answer.bound for answer in found) for found in (large, crowded))
    low, high = np.percentile(of_optimum, [2.5, 97.5])
    return [
        Bar.at_least("fhei: worst share of the optimum", min(of_optimum), 0.98, n=instances, low=low, high=high),
        Bar.at_least("fhei: sites where no benchmark is better", float(np.mean(beaten)), 1.0, n=instances),
        Bar.at_most("fhei: largest gap to the bound, K = 30, capacity for 30", gap, 0.03, n=len(large)),
        # A third of the users is served, so one more or less is a tenth of the quality: the gap is in the integers.
        Bar.report("fhei: largest gap to the bound, K = 30, capacity for 4", narrow, n=len(crowded)),
    ]


def _chosen(site: Site, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Work float[..., K, 3] and time left float[..., K] of level vectors int[..., K]."""
    user, (work, slack_s) = np.arange(site.users), site.demands()
    return work[user, levels], slack_s[user, levels]


def _charge(site: Site, prices: np.ndarray) -> np.ndarray:
    return in_time.charge(*site.demands(), prices)


def _quality(site: Site, levels: np.ndarray) -> float:
    return float(site.worth()[np.arange(site.users), levels].sum())


def _answer(site: Site, levels: np.ndarray, best_bound: float = np.inf) -> Answer:
    return Answer(levels, in_time.least_shares(*_chosen(site, levels)), _quality(site, levels), best_bound)


def _mend(site: Site, levels: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """Lower, while the levels do not fit, the one that loses least per charge."""
    user, lost, saved = np.arange(site.users), np.diff(site.worth()), np.diff(_charge(site, prices))
    while burden(site, levels) > in_time.FITS:
        below = np.maximum(levels - 1, 0)
        rate = np.where(levels > 0, lost[user, below] / np.maximum(saved[user, below], 1e-12), np.inf)
        levels = np.where(user == rate.argmin(), below, levels)
    return levels


def _polish(site: Site, levels: np.ndarray) -> np.ndarray:
    """Change the levels of a few users at once, in the best way that fits, while that gains."""
    while True:
        moves = _moves(site, levels)
        value = site.worth()[np.arange(site.users), moves].sum(axis=1)
        value = np.where(burden(site, moves) <= in_time.FITS, value, -np.inf)
        if value.max() <= _quality(site, levels) + 1e-12:
            return levels
        levels = moves[value.argmax()]


def _moves(site: Site, levels: np.ndarray) -> np.ndarray:
    """Every vector in which at most two users (three of a small site) have another level, int[P, K]."""
    top, users = len(site.hierarchy.quality), site.users
    width = min(users, 3 if users <= SMALL else 2)
    chosen = np.array(list(itertools.combinations(range(users), width)))
    new = np.indices((top,) * width).reshape(width, -1).T
    found = np.broadcast_to(levels, (len(chosen), len(new), users)).copy()
    np.put_along_axis(found, np.broadcast_to(chosen[:, None], (len(chosen), *new.shape)), new[None], axis=2)
    return found.reshape(-1, users)


def _raised(site: Site, levels: np.ndarray, score: Callable[[float, float], float]) -> np.ndarray | None:
    """The best single raise that fits."""
    worth, before = site.worth(), burden(site, levels)
    best, highest = None, 0.0
    for user in np.flatnonzero(levels + 1 < len(site.hierarchy.quality)):
        raised = levels + (np.arange(site.users) == user)
        after = burden(site, raised)
        its_score = score(float(worth[user, raised[user]] - worth[user, levels[user]]), float(after - before))
        if after <= in_time.FITS and its_score > highest:
            best, highest = raised, its_score
    return best
