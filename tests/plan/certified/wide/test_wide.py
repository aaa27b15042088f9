"""Wide instances say what is wrong with them, become dense ones, and have a checker of their own that finds lies."""

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edgegen.core.errors import InputError, UnknownNameError
from edgegen.plan.certified.checker import check
from edgegen.plan.certified.draw import draw
from edgegen.plan.certified.wide import checker as wide_checker
from edgegen.plan.certified.wide import instance as wide_module
from edgegen.plan.certified.wide.checker import check_wide
from edgegen.plan.certified.wide.draw import FAMILIES, FARTHEST_KM, wide_draw
from edgegen.plan.certified.wide.executors import Serial
from edgegen.plan.certified.wide.instance import NOWHERE, WideInstance
from edgegen.plan.certified.wide.planner import plan_wide

SMALL = wide_draw(5, users=40, servers=6, reach=3)
PLAN = plan_wide(SMALL, executor=Serial(), size=3)


def changed(user: int, **values):
    columns = {name: np.array(getattr(PLAN, name)) for name in values}
    for name, value in values.items():
        columns[name][user] = value
    return dataclasses.replace(PLAN, **columns)


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("reach", np.tile([0, 6, -1], (40, 1)), "reach must hold servers from 0 to 5, or -1 for none; got -1 to 6"),
        ("reach", np.zeros((40, 3), dtype=int), r"reach\[0\] names server 0 twice"),
        ("reach", np.zeros((39, 3), dtype=int), r"reach must be int\[40, K\], one row per user, got int64\[39, 3\]"),
        ("reach", np.zeros((40, 3)), r"reach must be int\[40, K\]"),
        ("up_snr_hz", np.full((40, 3), np.inf), r"up_snr_hz\[0, 0\] must be >= 0 and finite, got inf"),
        ("down_snr_hz", np.full((40, 3), -1.0), r"down_snr_hz\[0, 0\] must be >= 0"),
        ("fixed_s", np.zeros((40, 2)), r"fixed_s must have the shape of reach, \(40, 3\), got \(40, 2\)"),
        ("server_hz", [1e9, 0, 1e9, 1e9, 1e9, 1e9], r"server_hz\[1\] must be > 0, got 0"),
        ("cycles", np.ones((6, 2)), r"cycles must have the shape \(6, 46\), got \(6, 2\)"),
        ("server_km", np.zeros((5, 2)), r"server_km must be finite and have the shape \(6, 2\), got \(5, 2\)"),
        ("devices", draw(1, users=40, servers=1), "devices must have no servers, got 1"),
    ],
)
def test_a_wrong_field_is_named(field, change, message):
    with pytest.raises(InputError, match=message) as caught:
        SMALL.replace(**{field: change})
    assert caught.value.param == field


def test_a_missing_field_is_named_and_what_may_be_missing_has_a_default():
    given = dict(vars(SMALL))
    with pytest.raises(InputError, match="a wide instance needs server_km"):
        WideInstance.build(**{name: value for name, value in given.items() if name != "server_km"})
    short = WideInstance.build(**{name: value for name, value in given.items() if name not in ("fixed_s", "allowed")})
    assert not short.fixed_s.any()
    assert short.allowed.all()


def test_the_dense_form_has_the_reached_pairs_and_no_other():
    fixed_s = np.full(SMALL.reach.shape, 0.25)
    wide = SMALL.replace(fixed_s=fixed_s)
    dense = wide.dense()
    for user in range(wide.users):
        within = set(wide.reach[user].tolist()) - {NOWHERE}
        assert set(np.flatnonzero(dense.up_snr_hz[user] > 0).tolist()) == within
        assert set(np.flatnonzero(dense.allowed[user, 1:].any(axis=1)).tolist()) == within
        for k, server in enumerate(wide.reach[user].tolist()):
            if server != NOWHERE:
                assert dense.down_snr_hz[user, server] == wide.down_snr_hz[user, k]
                assert dense.fixed_s[user, 1 + server] == 0.25


def test_a_part_is_a_corner_of_the_whole():
    users, servers = np.array([7, 3, 30]), np.array([4, 1])
    part, dense = SMALL.part(users, servers), SMALL.dense()
    np.testing.assert_array_equal(part.up_snr_hz, dense.up_snr_hz[np.ix_(users, servers)])
    np.testing.assert_array_equal(part.error, dense.error[np.ix_(users, np.array([0, 5, 2]))])
    np.testing.assert_array_equal(part.deadline_s, dense.deadline_s[users])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_draw_is_repeatable_sorted_by_distance_and_within_reach(family):
    first, again, other = (wide_draw(seed, users=50, servers=12, family=family) for seed in (1, 1, 2))
    for field in ("reach", "up_snr_hz", "server_hz", "server_km"):
        np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    assert not np.array_equal(first.up_snr_hz, other.up_snr_hz)
    assert (np.diff(first.up_snr_hz, axis=1) <= 0).all()
    assert (first.reach == NOWHERE).any()
    weakest = first.up_snr_hz[first.reach != NOWHERE].min()
    assert first.up_snr_hz[first.reach == NOWHERE].max() <= weakest, f"farther than {FARTHEST_KM} km is out of reach"
    with pytest.raises(UnknownNameError, match="did you mean 'tight_battery'"):
        wide_draw(1, users=2, servers=2, family="tight_batery")


def test_the_checker_shares_no_code_with_the_planner():
    def imported(module):
        nodes = ast.walk(ast.parse(Path(module.__file__).read_text()))
        names = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
        return {name for name in names if name.startswith("edgegen")}

    assert imported(wide_checker) == {"edgegen.plan.certified.checker", "edgegen.plan.certified.wide.instance"}
    assert imported(wide_module) == {"edgegen.core.errors", "edgegen.plan.certified.instance"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(4))
def test_both_checkers_compute_the_same(seed, family):
    wide = wide_draw(seed, users=30, servers=4, reach=3, family=family)
    wide = wide.replace(
        devices=wide.devices.replace(refusal_cost=np.full(30, 2.0)),
        fixed_s=np.random.default_rng(seed).uniform(0, 0.1, wide.reach.shape),
    )
    found = plan_wide(wide, executor=Serial(), size=2)
    mine, dense = check_wide(wide, found), check(wide.dense(), found)
    assert mine.holds
    assert dense.holds
    assert mine.objective == pytest.approx(dense.objective, rel=1e-12)
    np.testing.assert_allclose(mine.total_s, dense.total_s, rtol=1e-12)
    np.testing.assert_allclose(mine.device_energy_j, dense.device_energy_j, rtol=1e-12)


LOCAL_USER, SERVED_USER = int(np.flatnonzero(PLAN.node == 0)[0]), int(np.flatnonzero(PLAN.node > 0)[0])


@pytest.mark.parametrize(
    ("user", "values", "rule"),
    [
        (SERVED_USER, {"clock_hz": 1e10}, "server gives away more clock than it has"),
        (SERVED_USER, {"uplink_hz": 21e6}, "server gives away more uplink than it has"),
        (SERVED_USER, {"uplink_hz": 1e3}, "user is late"),
        (SERVED_USER, {"downlink_hz": 0.0}, "user is late"),
        (SERVED_USER, {"downlink_hz": np.nan}, "user has a negative downlink"),
        (LOCAL_USER, {"clock_hz": 0.0}, "user is late"),
        (LOCAL_USER, {"clock_hz": 2e9}, "user clocks its device too high"),
        (LOCAL_USER, {"clock_hz": -1.0}, "user has a negative clock"),
        (LOCAL_USER, {"node": 7}, "user has a node out of reach or an unknown step count"),
        (LOCAL_USER, {"node": -1}, "user is refused but must be served"),
        (LOCAL_USER, {"steps": 99}, "user has a node out of reach or an unknown step count"),
    ],
)
def test_each_broken_rule_names_who_breaks_it(user, values, rule):
    audit = check_wide(SMALL, changed(user, **values))
    who = int(PLAN.node[user]) if rule.startswith("server") else user
    assert who in audit.wrong[rule]
    assert not audit.holds


def test_a_server_out_of_reach_a_missing_model_and_an_empty_battery_are_found():
    user = SERVED_USER
    far = next(server for server in range(6) if server not in SMALL.reach[user])
    assert check_wide(SMALL, changed(user, node=far + 1)).wrong
    lacking = SMALL.replace(allowed=np.zeros(SMALL.allowed.shape, dtype=bool))
    assert user in check_wide(lacking, PLAN).wrong["user has a step count that is not allowed there"]
    scale = SMALL.devices.energy_scale_j
    hungry = SMALL.replace(devices=SMALL.devices.replace(energy_j=np.full(40, 1e-3), energy_scale_j=scale))
    assert user in check_wide(hungry, PLAN).wrong["user spends more than its energy"]


def test_wrong_claims_are_found():
    cheap = dataclasses.replace(PLAN, objective=PLAN.objective * 0.99)
    assert "it costs" in check_wide(SMALL, cheap).claims[0]
    proud = dataclasses.replace(PLAN, bound=PLAN.objective * 1.01)
    assert "nothing costs less" in check_wide(SMALL, proud).claims[0]
