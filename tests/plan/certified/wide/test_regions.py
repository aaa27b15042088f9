"""Plans by regions: bound <= exact <= plan, monotone sweeps, empty corners, the same plan wherever it is made."""

import dataclasses
import importlib.util
import pickle
import subprocess
import sys

import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.plan.certified.checker import check
from edgegen.plan.certified.planner import HEATS, Status, exact, plan
from edgegen.plan.certified.prices import blank_work, evaluate
from edgegen.plan.certified.tables import local_options, tables
from edgegen.plan.certified.wide.checker import check_wide
from edgegen.plan.certified.wide.draw import FAMILIES, wide_draw
from edgegen.plan.certified.wide.exchange import ANNEALING, Market, first_block, raise_prices, softmin, sweep_regions
from edgegen.plan.certified.wide.executors import Processes, Serial
from edgegen.plan.certified.wide.instance import NOWHERE, USER_FIELDS, WideInstance
from edgegen.plan.certified.wide.planner import plan_wide
from edgegen.plan.certified.wide.regions import colours, cut, cuts, regions_of


def serial(wide: WideInstance):
    executor = Serial()
    executor.share(wide)
    return executor


def priced(wide: WideInstance, size: int) -> Market:
    """A market with the prices that plans are made from."""
    market = Market(wide, local_options(wide.devices).cost)
    raise_prices(market, serial(wide), cuts(wide, size), sweeps=2, enough=1e-5, progress=lambda line: None)
    return market


def kept(wide: WideInstance, users: np.ndarray) -> WideInstance:
    """The same world with fewer users."""
    devices, rows = wide.devices, ("reach", "up_snr_hz", "down_snr_hz", "fixed_s")
    per_user = {name: getattr(devices, name)[users] for name in (*USER_FIELDS, "error", "cycles", "allowed", "fixed_s")}
    per_user |= {name: np.zeros((users.size, 0)) for name in ("up_snr_hz", "down_snr_hz")}
    return wide.replace(devices=devices.replace(**per_user), **{name: getattr(wide, name)[users] for name in rows})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(6))
def test_the_exact_optimum_lies_between_bound_and_plan(seed, family):
    wide = wide_draw(seed, users=4 + seed % 3, servers=4, reach=2 + seed % 2, family=family)
    found, dense = plan_wide(wide, executor=Serial(), size=1 + seed % 2), wide.dense()
    best = exact(dense)
    if best.status is Status.INFEASIBLE:
        assert found.status in (Status.INFEASIBLE, Status.UNKNOWN)
        return
    assert best.status is Status.OPTIMAL
    assert found.bound <= best.objective <= found.objective * (1 + 1e-9)
    assert check(dense, found).broken == ()
    assert check_wide(wide, found).holds


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stated_bound_is_the_bound_of_the_dense_problem_at_its_prices(family):
    wide = wide_draw(3, users=60, servers=9, family=family)
    market, dense = priced(wide, size=3), wide.dense()
    table, work = tables(dense, local_options(dense)), blank_work(60, 9)
    value = evaluate(table, market.price.copy(), np.ones((60, 10), dtype=bool), work)
    assert market.bound() == pytest.approx(value, rel=1e-12)
    for user, reached in enumerate(wide.reach):
        within = reached != NOWHERE
        np.testing.assert_allclose(market.cost[user, 1:][within], work.cost[user, 1 + reached[within]], rtol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sweep_never_lowers_the_bound_at_its_temperature(family):
    wide = wide_draw(7, users=80, servers=12, family=family)
    market, executor, turns = Market(wide, local_options(wide.devices).cost), serial(wide), cuts(wide, 3)
    regions = next(turns)
    for number in range(regions.total):
        block = market.block(regions, number, 0.0)
        market.keep(block, first_block(wide, block))
    rises = []
    for heat in (*ANNEALING[1:], 0.0):
        last = market.bound(heat)
        for _ in range(2):
            sweep_regions(market, executor, next(turns), heat)
            now = market.bound(heat)
            rises.append(now - last)
            last = now
    assert min(rises) >= -1e-9 * abs(market.bound())
    assert max(rises) > 1e-4 * abs(market.bound())


def test_smoothing_lowers_the_least_and_vanishes_with_the_temperature():
    cost = np.array([[1.0, 1.0, np.inf], [2.0, 5.0, 2.001], [np.inf, np.inf, np.inf]])
    np.testing.assert_allclose(softmin(cost, 0.1)[0], 1.0 - 0.1 * np.log(2))
    np.testing.assert_array_equal(softmin(cost, 0.0), [1.0, 2.0, np.inf])
    assert (softmin(cost, 0.01)[:2] > softmin(cost, 0.1)[:2]).all()
    assert softmin(cost, 0.1)[2] == np.inf


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [1, 4, 20])
def test_regions_of_one_colour_share_no_user_and_every_server_has_a_region(seed, size):
    wide = wide_draw(seed, users=400, servers=37 + 20 * seed)
    for _, regions in zip(range(3), cuts(wide, size), strict=False):
        sizes = np.bincount(regions.region, minlength=regions.total)
        assert sizes.min() >= 1
        assert sizes.max() <= 2 * size
        colour = colours(regions)
        for reached in regions.reached:
            mine = np.unique(reached[reached != NOWHERE])
            assert np.unique(colour[mine]).size == mine.size


def test_turned_cuts_have_other_borders():
    place = wide_draw(1, users=0, servers=100).server_km
    straight, turned = cut(place, 20), cut(place, 20, angle=0.9)
    together = straight[:, None] == straight[None]
    assert (together != (turned[:, None] == turned[None])).sum() > 0.1 * together.sum()


@pytest.mark.parametrize(("family", "users"), [("default", 400), ("tight_battery", 200), ("tight_deadline", 120)])
def test_regions_plan_about_as_well_as_one_table(family, users):
    wide = wide_draw(2, users=users, servers=12, family=family)
    found, dense = plan_wide(wide, executor=Serial(), size=3), wide.dense()
    whole = plan(dense)
    assert check(dense, found).broken == ()
    assert check_wide(wide, found).holds
    assert found.gap <= 0.01
    assert found.objective <= whole.objective * 1.002
    assert found.bound >= whole.bound * 0.998


@pytest.mark.parametrize("seed", range(3))
def test_more_users_cost_more_and_more_room_costs_less(seed):
    """The optimum grows with users and falls with capacity, so bounds of the one stay below plans of the other."""
    wide = wide_draw(seed, users=150, servers=8, family="tight_battery")
    fewer = kept(wide, np.arange(0, 150, 2))
    roomy = wide.replace(server_hz=2 * wide.server_hz)
    many, few, free = (plan_wide(one, executor=Serial(), size=4) for one in (wide, fewer, roomy))
    assert few.bound <= few.objective < many.bound
    assert free.bound <= free.objective < many.bound


def test_nobody_no_servers_and_nobody_in_reach():
    nobody = plan_wide(wide_draw(1, users=0, servers=6), executor=Serial(), size=2)
    assert (nobody.objective, nobody.status) == (0.0, Status.OPTIMAL)
    wide = wide_draw(1, users=20, servers=6)
    alone = local_options(wide.devices).cost.sum()
    for nothing_there in (
        wide_draw(1, users=20, servers=0),
        wide.replace(reach=np.full(wide.reach.shape, NOWHERE)),
    ):
        found = plan_wide(nothing_there, executor=Serial(), size=2)
        assert (found.node == 0).all()
        assert found.objective == pytest.approx(alone)
        assert found.status is Status.OPTIMAL
        assert check_wide(nothing_there, found).holds


def test_a_region_without_users_changes_nothing():
    """All users keep to the servers of one half of the plain; the other half is planned for nobody."""
    wide = wide_draw(4, users=120, servers=16)
    regions = regions_of(wide, cut(wide.server_km, 4))
    there = kept(wide, np.flatnonzero(~np.isin(regions.reached, [2, 3]).any(axis=1)))
    empty = np.flatnonzero(np.isin(regions.region, [2, 3]))
    assert 0 < there.users < 120
    found, whole = plan_wide(there, executor=Serial(), size=4), plan(there.dense())
    assert not np.isin(found.node - 1, empty).any()
    assert (found.node > 0).any()
    assert found.objective <= whole.objective * 1.002
    assert check_wide(there, found).holds


def test_a_user_that_nothing_can_serve_makes_it_infeasible_and_refusing_helps():
    wide = wide_draw(2, users=30, servers=6)
    deadline_s = np.array(wide.devices.deadline_s)
    deadline_s[3] = 0.01
    hard = wide.replace(devices=wide.devices.replace(deadline_s=deadline_s))
    assert plan_wide(hard, executor=Serial(), size=3).status is Status.INFEASIBLE
    offered = hard.replace(devices=hard.devices.replace(refusal_cost=np.full(30, 3.0)))
    found = plan_wide(offered, executor=Serial(), size=3)
    assert found.node[3] == -1
    assert check_wide(offered, found).holds


@pytest.fixture(scope="module")
def by_hand():
    """A wide instance with several regions and its plan, made without any worker."""
    wide = wide_draw(6, users=200, servers=12, family="tight_battery")
    return wide, plan_wide(wide, executor=Serial(), size=3, passes=1)


def assert_same(one, other):
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_make_the_same_plan(by_hand, workers):
    wide, expected = by_hand
    assert_same(plan_wide(wide, executor=Processes(workers), size=3, passes=1), expected)


ON_RAY = """
import pickle, sys
from edgegen.plan.certified.wide.draw import wide_draw
from edgegen.plan.certified.wide.on_ray import Ray
from edgegen.plan.certified.wide.planner import plan_wide
wide = wide_draw(6, users=200, servers=12, family="tight_battery")
with open(sys.argv[1], "wb") as file:
    pickle.dump(plan_wide(wide, executor=Ray(2), size=3, passes=1), file)
"""


@pytest.mark.slow
def test_ray_makes_the_same_plan(by_hand, tmp_path):
    """In a process of its own: Ray forks, which a process with JAX in it must not do."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install -e .[cluster]")
    made = tmp_path / "plan"
    subprocess.run([sys.executable, "-c", ON_RAY, str(made)], check=True, timeout=300)
    assert_same(pickle.loads(made.read_bytes()), by_hand[1])


def test_without_ray_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    from edgegen.plan.certified.wide.on_ray import Ray

    with pytest.raises(InputError, match=r"pip install 'edgegen\[cluster\]'"):
        Ray()


def test_wrong_options_are_refused_and_progress_is_told(by_hand):
    wide, _ = by_hand
    with pytest.raises(InputError, match="size must be at least 1"):
        plan_wide(wide, executor=Serial(), size=0)
    with pytest.raises(InputError, match="workers must be at least 1"):
        Processes(0)
    with pytest.raises(InputError, match="share comes before map"):
        Processes(1).map(first_block, [])
    lines = []
    plan_wide(wide, executor=Serial(), size=6, sweeps=1, passes=1, progress=lines.append)
    assert len(lines) == 1 + len(ANNEALING) + 2
    assert HEATS[1] == ANNEALING[0]
