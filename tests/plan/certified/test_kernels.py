"""Kernels compile once: one signature each, whatever is planned."""

import numpy as np

from edgegen.plan.certified import prices, search, sets, steps
from edgegen.plan.certified.draw import draw, golden
from edgegen.plan.certified.planner import exact, plan


def test_no_kernel_is_compiled_for_a_second_layout_of_its_arguments():
    exact(golden())
    plan(draw(1, users=30, servers=3, family="tight_battery").replace(refusal_cost=np.full(30, 2.0)))
    last = plan(draw(2, users=1, servers=1))
    plan(draw(2, users=1, servers=1), price=last.price.astype(np.float32))
    entered = (prices.evaluate, prices.ascend, search.place, search.refresh, search.improve, search.total_cost)
    assert {kernel.__name__: len(kernel.signatures) for kernel in entered if len(kernel.signatures) != 1} == {}
    assert len(sets.solve_set.signatures) <= 1
    assert len(steps._enumerate.signatures) <= 1
