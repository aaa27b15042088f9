"""What people do without the planner, with the best steps and shares for it: each must cost at least as much as a plan.

Each chooses an assignment by a simple rule and then solves steps and shares exactly.
"""

from collections.abc import Callable
from types import MappingProxyType

import numpy as np

from edgegen.plan.certified.exact import Sets
from edgegen.plan.certified.instance import LOCAL, Instance
from edgegen.plan.certified.planner import CertifiedPlan, Status, columns, nothing
from edgegen.plan.certified.tables import local_options, tables

Baseline = Callable[[Instance, np.random.Generator], CertifiedPlan]


def fixed_assignment(instance: Instance, node: np.ndarray) -> CertifiedPlan:
    """Return the best plan for a given assignment; its bound says nothing about other assignments."""
    local = local_options(instance)
    best, _ = Sets(tables(instance, local)).assignment(np.asarray(node))
    price = np.zeros((instance.servers, 3))
    if np.isinf(best.cost):
        return nothing(instance, -np.inf, price, 0)
    return CertifiedPlan(
        **columns(instance, local, best),
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
    return fixed_assignment(instance, 1 + instance.up_snr_hz.argmax(axis=1))


def random_assignment(instance: Instance, rng: np.random.Generator) -> CertifiedPlan:
    """Any node, all alike likely."""
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


BASELINES: MappingProxyType[str, Baseline] = MappingProxyType(
    {
        "all-local": all_local,
        "nearest": nearest,
        "random": random_assignment,
        "greedy-by-channel": greedy_by_channel,
    }
)
"""The simple rules by name."""
