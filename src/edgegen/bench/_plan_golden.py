"""How far the golden values of the three published systems are off; each was computed with other solvers first."""

from collections.abc import Callable

import numpy as np

from edgegen.core.result import Bar

OQC, OQC_TOLERANCE = 0.590842, 1e-4
JMARA, JMARA_TOLERANCE = (
    (  # category to model, utility at the best steps
        ((1, 1, 2, 2), 0.459351),
        ((0, 1, 2, 2), 0.458601),
        ((1, 1, 1, 2), 0.455927),
        ((0, 1, 1, 2), 0.453984),
        ((2, 2, 2, 2), 0.434915),
        ((0, 0, 0, 0), 0.386589),
    ),
    1e-6,
)
FHEI, FHEI_TOLERANCE = (
    (  # levels, the part of every resource that they need
        ((1, 1, 1), 0.851575),
        ((4, 3, 2), 1.975788),
        ((3, 3, 1), 1.372018),
        ((2, 2, 1), 0.991465),
        ((2, 1, 1), 0.897341),
        ((1, 2, 1), 0.939341),
        ((3, 3, 0), 0.96618),
    ),
    1e-5,
)
FHEI_OPTIMUM, FHEI_BOUND = 0.98, 0.983873


def bars(progress: Callable[[str], None]) -> list[Bar]:
    """Compare every golden value."""
    progress("golden values (the first plan after an installation compiles for a minute)")
    return [*_oqc(progress), *_jmara(), *_fhei()]


def has_scip(progress: Callable[[str], None]) -> bool:
    """Return whether SCIP is installed; say what is left out if not."""
    import importlib.util

    found = importlib.util.find_spec("pyscipopt") is not None
    if not found:
        progress("SCIP is not installed (pip install 'edgegen[oracles]'): its bars are left out")
    return found


def _oqc(progress: Callable[[str], None]) -> list[Bar]:
    from edgegen.plan.certified.draw import golden
    from edgegen.plan.certified.oracles import Effort, solve
    from edgegen.plan.certified.planner import exact, plan

    values = {"exact": exact(golden()).objective, "plan": plan(golden()).objective}
    values["set partitioning (HiGHS)"] = solve("partition", golden()).objective
    if has_scip(progress):
        values["SCIP"] = solve("conic", golden(), Effort(gap=1e-5, limit_s=60.0)).objective
    return [
        Bar.at_most(f"golden oqc, {name}: off by", abs(value - OQC), OQC_TOLERANCE) for name, value in values.items()
    ]


def _jmara() -> list[Bar]:
    from edgegen.papers import jmara

    site = jmara.default_site()
    found = [jmara.best_steps(site, jmara.counts_of(site, np.array(models))).utility for models, _ in JMARA]
    off = [abs(value - wanted) for value, (_, wanted) in zip(found, JMARA, strict=True)]
    best = abs(jmara.joint_optimum(site).utility - JMARA[0][1])
    return [
        Bar.at_most("golden jmara, utilities: worst off by", max(off), JMARA_TOLERANCE, n=len(off)),
        Bar.at_most("golden jmara, joint optimum: off by", best, JMARA_TOLERANCE),
    ]


def _fhei() -> list[Bar]:
    from edgegen.papers import fhei

    site = fhei.golden()
    off = [abs(float(fhei.burden(site, np.array(levels))) - wanted) for levels, wanted in FHEI]
    ours, best = fhei.near_optimal(site), fhei.exact(site)
    worst = max(abs(found.quality - FHEI_OPTIMUM) for found in (ours, best))
    return [
        Bar.at_most("golden fhei, burdens: worst off by", max(off), FHEI_TOLERANCE, n=len(off)),
        Bar.at_most("golden fhei, optimum by both methods: worst off by", worst, FHEI_TOLERANCE, n=2),
        Bar.report("golden fhei, bound of the price search above the best dual bound", ours.bound - FHEI_BOUND),
    ]
