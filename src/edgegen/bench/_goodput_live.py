"""Real pictures at rates around the capacity: the planner beside the best fixed-steps first-come-first-served."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from edgegen.config import Config
from edgegen.core.result import Bar
from edgegen.registry import DEFAULT

OURS = DEFAULT
LOADS, GOAL = (0.7, 1.0, 1.5), 1.5
SECONDS, SEEDS, SEARCH_S = 15.0, (0, 1, 2), 12.0
STEPS = (1, 2, 4, 6, 8, 12, 16)
IN_TIME = 0.95  # up to the capacity this share is in time
TIME_WEIGHT = 0.05
DRAWS = 2000


def live_bars(progress: Callable[[str], None]) -> list[Bar]:
    """Find the capacity and the best rival in virtual time, then serve live; takes about eight minutes."""
    from edgegen.assemble import build_fleet
    from edgegen.config import default_config
    from edgegen.observe.logs import set_up

    set_up("warning")
    config = default_config()
    # Goodput asks for right pictures in time; joules are not counted, and the rival spends all that it can.
    wanted = config.objective.model_copy(update={"time": TIME_WEIGHT, "energy": 0.0, "money": 0.0})
    config = config.model_copy(update={"objective": wanted})
    fleet = build_fleet(config)
    progress("the capacity of the best fixed-steps first-come-first-served, in virtual time")
    rate_hz = capacity(config, fleet)
    bars = [
        Bar.report(
            f"capacity: {IN_TIME:.0%} in time under the best fixed steps, first come first served", rate_hz, unit="1/s"
        )
    ]
    for load in LOADS:
        bars += _at(load, load * rate_hz, config, fleet, progress)
    return bars


def capacity(config: Config, fleet) -> float:
    """Return the highest rate at which the fixed steps that are best there still keep the deadlines."""
    low, high = 1.0, 2.0
    while best_fixed(config, fleet, high)[1] >= IN_TIME and high < 512:
        low, high = high, 2 * high
    while high / low > 1.05:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if best_fixed(config, fleet, middle)[1] >= IN_TIME else (low, middle)
    return low


def best_fixed(config: Config, fleet, rate_hz: float) -> tuple[str, float]:
    """Return the fixed steps (and model, or any) with the most expected right pictures in time, and their share in time.

    Its servers are told no limits, so they serve in the order of arrival and refuse only when 64 wait.
    """
    from edgegen.dispatch.catalog import Catalog
    from edgegen.dispatch.messages import Limits
    from edgegen.experiments.replaying import run, traffic

    catalog = Catalog(fleet)
    asked = traffic("poisson", config, rate_hz=rate_hz, seconds=SEARCH_S).requests(len(SEEDS))
    blind = [dataclasses.replace(request, limits=Limits()) for request in asked]
    best, most, in_time = "", -1.0, 0.0
    for model in (None, *range(len(fleet.models))):
        for steps in STEPS:
            name = f"fixed-steps:steps={steps}" + ("" if model is None else f",model={model}")
            ended = [
                dataclasses.replace(outcome, request=request)
                for outcome, request in zip(run(catalog, name, blind, config), asked, strict=True)
            ]
            good = sum(one.start.quality for one in ended if one.met_deadline and one.start)
            if good > most:
                best, most = name, good
                in_time = sum(one.met_deadline for one in ended) / len(ended)
    return best, in_time


def _at(load: float, rate_hz: float, config: Config, fleet, progress: Callable[[str], None]) -> list[Bar]:
    from edgegen.demo.run import send_live
    from edgegen.demo.score import judge_all
    from edgegen.experiments.arrivals import without_limits
    from edgegen.experiments.replaying import traffic

    rival, _ = best_fixed(config, fleet, rate_hz)
    good: dict[str, list[bool]] = {OURS: [], rival: []}
    in_time: dict[str, list[bool]] = {OURS: [], rival: []}
    for seed in SEEDS:
        asks = traffic("poisson", config, rate_hz=rate_hz, seconds=SECONDS).asks(seed)
        for name in (OURS, rival):
            progress(f"{load:g} x capacity, {rate_hz:.1f}/s, seed {seed}, {name}")
            sent = asks if name == OURS else [without_limits(ask) for ask in asks]
            seen = send_live(config, fleet, name, sent, lambda outcome: None)
            judged = judge_all([dataclasses.replace(one, ask=ask) for one, ask in zip(seen, asks, strict=True)])
            good[name] += [one.good for one in judged]
            in_time[name] += [one.outcome.in_time for one in judged]
    return goodput(f"{load:g} x capacity ({rate_hz:.1f}/s)", load, rival, good, in_time)


def goodput(
    label: str, load: float, rival: str, good: dict[str, list[bool]], in_time: dict[str, list[bool]]
) -> list[Bar]:
    """Return the ratio with its interval and its goal, what it could be at most, and both shares."""
    ours, theirs = (np.array(good[name], dtype=float) for name in (OURS, rival))
    ratio, low, high = ratio_interval(ours, theirs)
    known = {"unit": "x", "n": len(ours), "low": low, "high": high}
    name = f"{label}: right pictures in time, over those of {rival}, first come first served ({theirs.mean():.1%})"
    bars = [Bar.at_least(name, ratio, GOAL, **known)]
    if load < 1:
        bars.append(Bar.at_least(f"{label}: the same, not worse", ratio, 1.0, **known))
    most = 1 / theirs.mean() if theirs.any() else np.inf
    bars.append(Bar.report(f"{label}: that ratio if everything were right and in time", most, unit="x", n=len(ours)))
    for policy, kept in in_time.items():
        bars.append(Bar.report(f"{label}: in time under {policy}", 100 * float(np.mean(kept)), unit="%", n=len(kept)))
    return bars


def ratio_interval(
    ours: Sequence[float] | np.ndarray, theirs: Sequence[float] | np.ndarray
) -> tuple[float, float, float]:
    """Return the ratio of two means over the same requests with its 95 % interval (bootstrap, pairs kept)."""
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    rows = np.random.default_rng(0).integers(len(ours), size=(DRAWS, len(ours)))
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = ours[rows].mean(axis=1) / theirs[rows].mean(axis=1)
        ratio = float(ours.mean() / theirs.mean())
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return ratio, float(low), float(high)
