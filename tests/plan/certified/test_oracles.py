"""General solvers agree with the planner where they can finish."""

import itertools
import math
import sys

import numpy as np
import pytest
from scipy.optimize import minimize

from edgegen.core.errors import InputError, UnknownNameError
from edgegen.plan.certified.checker import check
from edgegen.plan.certified.draw import FAMILIES, draw, golden
from edgegen.plan.certified.exact import by_subsets
from edgegen.plan.certified.oracles import Effort, solve
from edgegen.plan.certified.oracles.formulations import local_option, tangents
from edgegen.plan.certified.planner import exact, plan
from edgegen.plan.certified.tables import local_options, tables


def local_by_search(instance, n: int, s: int) -> float:
    """Return the least cost on the device for a step count, by a fine search over clocks; inf if none is allowed."""
    cycles, kappa = instance.cycles[n, 0, s], instance.device_w_per_hz3[n]
    most = min(instance.device_hz[n], math.sqrt(instance.energy_j[n] / (kappa * cycles)))
    least = cycles / instance.deadline_s[n]
    if least > most:
        return math.inf
    clock = np.linspace(least, most, 200_001)
    quality, time, energy = instance.weights[n]
    cost = time * cycles / clock / instance.time_scale_s[n]
    cost += energy * kappa * cycles * clock**2 / instance.energy_scale_j[n]
    return float(quality * instance.error[n, 0, s] + cost.min())


def brute_force(instance) -> float:
    """Enumerate nodes and steps; solve the shares of each server by SLSQP from the definition of the cost."""
    users = range(instance.users)
    local = [[local_by_search(instance, n, s) for s in range(instance.steps.size)] for n in users]
    known: dict[tuple, float] = {}

    def value(m: int, members: tuple[int, ...]) -> float:
        if (m, members) not in known:
            choices = itertools.product(range(instance.steps.size), repeat=len(members))
            known[m, members] = min(shares_by_slsqp(instance, m, members, c) for c in choices) if members else 0.0
        return known[m, members]

    best = np.inf
    for nodes in itertools.product(range(instance.servers + 1), repeat=instance.users):
        cost = sum(min(local[n]) for n in users if nodes[n] == 0)
        for m in range(1, instance.servers + 1):
            cost += value(m, tuple(n for n in users if nodes[n] == m))
        best = min(best, cost)
    return best


def shares_by_slsqp(instance, m: int, members: tuple[int, ...], steps: tuple[int, ...]) -> float:
    rows, server = list(members), m - 1
    capacity = np.array([instance.server_hz[server], instance.uplink_hz[server], instance.downlink_hz[server]])
    quality, time, energy = instance.weights[rows].T
    cycles = instance.cycles[rows, m, list(steps)]

    def parts(x):
        f, u, d = np.exp(x).reshape(3, -1) * capacity[:, None]
        send_s = instance.upload_bits[rows] / (u * np.log2(1 + instance.up_snr_hz[rows, server] / u))
        fetch_s = instance.download_bits[rows] / (d * np.log2(1 + instance.down_snr_hz[rows, server] / d))
        total_s = send_s + cycles / f + fetch_s
        cost = quality * instance.error[rows, m, list(steps)] + time * total_s / instance.time_scale_s[rows]
        cost += energy * instance.send_power_w[rows] * send_s / instance.energy_scale_j[rows]
        return total_s, send_s, float(cost.sum())

    limits = [
        {"type": "ineq", "fun": lambda x: 1 - np.exp(x).reshape(3, -1).sum(axis=1)},
        {"type": "ineq", "fun": lambda x: 1 - parts(x)[0] / instance.deadline_s[rows]},
        {"type": "ineq", "fun": lambda x: 1 - instance.send_power_w[rows] * parts(x)[1] / instance.energy_j[rows]},
    ]
    start = np.full(3 * len(rows), -np.log(len(rows)))
    inside = [(-7.0, 0.0)] * start.size
    found = minimize(
        lambda x: parts(x)[2], start, constraints=limits, bounds=inside, method="SLSQP", options={"ftol": 1e-10}
    )
    return float(found.fun) if found.success else np.inf


@pytest.mark.slow
def test_brute_force_on_the_golden_instance():
    assert brute_force(golden()) == pytest.approx(exact(golden()).objective, abs=2e-6)


@pytest.mark.parametrize("family", ["default", "tight_deadline", "tight_battery"])
def test_brute_force_on_a_random_instance(family):
    instance = draw(11, users=2, servers=2, family=family, steps=np.array([6, 12, 24]))
    assert brute_force(instance) == pytest.approx(exact(instance).objective, rel=1e-5)


def loosened(instance):
    """SCIP keeps limits to 1e-6, and deadlines to what the tangents of `conic` leave; the checker asks for 1e-8."""
    return instance.replace(deadline_s=instance.deadline_s * (1 + 1e-4), energy_j=instance.energy_j * (1 + 1e-5))


def assert_agrees(name, instance, effort=None):
    effort = Effort(gap=1e-4, limit_s=60.0) if effort is None else effort
    found, best = solve(name, instance, effort), exact(instance).objective
    assert check(loosened(instance), found).broken == ()
    assert found.objective == pytest.approx(best, rel=2e-4)
    assert found.claimed == pytest.approx(found.objective, rel=1e-4)
    assert found.bound <= best * (1 + 1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["naive", "reduced", "conic", "partition"])
def test_every_oracle_agrees_on_every_family(name, family):
    assert_agrees(name, draw(5, users=2, servers=2, family=family, steps=np.array([8, 20])))


@pytest.mark.parametrize("seed", range(3))
def test_eliminated_shares_agree_on_the_family_of_the_square_root_law(seed):
    assert_agrees("square_root", draw(seed, users=6, servers=3, family="square_root"))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_set_partitioning_subsets_and_branch_and_bound_agree(seed, family):
    instance = draw(70 + seed, users=6, servers=3, family=family)
    found, best = solve("partition", instance), exact(instance)
    other = by_subsets(tables(instance, local_options(instance)))
    assert other is not None
    assert found.objective == pytest.approx(best.objective, rel=1e-7)
    assert other.cost == pytest.approx(best.objective, rel=1e-7)
    assert check(instance, found).broken == ()
    assert plan(instance).bound <= found.objective * (1 + 1e-9)


@pytest.mark.parametrize("name", ["conic", "partition"])
def test_the_golden_instance(name):
    assert solve(name, golden(), Effort(gap=1e-5)).objective == pytest.approx(0.590842, abs=1e-6)
    assert_agrees(name, golden())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["naive", "reduced"])
def test_the_golden_instance_without_cones(name):
    assert_agrees(name, golden(), Effort(gap=1e-4, limit_s=200.0))


@pytest.mark.parametrize("name", ["reduced", "conic", "partition"])
def test_refusals_and_fixed_seconds_are_in_every_model(name):
    instance = draw(3, users=2, servers=2, steps=np.array([8, 20]))
    fixed_s = np.array([[0.0, 2.0, 0.1], [0.0, 1.0, 3.0]])
    hard = instance.replace(deadline_s=[0.05, 8.0], fixed_s=fixed_s, refusal_cost=[2.25, 2.25])
    assert exact(hard).node[0] == -1
    assert_agrees(name, hard)


@pytest.mark.parametrize("name", ["naive", "reduced", "conic", "partition"])
def test_what_cannot_be_met_has_no_plan(name):
    found = solve(name, draw(3, users=2, servers=1, steps=np.array([8])).replace(deadline_s=[0.01, 8.0]))
    assert (found.objective, found.bound) == (np.inf, np.inf)
    assert (found.node == -1).all()


def test_a_limit_of_time_is_kept_and_leaves_a_bound():
    found = solve("naive", golden(), Effort(limit_s=0.3))
    assert found.status == "timelimit"
    assert found.seconds < 3
    assert found.bound <= 0.590842


def test_the_time_to_a_target_is_noted_and_can_end_the_search():
    instance = draw(5, users=3, servers=2, family="square_root")
    target = exact(instance).objective * 1.5
    stopped = solve("conic", instance, Effort(target=target, to_target=True))
    assert (stopped.status, stopped.claimed <= target) == ("userinterrupt", True)
    assert 0 < stopped.first_s <= stopped.seconds
    assert solve("square_root", instance, Effort(target=target)).first_s < np.inf
    assert solve("square_root", instance, Effort(target=0.0)).first_s == np.inf


@pytest.mark.parametrize("seed", range(3))
def test_the_device_is_best_at_the_closed_form_of_its_clock(seed):
    instance = draw(seed, users=3, servers=0, family="tight_battery", steps=np.array([5, 20, 50]))
    for n, s in itertools.product(range(3), repeat=2):
        assert local_option(instance, n, s)[0] == pytest.approx(local_by_search(instance, n, s), rel=1e-8)


@pytest.mark.parametrize("snr", [1.0, 1e2, 1e4, 1e6])
def test_tangents_are_above_the_rate_and_close(snr):
    band = np.geomspace(20.0 / 200, 20.0, 5001)
    lowest = np.min([slope * band + at_zero for slope, at_zero in tangents(snr, 20.0)], axis=0)
    above = lowest / (band * np.log1p(snr / band)) - 1
    assert above.min() >= -1e-12
    assert 1e-4 < above.max() <= 3e-3


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"deadline_s": [9.0, np.inf]}, "deadline_s"),
        ({"upload_bits": [1.0, 0.0]}, "upload_bits"),
        ({"weights": np.eye(2, 3)}, "weights"),
    ],
)
def test_the_square_root_law_refuses_what_it_does_not_describe(change, field):
    instance = draw(1, users=2, servers=1, family="square_root", steps=np.array([8]))
    with pytest.raises(InputError, match=f"the square-root law needs {field}") as caught:
        solve("square_root", instance.replace(**change))
    assert caught.value.param == field


def test_a_missing_solver_a_wrong_name_and_too_many_users_are_named(monkeypatch):
    with pytest.raises(UnknownNameError, match="did you mean 'reduced'"):
        solve("reduce", golden())
    with pytest.raises(InputError, match="at most 10 users, got 11"):
        solve("partition", draw(1, users=11))
    with pytest.raises(InputError, match="limit_s must be positive"):
        Effort(limit_s=0.0)
    monkeypatch.setitem(sys.modules, "pyscipopt", None)
    with pytest.raises(InputError, match=r"pip install 'edgegen\[oracles\]'"):
        solve("conic", golden())
