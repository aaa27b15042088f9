"""Random networks are reproducible, complete and usable."""

import jax
import numpy as np
import pytest

from edgegen.core.rules import violated_rows
from edgegen.physics.predict import predict
from edgegen.plan.joint import JointPlanner
from edgegen.plan.networks import SCENARIOS, average_error

every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


@every_scenario
def test_the_same_seed_draws_the_same_network_and_another_seed_another(scenario):
    leaves = lambda seed: jax.tree.leaves(scenario.sample(seed))  # noqa: E731
    for left, right in zip(leaves(3), leaves(3), strict=True):
        np.testing.assert_array_equal(left, right)
    assert any((left != right).any() for left, right in zip(leaves(3), leaves(4), strict=True))


@every_scenario
def test_something_can_be_served_in_every_network(scenario):
    for seed in range(5):
        state = scenario.sample(seed)
        decision = JointPlanner().decide(state)
        ledger = predict(state, decision)
        assert not violated_rows(state, decision).any()
        assert (decision.placed & ~ledger.late & ~ledger.infeasible).any()


def test_the_average_error_falls_and_flattens_and_is_larger_on_a_device():
    steps = np.arange(5, 51)
    error = average_error(steps, device=False)
    assert (np.diff(error) < 0).all()
    assert (np.diff(error, 2) > 0).all()
    np.testing.assert_allclose(average_error(steps, device=True) - error, 0.02)
