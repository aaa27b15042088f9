"""Many instances in one call give what they give one by one."""

import dataclasses

import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.plan.certified.batch import plan_many
from edgegen.plan.certified.draw import FAMILIES, draw
from edgegen.plan.certified.planner import plan


def assert_same(one, other):
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


@pytest.mark.parametrize("workers", [None, 1, 3])
def test_a_batch_is_the_plans_one_by_one_bit_for_bit(workers):
    """Sizes differ, some are solved by branch and bound, one has no plan, one no servers."""
    instances = [draw(seed, users=2 + seed, servers=1 + seed % 3, family=FAMILIES[seed % 3]) for seed in range(18)]
    instances.append(draw(1, users=4).replace(deadline_s=np.array([0.05, 8, 8, 8.0])))
    instances.append(draw(1, users=3, servers=0))
    found = plan_many(instances, workers=workers)
    assert len(found) == len(instances)
    for instance, one in zip(instances, found, strict=True):
        assert_same(one, plan(instance))


def test_options_reach_every_plan():
    instances = [draw(seed, users=6, servers=2) for seed in range(3)]
    for instance, one in zip(instances, plan_many(iter(instances), goal=1.0, branches=0), strict=True):
        assert one.branches == 0
        assert_same(one, plan(instance, goal=1.0, branches=0))


def test_nothing_to_plan_and_nobody_to_do_it():
    assert plan_many([]) == []
    with pytest.raises(InputError, match="workers must be at least 1, got 0"):
        plan_many([], workers=0)
