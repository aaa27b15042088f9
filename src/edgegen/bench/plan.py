"""The bars of the certified planner: golden values, gaps, times, growth, general solvers, and what plans save.

Times are process times of one thread, warm: what a busy machine does to the wall clock is not the planner's.
"""

from collections.abc import Callable

from edgegen.core.result import Bar

NAME = "plan"
SUMMARY = "the certified planner: golden values, gaps, milliseconds by size, growth, SCIP's time, cost saved"


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Measure everything; takes about four minutes, most of them in SCIP."""
    from edgegen.bench import _plan_golden, _plan_race, _plan_sizes
    from edgegen.papers import oqc

    return [
        *_plan_golden.bars(progress),
        *_plan_sizes.small_bars(progress),
        *_plan_sizes.certified_bars(progress),
        *_plan_sizes.growth_bars(progress),
        *_plan_race.bars(progress),
        *oqc.claims(progress),
    ]
