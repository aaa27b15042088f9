"""The bar on the replay: what it says about attainment and latency comes true on the real gateway."""

from collections.abc import Callable

from edgegen.core.result import Bar
from edgegen.registry import DEFAULT

NAME = "gap"
SUMMARY = (
    "the same requests live (HTTP, worker processes, real pictures) and in virtual time: attainment, latency, energy"
)
GOAL = 10.0  # percent
SECONDS = 30.0
RUNS = (("poisson", 6.0, DEFAULT), ("poisson", 16.0, DEFAULT), ("bursty", 10.0, DEFAULT), ("poisson", 6.0, "all-light"))
SEED = 5
HELD = ("attainment", "p50_s", "p95_s")


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Measure everything; takes about three minutes."""
    from edgegen.assemble import build_fleet
    from edgegen.config import default_config
    from edgegen.demo.gap import compare
    from edgegen.experiments.replaying import traffic
    from edgegen.observe.logs import set_up

    set_up("warning")
    config = default_config()
    fleet, bars = build_fleet(config), []
    for trace, rate_hz, policy in RUNS:
        progress(f"{trace} at {rate_hz:g}/s for {SECONDS:g} s under {policy}")
        asks = traffic(trace, config, rate_hz=rate_hz, seconds=SECONDS).asks(SEED)
        found = compare(config, fleet, policy, asks)
        label = f"{policy}, {trace} at {rate_hz:g}/s"
        for gap in found.gaps:
            name = f"{label}: {gap.figure} in replay against live ({gap.replay:.3g} and {gap.live:.3g})"
            known = {"unit": "%", "n": found.requests, "low": 100 * gap.low, "high": 100 * gap.high}
            if gap.figure in HELD:
                bars.append(Bar.within(name, 100 * gap.error, -GOAL, GOAL, **known))
            else:
                bars.append(Bar.report(name, 100 * gap.error, **known))
        bars.append(Bar.report(f"{label}: ran on the same node", 100 * found.same_place, unit="%", n=found.requests))
    return bars
