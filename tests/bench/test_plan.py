"""The bars of the planner's benchmark are computed from what they say, and the golden ones hold."""

import numpy as np
import pytest

from edgegen.bench import _plan_golden, _plan_race, _plan_sizes
from edgegen.plan.certified.draw import GOLDEN_STEPS, draw
from edgegen.plan.certified.oracles import ORACLES
from edgegen.plan.certified.planner import plan


def test_the_golden_values_hold():
    bars = {bar.bar: bar for bar in _plan_golden.bars(lambda line: None)}
    assert [name for name, bar in bars.items() if bar.ok is False] == []
    assert {"golden oqc, SCIP: off by", "golden jmara, joint optimum: off by"} <= bars.keys()
    above = bars["golden fhei, bound of the price search above the best dual bound"].value
    assert -1e-6 <= above <= 1e-3


def test_without_scip_its_bars_are_left_out_and_that_is_said(monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyscipopt" else find(name))
    lines = []
    assert _plan_race.bars(lines.append) == []
    assert lines == ["SCIP is not installed (pip install 'edgegen[oracles]'): its bars are left out"]


def test_a_race_gives_every_formulation_the_time_of_the_first_and_counts_what_was_not_reached_as_its_limit(monkeypatch):
    """The answers of the oracles are known here; only the planner runs."""
    asked = {}

    def oracle(name, first_s):
        def solve(instance, effort):
            del instance
            asked[name] = effort
            return type("Answer", (), {"first_s": first_s, "seconds": 99.0})

        return solve

    monkeypatch.setattr(_plan_race, "RUNS", 2)
    known = {"conic": oracle("conic", 7.0), "naive": oracle("naive", np.inf), "reduced": oracle("reduced", 0.5)}
    monkeypatch.setattr("edgegen.plan.certified.oracles.ORACLES", {**ORACLES, **known})
    found = _plan_race.race(40, 3, 2, "default", _plan_race.FORMULATIONS)
    assert found.scip_s == {"conic": 7.0, "naive": 7.0, "reduced": 0.5}
    assert found.proof_s == _plan_race.PROOF_LIMIT_S
    assert 0 < found.plan_s < 1
    assert 0 < found.exact_s < 1
    ours = plan(draw(40, users=3, servers=2, steps=GOLDEN_STEPS)).objective
    assert all(effort.target == pytest.approx(ours * 1.0001) for effort in asked.values())
    assert (asked["conic"].to_target, asked["naive"].to_target) == (False, True)


def test_the_exponent_of_a_power_law_is_found_with_its_interval():
    sizes = np.log(np.repeat([100.0, 1000.0, 5000.0], 3))
    slope, half = _plan_sizes._slope(sizes, 1.3 * sizes - 2)
    assert (slope, half) == (pytest.approx(1.3), pytest.approx(0.0, abs=1e-9))
    noisy = 1.3 * sizes + np.random.default_rng(0).normal(0, 0.1, sizes.size)
    slope, half = _plan_sizes._slope(sizes, noisy)
    assert abs(slope - 1.3) < half < 0.1


def test_gaps_and_times_are_those_of_checked_plans():
    gaps, times = _plan_sizes.gaps_and_times(range(2), 8, 2, "square_root")
    assert gaps == [100 * plan(draw(seed, users=8, servers=2, family="square_root")).gap for seed in range(2)]
    assert (times > 0).all()


def test_a_plan_that_the_checker_refuses_counts_as_no_plan(monkeypatch):
    broken = type("Audit", (), {"holds": False})
    monkeypatch.setattr("edgegen.plan.certified.checker.check", lambda instance, plan: broken)
    assert _plan_sizes.gaps_and_times([1], 4, 2, "default")[0] == [100.0]
