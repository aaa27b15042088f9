"""The division of one node satisfies the optimality conditions of its convex problem."""

import numpy as np
import pytest
from scipy.optimize import minimize

from edgegen.plan.shares import Load, band_seconds, split_band, split_node


def load(seed: int, count: int, *, deadline_s=np.inf, send_limit_s=np.inf) -> Load:
    rng = np.random.default_rng(seed)
    return Load(
        work_s=rng.uniform(0.5, 2.0, count),
        up_s=rng.uniform(0.02, 0.1, count),
        down_s=rng.uniform(0.02, 0.1, count),
        up_snr=np.where(rng.random(count) < 0.3, np.inf, 10 ** rng.uniform(-1, 3, count)),
        down_snr=10 ** rng.uniform(-1, 3, count),
        still_s=rng.uniform(0, 0.05, count),
        time_price=rng.uniform(0.02, 0.06, count),
        radio_price=rng.uniform(0, 0.01, count),
        left_s=np.full(count, deadline_s),
        send_limit_s=np.full(count, send_limit_s),
    )


@pytest.mark.parametrize("seed", range(6))
def test_marginal_gains_are_equal_at_the_optimum(seed):
    node = load(seed, 4)
    share = split_band(node.time_price, node.up_s, node.up_snr)
    step = 1e-6
    ahead = node.time_price * band_seconds(node.up_s, node.up_snr, share + step)
    behind = node.time_price * band_seconds(node.up_s, node.up_snr, share - step)
    gain = (behind - ahead) / (2 * step)
    assert share.sum() == pytest.approx(1)
    np.testing.assert_allclose(gain, gain.mean(), rtol=1e-3)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tight", [False, True])
def test_the_cost_matches_a_general_solver(seed, tight):
    free = split_node(load(seed, 3))
    deadline_s = float(free.total_s.max()) * 0.93 if tight else np.inf
    node = load(seed, 3, deadline_s=deadline_s)
    ours = split_node(node)

    def parts(x):
        up, down, compute = np.exp(x).reshape(3, 3)
        send_s = band_seconds(node.up_s, node.up_snr, up)
        total_s = node.still_s + send_s + node.work_s / compute + band_seconds(node.down_s, node.down_snr, down)
        return total_s, float((node.time_price * total_s + node.radio_price * send_s).sum())

    limits = [{"type": "ineq", "fun": lambda x: 1 - np.exp(x).reshape(3, 3).sum(axis=1)}]
    if tight:
        limits.append({"type": "ineq", "fun": lambda x: node.left_s - parts(x)[0]})
    start = np.log(np.full(9, 1 / 3))
    best = minimize(lambda x: parts(x)[1], start, constraints=limits, method="SLSQP", options={"maxiter": 500})
    assert best.success
    assert (ours.total_s <= node.left_s).all()
    assert ours.cost == pytest.approx(best.fun, rel=2e-3 if tight else 1e-5)


def test_a_limit_that_cannot_be_met_costs_infinitely_much():
    assert split_node(load(0, 3, deadline_s=0.5)).cost == np.inf
    assert split_node(load(0, 3, send_limit_s=1e-4)).cost == np.inf


def test_a_battery_limit_buys_uplink():
    free = split_node(load(1, 3))
    node = load(1, 3)
    sent = band_seconds(node.up_s, node.up_snr, free.uplink)
    limit = np.full(3, np.inf)
    limit[0] = sent[0] * 0.9
    bound = split_node(Load(**{**vars(node), "send_limit_s": limit}))
    assert band_seconds(node.up_s, node.up_snr, bound.uplink)[0] <= limit[0] * (1 + 1e-6)
    assert bound.uplink[0] > free.uplink[0]
    assert bound.cost >= free.cost
