"""The value of a server for a fixed set: golden values, optimality conditions, exhaustive steps."""

import itertools

import numpy as np
import pytest

from edgegen.plan.certified.draw import FAMILIES, GOLDEN_STEPS, draw, golden
from edgegen.plan.certified.response import respond
from edgegen.plan.certified.sets import fixed_steps, solve_set
from edgegen.plan.certified.steps import exact_set
from edgegen.plan.certified.tables import local_options, tables

GOLDEN = {  # server, users: value and steps, by enumeration and an interior-point solver
    (0, (0,)): (0.142370, (20,)),
    (0, (1,)): (0.160404, (20,)),
    (0, (2,)): (0.131681, (20,)),
    (0, (0, 1)): (0.456066, (15, 15)),
    (0, (0, 2)): (0.412238, (15, 20)),
    (0, (1, 2)): (0.437803, (15, 15)),
    (0, (0, 1, 2)): (0.836645, (15, 15, 15)),
    (1, (0,)): (0.162855, (20,)),
    (1, (1,)): (0.183607, (20,)),
    (1, (2,)): (0.144941, (20,)),
    (1, (0, 1)): (0.523192, (15, 15)),
    (1, (0, 2)): (0.464484, (15, 15)),
    (1, (1, 2)): (0.493458, (15, 15)),
    (1, (0, 1, 2)): (0.956076, (15, 10, 15)),
}


def tables_of(instance):
    return tables(instance, local_options(instance))


@pytest.mark.parametrize(("key", "expected"), GOLDEN.items())
def test_the_golden_sets_have_their_values_and_steps(key, expected):
    table = tables_of(golden())
    value, lower, steps, _ = exact_set(table, key[0], np.array(key[1]))
    assert value == pytest.approx(expected[0], abs=1e-6)
    assert value - lower <= 1e-8
    assert tuple(GOLDEN_STEPS[steps]) == expected[1]


def test_the_golden_local_costs():
    local = local_options(golden())
    np.testing.assert_allclose(local.table[0], [0.49588, 0.31573, 0.30097, 0.32175, 0.39521], atol=5e-6)
    np.testing.assert_allclose(local.cost, [0.30097, 0.30353, 0.29623], atol=5e-6)
    np.testing.assert_allclose(local.clock_hz, [0.7211e9, 0.8892e9, 0.6166e9], rtol=1e-4)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("family", FAMILIES)
def test_the_shares_satisfy_the_optimality_conditions(seed, family):
    """Stationarity, capacity, deadlines and complementary slackness of the convex problem, relative residuals."""
    instance = draw(seed, users=5, servers=1, family=family)
    table, members = tables_of(instance), np.arange(5)
    price, shares = np.array([1e-9, 1e-10, 1e-10]), np.zeros((5, 3))
    step = 0 if family == "tight_deadline" else 3
    value = fixed_steps(table, 0, members, np.full(5, step), price, shares)
    assert value < np.inf
    sent = instance.upload_bits.any()  # a band without anything to send is nobody's
    np.testing.assert_allclose(shares.sum(axis=0), table.capacity[0] * [1, sent, sent], rtol=1e-9)
    for i in members:
        row = table.pair[i, 0]
        free = (np.inf,) * 3
        cost, a, total_s, wanted, *_ = respond(row, table.cycles[i, 0, step], table.base[i, 0, step], price, free, 0.0)
        np.testing.assert_allclose(shares[i], wanted, rtol=1e-8)
        assert total_s <= row[7] * (1 + 1e-9)
        assert a == row[0] or (a - row[0]) * (row[7] - total_s) <= 1e-8
        assert cost < np.inf


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("family", FAMILIES)
def test_exact_steps_match_exhaustive_search(seed, family):
    instance = draw(seed, users=3, servers=1, family=family, steps=np.array([5, 7, 10, 14, 20, 30]))
    table, members = tables_of(instance), np.arange(3)
    best = np.inf
    for choice in itertools.product(range(6), repeat=3):
        shares = np.zeros((3, 3))
        best = min(best, fixed_steps(table, 0, members, np.array(choice), np.array([1e-9, 1e-10, 1e-10]), shares))
    value, lower, _, _ = exact_set(table, 0, members)
    assert value == pytest.approx(best, rel=1e-8)
    assert lower <= value
    quick, below = solve_set(table, 0, members, np.full(3, -1), np.array([1e-9, 1e-10, 1e-10]), np.zeros((3, 3)), 4)
    assert below <= best + 1e-9 <= quick + 2e-9


def test_two_equal_users_get_equal_shares():
    instance = draw(3, users=2, servers=1)
    rows = {name: np.array(value) for name, value in vars(instance).items()}
    for name, value in rows.items():
        if value.ndim and value.shape[0] == 2 and name != "steps":
            value[1] = value[0]
    _, _, steps, shares = exact_set(tables_of(type(instance).build(**rows)), 0, np.arange(2))
    assert steps[0] == steps[1]
    np.testing.assert_allclose(shares[0], shares[1], rtol=1e-8)


def test_the_square_root_law_where_nothing_is_sent():
    instance = draw(5, users=4, servers=1).replace(upload_bits=np.zeros(4), download_bits=np.zeros(4))
    table, members = tables_of(instance), np.arange(4)
    shares, steps = np.zeros((4, 3)), np.array([5, 9, 13, 2])
    value = fixed_steps(table, 0, members, steps, np.array([1e-9, 1e-10, 1e-10]), shares)
    root = np.sqrt(table.pair[members, 0, 0] * table.cycles[members, 0, steps])
    np.testing.assert_allclose(shares[:, 0], table.capacity[0, 0] * root / root.sum(), rtol=1e-6)
    assert value == pytest.approx(
        table.base[members, 0, steps].sum() + root.sum() ** 2 / table.capacity[0, 0], rel=1e-6
    )
