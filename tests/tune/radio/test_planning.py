"""The planner: as good as looking at everything, never worse than a fixed choice, and plain words where nothing will do."""

import dataclasses
import itertools

import numpy as np
import pytest

from edgegen.core.errors import InfeasibleError, InputError
from edgegen.tune.radio.bands import AbstractSharing, OwnBands, SharedBand
from edgegen.tune.radio.cost import round_cost
from edgegen.tune.radio.gain import Gain
from edgegen.tune.radio.planning import Grid, Limits, Problem, Setting, build, compare, fixed, plan
from edgegen.tune.radio.sizes import declared
from edgegen.tune.radio.subsets import Burdens, least_room, most_value
from tune.radio.test_radio import sites

GAIN = Gain(top=0.5, coverage=0.4, pace=60.0, drift=0.7, half_rank=1.0, noise=20.0)
TINY = Grid(ranks=(2, 8), bits=(8, 32), steps=(10, 40), rounds=(5, 10))
SIZES = declared("sd-1.5")
WAYS = {"own": OwnBands(), "shared": SharedBand()}


def problem(seed, way, count=5, **changes):
    columns = {} if way == "own" else {"uplink_hz": np.full(count, 20e6)}
    of = sites(count, seed, **columns)
    return Problem(of, SIZES, **{"gain": GAIN, "target": 0.25, "grid": TINY, "bands": WAYS[way], **changes})


def subsets(count):
    return (np.array(bits, dtype=bool) for bits in itertools.product((0, 1), repeat=count) if any(bits))


def everything(of):
    """Every set with every setting."""
    grid = of.grid
    for setting in itertools.product(grid.ranks, grid.bits, grid.steps, grid.rounds):
        for asked in subsets(len(of.sites)):
            yield build(of, Setting(*setting), asked, of.bands)


def best_of_everything(of):
    good = (one for one in everything(of) if one.gain >= of.target - 1e-12 and one.within(of.limits))
    return min(good, key=lambda one: one.time_s, default=None)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(2))
def test_the_plan_is_the_best_of_everything(seed, way):
    of = problem(seed, way, count=4, target=0.2 + 0.03 * seed)
    found, best = plan(of), best_of_everything(of)
    assert found.time_s == pytest.approx(best.time_s, rel=1e-6)
    assert found.gain >= of.target - 1e-9


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(2))
def test_with_an_energy_limit_it_keeps_the_limit_and_is_near_the_best_of_everything(seed, way):
    free = problem(seed, way, count=4)
    of = dataclasses.replace(free, limits=Limits(energy_j=0.9 * plan(free).energy_j))
    best = best_of_everything(of)
    if best is None:
        with pytest.raises(InfeasibleError):
            plan(of)
        return
    found = plan(of)
    assert found.within(of.limits)
    assert found.time_s <= best.time_s * (1 + (1e-6 if way == "own" else 0.02))
    assert found.time_s > plan(free).time_s * (1 - 1e-9)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(5))
def test_the_plan_is_never_slower_than_a_fixed_choice(seed, way):
    found, usual = compare(problem(seed, way, count=8))
    made = [one for one in usual.values() if one is not None]
    assert made
    assert all(found.time_s <= one.time_s * (1 + 1e-9) for one in made)
    assert all(one.asked.all() for one in made)


def test_with_own_bands_a_prefix_of_the_sites_by_time_is_as_good_as_any_set():
    rng = np.random.default_rng(3)
    for seed in range(10):
        of = problem(seed, "own", count=6)
        duty = of.work(Setting(4, 32, 20, 5))
        finish = round_cost(of.sites, duty, np.ones(6)).finish_s
        need = float(rng.uniform(0.2, 0.95))
        enough = [asked for asked in subsets(6) if of.sites.value[asked].sum() >= need]
        order = np.argsort(finish)
        reached = of.sites.value[order].cumsum() >= need
        assert min(finish[asked].max() for asked in enough) == finish[order][reached.argmax()]


def test_a_wider_share_for_the_slow_beats_equal_shares_with_the_same_choice():
    of = problem(2, "shared", count=8)
    everybody, setting = np.ones(8, dtype=bool), Setting(8, 32, 40, 5)
    ours, equal = (build(of, setting, everybody, how) for how in (of.bands, of.bands.usual))
    assert ours.time_s < equal.time_s
    assert ours.gain == equal.gain
    assert isinstance(of.bands.usual, AbstractSharing)


def test_a_tighter_time_limit_is_kept_or_refused():
    of = problem(1, "shared")
    found = plan(of)
    assert plan(dataclasses.replace(of, limits=Limits(time_s=found.time_s * 1.0001))).time_s <= found.time_s * 1.0001
    with pytest.raises(InfeasibleError) as refused:
        plan(dataclasses.replace(of, limits=Limits(time_s=found.time_s * 0.9)))
    assert refused.value.offer["time_s"] == pytest.approx(found.time_s, rel=1e-6)
    assert 0 < refused.value.offer["gain"] < of.target
    assert "of time the target could be" in str(refused.value)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_said_to_be_within_reach_is_the_largest_gain_of_everything(way):
    of = problem(4, way, count=4)
    limits = Limits(time_s=0.4 * plan(of).time_s)
    tight = dataclasses.replace(of, limits=limits)
    with pytest.raises(InfeasibleError) as refused:
        plan(tight)
    most = max((one.gain for one in everything(tight) if one.within(limits)), default=0.0)
    assert refused.value.offer["gain"] == pytest.approx(most, rel=1e-9)


def test_a_target_beyond_the_grid_blames_no_limit():
    with pytest.raises(InfeasibleError, match=r"no limit is in the way: 0\.395"):
        plan(problem(0, "shared", target=0.49, limits=Limits(time_s=1e9)))


def test_both_limits_are_named_when_neither_alone_would_do():
    of = problem(0, "shared")
    free = plan(of)
    limits = Limits(time_s=free.time_s * 0.5, energy_j=free.energy_j * 0.001)
    with pytest.raises(InfeasibleError, match="both limits would have to give") as refused:
        plan(dataclasses.replace(of, limits=limits))
    assert {"gain", "time_s", "energy_j"} <= set(refused.value.offer)


def test_a_higher_target_takes_longer():
    times = [plan(problem(5, "shared", target=target)).time_s for target in (0.1, 0.2, 0.3)]
    assert times == sorted(times)
    assert times[0] < times[-1]


def test_where_one_site_is_as_good_as_all_the_fastest_is_asked_alone():
    of = problem(3, "own", gain=dataclasses.replace(GAIN, coverage=0.0))
    found = plan(of)
    finish = round_cost(of.sites, of.work(found.setting), np.ones(5)).finish_s
    assert found.asked.tolist() == (np.arange(5) == finish.argmin()).tolist()


def test_as_many_sites_take_part_as_are_wanted_and_the_plan_is_still_the_best_of_everything():
    for way in WAYS:
        of = problem(3, way, count=4, gain=dataclasses.replace(GAIN, coverage=0.0), least_sites=3)
        found = plan(of)
        best = min(
            (one for one in everything(of) if one.gain >= of.target and one.asked.sum() >= 3),
            key=lambda one: one.time_s,
        )
        assert found.asked.sum() >= 3
        assert found.time_s == pytest.approx(best.time_s, rel=1e-6)
    with pytest.raises(InputError, match="least_sites must be from 1 to 4"):
        problem(3, "own", count=4, least_sites=5)


def test_a_fixed_choice_that_the_grid_cannot_bring_to_the_target_is_none():
    assert fixed(problem(0, "shared", target=0.45), rank=2, steps=10) is None


def test_thirty_sites_are_planned():
    of = problem(0, "shared", count=30)
    found, usual = compare(of)
    assert 0 < found.asked.sum() <= 30
    assert found.time_s <= min(one.time_s for one in usual.values() if one is not None)


def test_what_cannot_be_planned_is_refused():
    with pytest.raises(InputError, match="OwnBands"):
        Problem(sites(4), SIZES, GAIN, 0.2)
    with pytest.raises(InputError, match="target must be > 0"):
        problem(0, "own", target=0.0)
    with pytest.raises(InputError, match="ranks must be numbers >= 1"):
        Grid(ranks=())


# ------------------------------------------------------------------------------------------------------------- subsets


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("energy_j", [np.inf, 1.2])
def test_sets_are_the_best_of_all_sets(seed, energy_j):
    rng = np.random.default_rng(seed)
    room = np.where(rng.random(8) < 0.2, np.inf, rng.uniform(0.05, 0.5, 8))
    of = Burdens(rng.dirichlet(np.ones(8)), room, rng.uniform(0.1, 0.5, 8))
    fitting = [one for one in subsets(8) if of.room[one].sum() <= 1 and of.energy_j[one].sum() <= energy_j]
    most = max(of.value[one].sum() for one in fitting)
    assert of.value[most_value(of, energy_j=energy_j)].sum() == pytest.approx(most)
    for need in (0.0, 0.3 * most, 0.9 * most):
        found = least_room(of, need, energy_j=energy_j)
        enough = [of.room[one].sum() for one in fitting if of.value[one].sum() >= need]
        assert of.room[found].sum() == pytest.approx(min(enough))
        assert of.value[found].sum() >= need - 1e-9
        assert of.energy_j[found].sum() <= energy_j
    assert least_room(of, most + 0.01, energy_j=energy_j) is None
    many = [one for one in fitting if one.sum() >= 3 and of.value[one].sum() >= 0.3 * most]
    found = least_room(of, 0.3 * most, energy_j=energy_j, least=3)
    if not many:
        assert found is None
        return
    assert found.sum() >= 3
    assert of.room[found].sum() == pytest.approx(min(of.room[one].sum() for one in many))


def test_a_set_that_needs_no_room_is_the_one_of_least_energy():
    of = Burdens(np.array([0.4, 0.3, 0.3]), np.zeros(3), np.array([5.0, 1.0, 1.0]))
    assert least_room(of, 0.35, energy_j=np.inf).tolist() == [False, True, True]
