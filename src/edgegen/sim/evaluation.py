"""Policies side by side: the same episodes of the same instances for each, and the whole ledger for every episode."""

from collections.abc import Mapping

import numpy as np

from edgegen.core.arrays import Array
from edgegen.sim import epochs


def evaluate(
    worlds: epochs.AbstractWorld, policies: Mapping[str, epochs.Policy], keys: Array, *, weights: Mapping[str, float]
) -> dict[str, dict[str, np.ndarray]]:
    """Let policies serve the same E episodes of each of N instances: worlds with leaves [N, ...], keys [N, E].

    Returns the sums of the ledger and the `reward` by policy and component, float[N, E]. A mean over episodes of one
    instance says nothing about another instance: intervals over instances come from the N means.
    """
    episodes, found = epochs.draw_many(worlds, keys), {}
    for name, policy in policies.items():
        ledger = epochs.totals(worlds, policy, episodes)
        sums = ledger | {"reward": epochs.reward(ledger, weights)}
        found[name] = {entry: np.asarray(column, dtype=float) for entry, column in sums.items()}
    return found
