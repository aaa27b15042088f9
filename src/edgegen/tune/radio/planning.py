"""Who takes part in federated tuning, with which rank, bits, local steps and rounds, so that a target is reached soonest.

The quality is `gain.Gain`, the cost `radio.round_cost`. All settings of a grid are looked at. For one setting the gain says which value
(fraction of all pictures) the participants must hold, and the fastest such set is found:

Own bands. The round time of a set is the largest of its sites' times, which do not depend on each other. Let T be the time of the best
set S. Every site ready by T can be added to S: the time stays T and the value does not fall. So among the best sets there is
{k : t_k <= T}, a prefix of the sites in the order of their times, and K prefixes are enough.

A common band. The set S can be ready by T if the shares that its sites need by T (`bands.least_share`) sum to at most 1, so the question
at T is a covering knapsack, solved exactly (`subsets`). What a site needs falls with T, so the least T is found by bisection.

An energy limit makes both a knapsack with two burdens. With own bands the answer stays exact. In a common band a wider share costs less
energy, so that a set can be too expensive at a late T and affordable at an early one: moments are then scanned (`bands.MOMENTS`) and
the first that works is refined. What is found keeps the limits; a slightly faster set may be missed between two moments.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from edgegen.core.errors import InfeasibleError, InputError
from edgegen.tune.radio import cost
from edgegen.tune.radio.bands import AbstractBands, AbstractSharing, SharedBand
from edgegen.tune.radio.cost import Round, Sites, Work
from edgegen.tune.radio.gain import Gain
from edgegen.tune.radio.sizes import Sizes, exchange
from edgegen.tune.radio.subsets import Burdens, least_room, most_value


@dataclass(frozen=True)
class Limits:
    """What a whole run may take."""

    time_s: float = np.inf
    energy_j: float = np.inf  # of all sites together


@dataclass(frozen=True, order=True)
class Setting:
    """What is the same for all participants."""

    rank: int
    bits: int
    steps: int  # local, per round
    rounds: int


@dataclass(frozen=True)
class Grid:
    """What may be chosen; each ascending."""

    ranks: tuple[int, ...] = (1, 2, 4, 8, 16)
    bits: tuple[int, ...] = (8, 16, 32)
    steps: tuple[int, ...] = (10, 20, 40, 60, 100)
    rounds: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30)

    def __post_init__(self):
        for name, options in vars(self).items():
            if not options or min(options) < 1:
                raise InputError(f"{name} must be numbers >= 1, got {options}", param=name)


@dataclass(frozen=True)
class Problem:
    """Sites, what they tune, and what is wanted."""

    sites: Sites
    sizes: Sizes
    gain: Gain
    target: float  # gain to be reached
    limits: Limits = Limits()
    mode: str = "ffa"  # of `sizes.exchange`
    batch: int = 8
    bands: AbstractBands = field(default_factory=SharedBand)
    grid: Grid = Grid()
    least_sites: int = 1  # that take part; a sum in secret hides one among a few only

    def __post_init__(self):
        if not 1 <= self.least_sites <= len(self.sites):
            raise InputError(f"least_sites must be from 1 to {len(self.sites)} sites, got {self.least_sites}")
        if not self.target > 0:
            raise InputError(f"target must be > 0, got {self.target}", param="target")
        self.bands.check(self.sites)

    def work(self, setting: Setting) -> Work:
        """Return what a participant does in a round of this setting; where all get everything, as if all sites took part."""
        exchanged = exchange(self.sizes, self.mode, rank=setting.rank, sites=len(self.sites))
        return cost.work(self.sizes, exchanged, bits=setting.bits, steps=setting.steps, batch=self.batch)


@dataclass(frozen=True)
class Plan:
    """A choice, and what it costs."""

    asked: np.ndarray  # bool[K], who takes part
    shares: np.ndarray  # float[K], of the band
    setting: Setting
    gain: float  # expected
    round: Round
    round_bytes: float  # up and down, of all participants, in one round

    @property
    def time_s(self) -> float:
        """Of all rounds."""
        return self.round.total(self.setting.rounds)[0]

    @property
    def energy_j(self) -> float:
        """Of all participants in all rounds."""
        return self.round.total(self.setting.rounds)[1]

    def within(self, limits: Limits) -> bool:
        """Tell whether the limits are kept."""
        fine = 1 + 1e-9
        return self.time_s <= limits.time_s * fine and self.energy_j <= limits.energy_j * fine


def plan(problem: Problem) -> Plan:
    """Return the plan with the least time that reaches the target within the limits.

    **Raises** `InfeasibleError` that says what can be reached, and which limit would have to give; `offer` holds the figures.
    """
    best = _search(problem)
    if best is None:
        raise _infeasible(problem)
    return best


def fixed(problem: Problem, *, rank: int, steps: int, bits: int = 32) -> Plan | None:
    """Return the usual choice, all sites with equal shares, with as many rounds of the grid as the target needs.

    None if the grid has not so many. The limits are not asked; see `Plan.within`.
    """
    asked = np.ones(len(problem.sites), dtype=bool)
    for rounds in problem.grid.rounds:
        made = build(problem, Setting(rank, bits, steps, rounds), asked, problem.bands.usual)
        if made.gain >= problem.target - 1e-12:
            return made
    return None


def compare(problem: Problem) -> tuple[Plan, dict[str, Plan | None]]:
    """Return the plan, and beside it the fixed choices by name, one for each rank and number of local steps of the grid."""
    choices = itertools.product(problem.grid.ranks, problem.grid.steps)
    usual = {
        f"all sites, rank {rank}, 32 bits, {steps} steps": fixed(problem, rank=rank, steps=steps)
        for rank, steps in choices
    }
    return plan(problem), usual


def build(problem: Problem, setting: Setting, asked: np.ndarray, sharing: AbstractSharing) -> Plan:
    """Return the plan with these participants, bool[K], and this way to share; nothing is chosen."""
    duty, sites = problem.work(setting), problem.sites
    shares = sharing.shares(sites, duty, asked)
    spent = cost.round_cost(sites, duty, shares, asked=asked)
    value = float(sites.value[asked].sum())
    gain = problem.gain(value, rank=setting.rank, bits=setting.bits, steps=setting.steps, rounds=setting.rounds)
    return Plan(asked, shares, setting, gain, spent, int(asked.sum()) * (duty.up_bits + duty.down_bits) / 8)


def _settings(grid: Grid) -> Iterator[Setting]:
    for rank, bits, steps, rounds in itertools.product(grid.ranks, grid.bits, grid.steps, grid.rounds):
        yield Setting(rank, bits, steps, rounds)


def _search(problem: Problem) -> Plan | None:
    best: Plan | None = None
    for setting in _settings(problem.grid):
        need = problem.gain.least_value(
            problem.target, rank=setting.rank, bits=setting.bits, steps=setting.steps, rounds=setting.rounds
        )
        if need > 1 + 1e-9:
            continue
        most_s = (best.time_s if best else problem.limits.time_s) / setting.rounds
        asked = _fastest(problem, setting, min(need, 1.0), most_s)
        if asked is None:
            continue
        found = build(problem, setting, asked, problem.bands)
        if found.within(problem.limits) and (best is None or found.time_s < best.time_s):
            best = found
    return best


def _fastest(problem: Problem, setting: Setting, need: float, most_s: float) -> np.ndarray | None:
    """Return the participants of the fastest round of this setting with value >= need; None if none ends by most_s."""
    duty, energy_j = problem.work(setting), problem.limits.energy_j / setting.rounds
    moments_s = problem.bands.moments(problem.sites, duty, most_s)
    if not len(moments_s):
        return None

    def works(by_s: float) -> np.ndarray | None:
        return least_room(_burdens(problem, duty, by_s), need, energy_j=energy_j, least=problem.least_sites)

    return problem.bands.earliest(works, moments_s, rising=bool(np.isinf(energy_j)))


def _burdens(problem: Problem, duty: Work, by_s: float) -> Burdens:
    """What each site brings and takes if it is ready by then with the least share."""
    shares, room = problem.bands.needed(problem.sites, duty, by_s)
    can = np.isfinite(room)
    usable = np.clip(np.where(can, shares, 1.0), 1e-300, 1.0)
    energy_j = cost.round_cost(problem.sites, duty, usable).energy_j
    return Burdens(problem.sites.value, room, np.where(can, energy_j, np.inf))


def _reach(problem: Problem) -> Plan | None:
    """Return the plan with the largest gain within the limits."""
    best: Plan | None = None
    for full, setting in sorted(((_full(problem, one), one) for one in _settings(problem.grid)), reverse=True):
        if best is not None and full <= best.gain:
            break
        duty, energy_j = problem.work(setting), problem.limits.energy_j / setting.rounds
        moments_s = problem.bands.moments(problem.sites, duty, problem.limits.time_s / setting.rounds)
        for by_s in moments_s[-1:] if np.isinf(energy_j) else moments_s:
            asked = most_value(_burdens(problem, duty, float(by_s)), energy_j=energy_j, least=problem.least_sites)
            made = None if asked is None else build(problem, setting, asked, problem.bands)
            if made and made.within(problem.limits) and (best is None or made.gain > best.gain):
                best = made
    return best


def _full(problem: Problem, setting: Setting) -> float:
    """Return the gain of a setting if everybody took part."""
    return problem.gain(1.0, rank=setting.rank, bits=setting.bits, steps=setting.steps, rounds=setting.rounds)


def _infeasible(problem: Problem) -> InfeasibleError:
    """Say what can be reached, and what it would take to reach the target."""
    reached, limits = _reach(problem), problem.limits
    offer: dict = {"gain": reached.gain if reached else 0.0}
    told = [f"at most {offer['gain']:.3g} can be reached within the limits" if reached else "nothing fits the limits"]
    for name, unit, what in (("time_s", "s", "time"), ("energy_j", "J", "energy")):
        if np.isinf(getattr(limits, name)):
            continue
        relaxed = _search(replace(problem, limits=replace(limits, **{name: np.inf})))
        if relaxed is not None:
            offer[name] = float(getattr(relaxed, name))
            given = getattr(limits, name)
            told.append(f"with {offer[name]:.3g} {unit} instead of {given:.3g} {unit} of {what} the target could be")
    if len(offer) == 1:
        free = replace(problem, limits=Limits())
        unlimited = _search(free)
        if unlimited is None:
            most = _reach(free)
            told.append(f"no limit is in the way: {most.gain if most else 0.0:.3g} is the most that the grid can bring")
        else:
            offer |= {"time_s": unlimited.time_s, "energy_j": unlimited.energy_j}
            told.append(
                f"both limits would have to give, for instance to {unlimited.time_s:.3g} s and {unlimited.energy_j:.3g} J"
            )
    return InfeasibleError(f"no plan reaches a gain of {problem.target:.3g}: {'; '.join(told)}", offer=offer)
