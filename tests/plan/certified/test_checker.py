"""The checker finds each kind of lie and shares no code with what it checks."""

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edgegen.plan.certified import checker
from edgegen.plan.certified.checker import check
from edgegen.plan.certified.draw import draw, golden
from edgegen.plan.certified.planner import exact

BEST = exact(golden())


def changed(user: int, **values):
    columns = {name: np.array(getattr(BEST, name)) for name in values}
    for name, value in values.items():
        columns[name][user] = value
    return dataclasses.replace(BEST, **columns)


def test_it_imports_the_instance_and_nothing_else_of_the_planner():
    tree = ast.parse(Path(checker.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name and name.startswith("edgegen")} == {"edgegen.plan.certified.instance"}


def test_the_golden_times_and_energies_by_hand():
    audit = check(golden(), BEST)
    assert audit.holds
    assert audit.objective == pytest.approx(0.590842, abs=1e-6)
    np.testing.assert_allclose(audit.total_s[0], 0.060936 + 2.475 + 0.051779, atol=1e-5)
    np.testing.assert_allclose(audit.device_energy_j[0], 0.2 * 0.060936, rtol=1e-4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clock_hz": 2e9}, "server 1 gives away 2e+09 Hz of 1e+09 Hz of its clock"),
        ({"uplink_hz": 1e3}, "user 0 takes"),
        ({"uplink_hz": -1.0}, "a share of a uplink is negative"),
        ({"downlink_hz": np.nan}, "negative or not a number"),
        ({"clock_hz": 0.0}, "user 0 takes inf s"),
        ({"node": 3}, "no node 3"),
        ({"node": -1}, "user 0 is refused but must be served"),
        ({"steps": 17}, "no step count 17"),
        ({"steps": 30}, "the plan says it costs"),
    ],
)
def test_each_broken_rule_is_named(values, message):
    broken = check(golden(), changed(0, **values)).broken
    assert any(message in line for line in broken), broken


def test_limits_of_the_device_are_checked():
    too_fast = check(golden(), changed(1, clock_hz=1.5e9))
    assert any("clocks its device at" in line for line in too_fast.broken)
    hungry = golden().replace(energy_j=np.array([20.0, 1.0, 15.0]), energy_scale_j=golden().energy_scale_j)
    assert any("user 1 spends" in line for line in check(hungry, BEST).broken)
    banned = np.array(golden().allowed)
    banned[0, 1] = False
    assert any("are not allowed" in line for line in check(golden().replace(allowed=banned), BEST).broken)


def test_a_bound_above_the_cost_is_a_lie():
    lie = dataclasses.replace(BEST, bound=BEST.objective * 1.01)
    assert any("nothing costs less" in line for line in check(golden(), lie).broken)


def test_a_step_more_or_less_is_never_better_than_the_optimum():
    instance = draw(6, users=4, servers=2)
    best = exact(instance)
    for user in range(4):
        for change in (-1, 1):
            steps = np.array(best.steps)
            steps[user] += change
            other = check(instance, dataclasses.replace(best, steps=steps, bound=-np.inf))
            late = [line for line in other.broken if "takes" in line]
            assert late or other.objective >= best.objective - 1e-9
