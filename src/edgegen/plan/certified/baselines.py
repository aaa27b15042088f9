"""What people do without the planner: each decides a part of a plan by a simple rule and the rest as well as it can.

Rules that fix the assignment (`all-local`, `nearest`, `greedy-by-channel`, `resources-only`) get the best steps and
shares for it. `fixed-steps-*` get the planner's assignment and shares. `assignment-only` and `equal-shares` get the best
steps for their shares and a searched assignment. `random` decides nothing. A rule that cannot keep the limits returns a
plan without users (objective inf).
"""

import dataclasses
from collections.abc import Callable
from types import MappingProxyType

import numpy as np

from edgegen.plan.certified.exact import Assignment, Sets
from edgegen.plan.certified.given_shares import GivenShares
from edgegen.plan.certified.instance import LOCAL, Instance
from edgegen.plan.certified.planner import CertifiedPlan, Status, columns, nothing, plan
from edgegen.plan.certified.tables import local_options, tables

Baseline = Callable[[Instance, np.random.Generator], CertifiedPlan]


STEPS_OF_PRACTICE = 20


def fixed_assignment(instance: Instance, node: np.ndarray) -> CertifiedPlan:
    """Return the best plan for a given assignment; its bound says nothing about other assignments."""
    best, _ = Sets(tables(instance, local_options(instance))).assignment(np.asarray(node))
    return _unproven(instance, best)


def _unproven(instance: Instance, best: Assignment | None) -> CertifiedPlan:
    """Return a plan without a bound, or the answer that there is none."""
    price = np.zeros((instance.servers, 3))
    if best is None or np.isinf(best.cost):
        return nothing(instance, -np.inf, price, 0)
    return CertifiedPlan(
        **columns(instance, local_options(instance), best),
        objective=best.cost,
        bound=-np.inf,
        status=Status.FEASIBLE,
        branches=0,
        price=price,
    )


def all_local(instance: Instance, rng: np.random.Generator) -> CertifiedPlan:
    """Everybody on the own device."""
    del rng
    return fixed_assignment(instance, np.full(instance.users, LOCAL))


def nearest(instance: Instance, rng: np.random.Generator) -> CertifiedPlan:
    """Everybody on the server with the best uplink."""
    del rng
    return fixed_assignment(instance, nearest_nodes(instance))


def nearest_nodes(instance: Instance) -> np.ndarray:
    """Return int[N]: the server with the best uplink of each user; the device where there is no server."""
    if instance.servers == 0:
        return np.full(instance.users, LOCAL)
    return 1 + instance.up_snr_hz.argmax(axis=1)


def resources_only(instance: Instance, rng: np.random.Generator) -> CertifiedPlan:
    """Any node, all alike likely; steps and shares are the best for it."""
    return fixed_assignment(instance, rng.integers(0, instance.servers + 1, instance.users))


def greedy_by_channel(instance: Instance, rng: np.random.Generator) -> CertifiedPlan:
    """Servers fill up in the order of the channels, each with its even part of the users; the rest stays local."""
    del rng
    node, room = np.full(instance.users, LOCAL), -(-instance.users // (instance.servers + 1))
    for flat in np.argsort(-instance.up_snr_hz, axis=None):
        user, server = divmod(int(flat), instance.servers)
        if node[user] == LOCAL and (node == server + 1).sum() < room:
            node[user] = server + 1
    return fixed_assignment(instance, node)


def assignment_only(instance: Instance, rng: np.random.Generator) -> CertifiedPlan:
    """Random shares of whoever is on a server; steps and assignment are the best that a search finds for them."""
    given = GivenShares(instance, _random_weights(instance, rng))
    return _unproven(instance, given.assignment(given.search()))


def equal_shares(instance: Instance, rng: np.random.Generator) -> CertifiedPlan:
    """Every server divided equally; steps and assignment are the best that a search finds for that."""
    del rng
    given = GivenShares(instance, np.ones((instance.users, instance.servers, 3)))
    return _unproven(instance, given.assignment(given.search()))


def random_everything(instance: Instance, rng: np.random.Generator) -> CertifiedPlan:
    """Any node, random shares, and any steps that keep the limits with them; devices do their best."""
    given = GivenShares(instance, _random_weights(instance, rng))
    node = rng.integers(0, instance.servers + 1, instance.users)
    return _unproven(instance, given.assignment(node, lambda row: rng.choice(np.flatnonzero(np.isfinite(row)))))


def _random_weights(instance: Instance, rng: np.random.Generator) -> np.ndarray:
    """Return weights whose normalised values are uniform on the simplex (Dirichlet with parameter 1)."""
    return rng.exponential(size=(instance.users, instance.servers, 3)) + 1e-12


def fewest_steps(instance: Instance, rng: np.random.Generator) -> CertifiedPlan:
    """The fewest steps that are allowed, everywhere."""
    del rng
    return _fixed_steps(instance, 0.0)


def usual_steps(instance: Instance, rng: np.random.Generator) -> CertifiedPlan:
    """Twenty steps, or the nearest step count that is allowed, everywhere."""
    del rng
    return _fixed_steps(instance, STEPS_OF_PRACTICE)


def most_steps(instance: Instance, rng: np.random.Generator) -> CertifiedPlan:
    """The most steps that are allowed, everywhere."""
    del rng
    return _fixed_steps(instance, np.inf)


def _fixed_steps(instance: Instance, wanted: float) -> CertifiedPlan:
    """Plan with the allowed step count nearest to `wanted` only, for each user, node and model."""
    most = float(instance.steps.max())
    away = np.where(instance.allowed, np.abs(instance.steps - min(wanted, most)), np.inf)
    kept = np.zeros_like(instance.allowed)
    for model in np.unique(instance.model):
        of_model = np.where(instance.model == model, away, np.inf)
        nearest_step = of_model.argmin(axis=2)[:, :, None]
        possible = np.isfinite(np.take_along_axis(of_model, nearest_step, axis=2))
        np.put_along_axis(kept, nearest_step, possible | np.take_along_axis(kept, nearest_step, axis=2), axis=2)
    found = plan(instance.replace(allowed=kept))
    if not np.isfinite(found.objective):
        return nothing(instance, -np.inf, found.price, 0)
    return dataclasses.replace(found, bound=-np.inf, status=Status.FEASIBLE)


BASELINES: MappingProxyType[str, Baseline] = MappingProxyType(
    {
        "all-local": all_local,
        "nearest": nearest,
        "greedy-by-channel": greedy_by_channel,
        "resources-only": resources_only,
        "assignment-only": assignment_only,
        "equal-shares": equal_shares,
        "fixed-steps-min": fewest_steps,
        "fixed-steps-20": usual_steps,
        "fixed-steps-max": most_steps,
        "random": random_everything,
    }
)
"""The simple rules by name."""


def cost_of_refusing(instance: Instance, *, by_default: float = 1.5) -> float:
    """Return what it costs to serve nobody: what a rule without a plan is counted with where costs are averaged.

    A user without a price of refusal counts `by_default` times the sum of its weights.
    """
    cost = np.where(
        np.isfinite(instance.refusal_cost), instance.refusal_cost, by_default * instance.weights.sum(axis=1)
    )
    return float(cost.sum())
