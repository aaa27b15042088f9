"""An infeasible instance is answered with what would have to give, and that is enough."""

import numpy as np
import pytest

from edgegen.plan.certified.draw import draw, golden
from edgegen.plan.certified.planner import Status, plan
from edgegen.plan.certified.relaxation import impossible_alone, relaxations, shortest_alone_s


def relaxed(instance, found, *, by: float = 1.0):
    values = np.array(getattr(instance, found.field))
    values[list(found.rows)] *= 1 + (found.factor - 1) * by
    return plan(instance.replace(**{found.field: values}))


def test_a_deadline_that_nobody_can_keep_is_named_with_the_least_that_works():
    instance = golden().replace(deadline_s=np.array([0.3, 8.0, 12.0]))
    assert impossible_alone(instance).tolist() == [0]
    best = relaxations(instance)[0]
    assert (best.field, best.rows) == ("deadline_s", (0,))
    assert best.factor * 0.3 == pytest.approx(shortest_alone_s(instance, 0), rel=2e-3)
    assert best.message.startswith("multiply deadline_s of user 0 by")
    assert np.isfinite(relaxed(instance, best).objective)
    assert relaxed(instance, best, by=0.99).status is Status.INFEASIBLE


def test_users_that_only_fail_together_get_the_smallest_single_changes():
    instance = draw(2, users=6, servers=1, family="tight_deadline").replace(deadline_s=np.full(6, 1.1))
    assert impossible_alone(instance).size == 0
    assert plan(instance).status is Status.INFEASIBLE
    found = relaxations(instance)
    assert found
    assert [one.factor for one in found] == sorted(one.factor for one in found)
    for one in found:
        assert np.isfinite(relaxed(instance, one).objective), one.message
        assert not np.isfinite(relaxed(instance, one, by=0.98).objective), one.message


def test_a_feasible_instance_needs_nothing():
    assert relaxations(golden()) == ()
