"""An instance says which field is wrong, where, and what was expected."""

import numpy as np
import pytest

from edgegen.core.errors import InputError, UnknownNameError
from edgegen.plan.certified.draw import FAMILIES, draw, golden


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("deadline_s", [np.nan, 8, 12], r"deadline_s\[0\] must be a number, got nan"),
        ("deadline_s", [10, -8, 12], r"deadline_s\[1\] must be > 0, got -8"),
        ("server_hz", [1e9, 0], r"server_hz\[1\] must be > 0, got 0"),
        ("uplink_hz", [np.inf, 5e6], r"uplink_hz\[0\] must be finite, got inf"),
        ("energy_j", [20, 30], r"energy_j must have the shape \(3,\) \(N\), got \(2,\)"),
        ("upload_bits", [-1, 1, 1], r"upload_bits\[0\] must be >= 0, got -1"),
        ("steps", [5, 10, 10, 20, 30], r"steps must rise strictly"),
        ("steps", [0, 10, 15, 20, 30], r"steps must rise strictly and start at 1"),
        ("weights", "heavy", r"weights must hold numbers, got 'heavy'"),
        ("fixed_s", np.full((3, 3), -0.1), r"fixed_s\[0, 0\] must be >= 0"),
    ],
)
def test_a_wrong_field_is_named(field, change, message):
    with pytest.raises(InputError, match=message) as caught:
        golden().replace(**{field: change})
    assert caught.value.param == field


def test_falling_cycles_are_refused():
    cycles = np.array(golden().cycles)
    cycles[1, 2, 3] = 1.0
    with pytest.raises(InputError, match="user 1 on node 2 needs fewer for 20 steps than for 15"):
        golden().replace(cycles=cycles)


def test_missing_fields_and_no_steps_are_named():
    given = dict(vars(golden()))
    del given["deadline_s"]
    with pytest.raises(InputError, match="an instance needs deadline_s: N"):
        type(golden()).build(**given)
    empty = np.zeros((3, 3, 0))
    with pytest.raises(InputError, match="steps must hold at least one"):
        golden().replace(steps=[], model=[], error=empty, cycles=empty, allowed=empty)


def test_arrays_cannot_be_changed_behind_the_plan():
    with pytest.raises(ValueError, match="read-only"):
        golden().deadline_s[0] = 1.0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_draw_is_repeatable_and_differs_between_seeds(family):
    first, again, other = (draw(seed, users=4, servers=2, family=family) for seed in (1, 1, 2))
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, getattr(again, name))
    assert not np.array_equal(first.device_hz, other.device_hz)


def test_an_unknown_family_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'tight_deadline'"):
        draw(1, family="tight_deadlin")
