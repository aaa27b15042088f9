"""The probes are what they say: values by hand, and ends of the right kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.sim import probes

NONE = -np.inf
BY_HAND = {  # with gamma = 0.5, per situation and action
    "value": [[1, 1, 1]],
    "action": [[-1, 1, -1]],
    "observation": [[1, -1, 1], [-1, 1, -1]],
    "delay": [[0.5, 0.5, 0.5], [1, 1, 1]],
    "credit": [[0.2 + 0, 0 + 0.5, 0.2], [0, -1, 0], [1, -1, 1]],
    "mask": [[0, 0.5, NONE]],
    "mask-after": [[-0.5, -1, NONE], [-2, -3, NONE]],
    "horizon": [[2, 1.5, 2]],
    "end": [[1, 1.25, 1], [2.5, 0, 2.5]],
}
PROBES = probes.probes()


def test_every_probe_has_been_worked_out_by_hand():
    assert list(PROBES) == list(BY_HAND)


@pytest.mark.parametrize("name", BY_HAND)
def test_values_are_those_worked_out_by_hand(name):
    probe = PROBES[name]
    np.testing.assert_allclose(probe.solve()[probe.rows], BY_HAND[name], atol=1e-12)


@pytest.mark.parametrize(
    ("name", "action", "terminated", "truncated"), [("horizon", 0, 0, 1), ("horizon", 1, 1, 0), ("end", 0, 1, 0)]
)
def test_ends_are_of_the_right_kind(name, action, terminated, truncated):
    environment = PROBES[name].environment
    moment, seen = environment.reset(jax.random.key(0))
    _, step = environment.step(moment, jnp.int32(action), jax.random.key(1))
    assert (bool(step.terminated), bool(step.truncated)) == (terminated, truncated)
    np.testing.assert_array_equal(step.observation.features, seen.features)
    if not terminated or name == "end":
        np.testing.assert_array_equal(step.final.features, seen.features)  # which is what would lead astray


def test_a_mask_after_leads_astray_whoever_counts_on_what_is_not_allowed():
    """With 0 for the action that is not allowed, going on would look better than leaving."""
    probe = PROBES["mask-after"]
    assert probe.solve()[0].argmax() == 0
    assert max(0.0, *probe.solve()[1, :2]) * probes.GAMMA > probe.solve()[0, 0]
