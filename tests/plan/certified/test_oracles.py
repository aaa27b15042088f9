"""General solvers agree with the planner where they can finish."""

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize

from edgegen.plan.certified.draw import draw, golden
from edgegen.plan.certified.planner import exact
from plan.certified import scip


def brute_force(instance) -> float:
    """Enumerate nodes and steps; solve the shares of each server by SLSQP from the definition of the cost."""
    users = range(instance.users)
    local = [[scip.local_cost(instance, n, s) for s in range(instance.steps.size)] for n in users]
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


@pytest.mark.parametrize("reduced", [True, False])
def test_scip_on_a_small_instance(reduced):
    instance = draw(5, users=2, servers=1, steps=np.array([8, 16, 24]))
    best, bound = scip.optimum(instance, reduced=reduced, gap=1e-4, limit_s=60.0)
    ours = exact(instance)
    assert bound <= ours.objective * (1 + 1e-5)
    assert best == pytest.approx(ours.objective, rel=3e-4)


@pytest.mark.slow
def test_scip_on_the_golden_instance():
    best, bound = scip.optimum(golden(), reduced=True, gap=1e-4)
    assert best == pytest.approx(0.590842, abs=1e-4)
    assert bound == pytest.approx(exact(golden()).objective, abs=1e-4)
