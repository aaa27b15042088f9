"""Federated Learning-Empowered AI-Generated Content in Wireless Networks.

Huang, Li, Du, Kang, Niyato, Kim and Wu, 2023, arXiv:2307.07146 (authors as an index of the abstract lists them).

From the paper (abstract only; the body could not be read): existing services are centralised in pre-training, fine-tuning and
inference; federated techniques are given for each; the case study is federated fine-tuning of Stable Diffusion, with advantages in
"reducing the communication cost and training latency and privacy protection". The abstract has no number, so none here is the paper's.
From its family: exchange of a whole network, of its output half, or of halves in turns (arXiv:2406.12575, abstract and first
page); LoRA factors averaged (arXiv:2410.09432, abstract, with why averaging both factors is not the average of the product).
Derived by us: all bytes and operations, from the layers of the published networks (`tune.radio.unet`); twice the forward work for a
training step of adapters, three times for a whole network; with own bands a prefix of the sites by time is enough; in a common
band all participants should finish together, and who takes part is a knapsack (`tune.radio.planning`).
Guessed: the radio (frequency division, powers, path loss and band of the planner's cells), speeds and powers of sites, the size of a
private picture, the form and the numbers of what a run brings (`tune.radio.gain.START`), what the "training latency" was compared with.
Deviations: 1. What is tuned is LoRA on the projections of attention; the paper's choice is unknown. 2. The planner is ours: the abstract
names none. 3. Claims are checked against the exchange of whole networks and against moving the pictures; which baselines the paper
has is unknown. 4. Path loss without fading. 5. One pass over the pictures' server counts as many samples as the sites together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgegen.core.citation import Citation
from edgegen.core.errors import InfeasibleError
from edgegen.core.result import Bar
from edgegen.tune.radio import cost
from edgegen.tune.radio.gain import START
from edgegen.tune.radio.planning import Grid, Plan, Problem, fixed, plan
from edgegen.tune.radio.sizes import EVERYWHERE, MODES, declared, exchange
from edgegen.tune.radio.terrain import draw_places, usual_round

CITATION = Citation(
    key="huang2023flaigc",
    authors="Huang, Xumin and Li, Peichun and Du, Hongyang and Kang, Jiawen and Niyato, Dusit and Kim, Dong In and Wu, Yuan",
    title="Federated Learning-Empowered AI-Generated Content in Wireless Networks",
    year=2023,
    identifier="arXiv:2307.07146",
)
PICTURES = 3000  # of all sites together
CENTRE_FLOPS = 60e12  # of one machine in a data centre, while training
TARGET = 0.25
RANK, BITS, STEPS, BATCH = 4, 32, 60, 8  # the usual choice
HUNDREDTH = 1 / 100


@dataclass(frozen=True)
class Settings:
    """What varies between networks of sites."""

    sites: int = 10
    alpha: float = 1.0  # of the Dirichlet distribution of their sizes; the smaller the more unequal
    model: str = "sd-1.5"  # declared size


def draw(seed: int, settings: Settings = Settings()) -> Problem:
    """Draw K sites around a base station: unequal sizes, distances of 50 to 350 m, speeds of 4 to 20 TFLOP/s."""
    rng, count = np.random.default_rng(seed), settings.sites
    parts = rng.dirichlet(np.full(count, settings.alpha))
    of = draw_places(np.maximum(1.0, np.round(PICTURES * parts)), rng)
    return Problem(of, declared(settings.model), START, TARGET, batch=BATCH)


def all_sites(problem: Problem) -> Plan | None:
    """Everybody takes part with equal shares, rank 4, 32 bits and 60 local steps: the usual choice."""
    return fixed(problem, rank=RANK, steps=STEPS, bits=BITS)


def best_fixed(problem: Problem) -> Plan | None:
    """The fastest of the fixed choices of the grid, with everybody and equal shares, also over the number of bits."""
    grid = problem.grid
    made = [
        fixed(problem, rank=rank, steps=steps, bits=bits)
        for rank in grid.ranks
        for steps in grid.steps
        for bits in grid.bits
    ]
    return min((one for one in made if one is not None), key=lambda one: one.time_s, default=None)


def planned(problem: Problem) -> Plan | None:
    """The planner of `tune.radio.planning`."""
    try:
        return plan(problem)
    except InfeasibleError:
        return None


POLICIES: Mapping[str, Callable[[Problem], Plan | None]] = {
    "all-sites": all_sites,
    "best-fixed": best_fixed,
    "planner": planned,
}
"""Who decides in a network; None where the target is not reached."""


def one_round(problem: Problem, mode: str) -> tuple[float, float, float]:
    """Return (bytes that a site sends and gets, seconds, joules of all sites) of a round of a mode, all sites, equal shares."""
    sites = problem.sites
    moved, cost = usual_round(sites, problem.sizes, mode, rank=RANK, bits=BITS, steps=STEPS, batch=BATCH)
    return moved, cost.time_s, float(cost.energy_j.sum())


def against_moving(problem: Problem, made: Plan) -> tuple[float, float]:
    """Return the bytes and the seconds of a plan, each over those of moving all pictures and training on as many samples there."""
    setting, count = made.setting, int(made.asked.sum())
    samples = setting.rounds * setting.steps * problem.batch * count
    operations = exchange(problem.sizes, problem.mode).work * problem.sizes.flop * samples
    shares = np.full(len(problem.sites), 1 / len(problem.sites))
    moved = cost.move_pictures(problem.sites, problem.sizes, shares, operations=operations, server_flops=CENTRE_FLOPS)
    return setting.rounds * made.round_bytes / (moved.bits.sum() / 8), made.time_s / moved.time_s


def claims(progress: Callable[[str], None], *, instances: int = 30, seed: int = 100) -> list[Bar]:
    """Check "reducing the communication cost and training latency" (abstract) on declared sizes, and the planner (ours)."""
    progress(f"fl_aigc: {instances} networks of {Settings().sites} sites, exchange modes and choices")
    networks = [draw(seed + number) for number in range(instances)]
    modes = {mode: np.array([one_round(network, mode) for network in networks]) for mode in MODES}
    made = {name: [_reached(policy(network), name) for network in networks] for name, policy in POLICIES.items()}
    moving = {name: np.array(list(map(against_moving, networks, plans))) for name, plans in made.items()}
    ours_s = _seconds(made["planner"])
    bars = [
        _of("bytes of an adapter round over full exchange", modes["ffa"][:, 0] / modes["full"][:, 0], most=HUNDREDTH),
        _of("seconds of an adapter round over full exchange", modes["ffa"][:, 1] / modes["full"][:, 1], most=1.0),
        _of("joules of an adapter round over full exchange", modes["ffa"][:, 2] / modes["full"][:, 2], most=1.0),
        _of("bytes of a run over moving the pictures, usual choice", moving["all-sites"][:, 0], most=1.0),
        _of("bytes of a run over moving the pictures, planner", moving["planner"][:, 0], most=1.0),
        # The abstract does not say what its latency was compared with: shown, not claimed.
        _of("seconds of a run over moving the pictures, usual choice", moving["all-sites"][:, 1]),
        _of("seconds of a run over moving the pictures, planner", moving["planner"][:, 1]),
    ]
    bars.insert(1, _on_every_layer(networks[0]))
    for rival in ("all-sites", "best-fixed"):
        saved = 100 * (1 - ours_s / _seconds(made[rival]))
        bars.append(Bar.of_mean(f"fl_aigc: mean time saved by the planner against {rival}", saved, 0.0, unit="%"))
        worst = Bar.at_least(f"fl_aigc: least time saved against {rival}", saved.min(), -1e-6, unit="%", n=instances)
        bars.append(worst)
    for mode in ("ffa", "full"):
        saved = np.array([100 * shares_alone(network, mode) for network in networks])
        bars.append(_of(f"time of a round of {mode} saved by dividing the band, in percent", saved, least=0.0))
    bars += [_of(f"bytes of a round of {mode} over full exchange", ratio) for mode, ratio in _ratios(modes).items()]
    return bars


def shares_alone(problem: Problem, mode: str) -> float:
    """Return the part of a round's time that dividing the band well saves, all sites, all else being the usual choice."""
    everybody = np.ones(len(problem.sites), dtype=bool)
    exchanged = exchange(problem.sizes, mode, rank=RANK, sites=len(problem.sites))
    duty = cost.work(problem.sizes, exchanged, bits=BITS, steps=STEPS, batch=BATCH)
    ways = (problem.bands, problem.bands.usual)
    ours_s, equal_s = (
        cost.round_cost(problem.sites, duty, how.shares(problem.sites, duty, everybody)).time_s for how in ways
    )
    return 1 - ours_s / equal_s


def _on_every_layer(problem: Problem) -> Bar:
    sizes = replace(problem.sizes, adapted=EVERYWHERE)
    ratio = exchange(sizes, "ffa", rank=2 * RANK).up_bits(BITS) / exchange(sizes, "full").up_bits(BITS)
    return Bar.at_most("fl_aigc: the same with adapters of rank 8 on every layer", ratio, HUNDREDTH)


def _ratios(modes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {mode: modes[mode][:, 0] / modes["full"][:, 0] for mode in ("decoder", "split", "fedit", "fedex")}


def _reached(made: Plan | None, name: str) -> Plan:
    if made is None:
        raise InfeasibleError(f"{name} does not reach a gain of {TARGET} on a drawn network; widen the grid {Grid()}")
    return made


def _seconds(plans: list[Plan]) -> np.ndarray:
    return np.array([one.time_s for one in plans])


def _of(label: str, samples: np.ndarray, *, least: float | None = None, most: float | None = None) -> Bar:
    return Bar.of_mean(f"fl_aigc: {label}", samples, least, most)
