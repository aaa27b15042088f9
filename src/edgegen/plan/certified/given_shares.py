"""Plans whose shares follow from a rule: every user of a server gets a part in proportion to a given weight.

Steps are the best ones under these shares, and the assignment is searched by moves and swaps until none pays. With all
weights alike a server is divided equally.
"""

import numpy as np

from edgegen.plan.certified.exact import Assignment
from edgegen.plan.certified.instance import LOCAL, Instance
from edgegen.plan.certified.tables import Local, local_options

ROUNDS = 100
_UNSERVED = 1e4  # cost of a user that nothing can serve yet
_GAIN = 1e-12


class GivenShares:
    """The costs of an instance when shares are in proportion to `weight`, float[N, M, 3] > 0."""

    def __init__(self, instance: Instance, weight: np.ndarray):
        self.instance, self.weight = instance, weight
        self.local: Local = local_options(instance)
        self.alone = np.where(np.isfinite(self.local.cost), self.local.cost, _UNSERVED)
        self.capacity = np.stack([instance.server_hz, instance.uplink_hz, instance.downlink_hz], axis=1)

    def shares(self, m: int, members: np.ndarray) -> np.ndarray:
        """Return float[K, 3]: what the users of server m get of its clock, uplink and downlink."""
        part = self.weight[members, m]
        return self.capacity[m] * part / part.sum(axis=0)

    def costs(self, m: int, members: np.ndarray) -> np.ndarray:
        """Return float[K, S]: the cost of each step count for the users of server m, inf where a limit is broken."""
        i, node = self.instance, m + 1
        clock, up, down = self.shares(m, members).T
        send_s = _seconds(i.upload_bits[members], up, i.up_snr_hz[members, m])
        fetch_s = _seconds(i.download_bits[members], down, i.down_snr_hz[members, m])
        moved_s = i.fixed_s[members, node] + send_s + fetch_s
        total_s = moved_s[:, None] + i.cycles[members, node] / clock[:, None]
        with np.errstate(invalid="ignore"):
            energy_j = np.where(i.send_power_w[members] > 0, i.send_power_w[members] * send_s, 0.0)
        quality, time, energy = i.weights[members].T
        cost = quality[:, None] * i.error[members, node]
        cost = cost + time[:, None] * total_s / i.time_scale_s[members, None]
        cost = cost + (energy * energy_j / i.energy_scale_j[members])[:, None]
        kept = i.allowed[members, node] & (total_s <= i.deadline_s[members, None])
        return np.where(kept & (energy_j <= i.energy_j[members])[:, None] & np.isfinite(total_s), cost, np.inf)

    def value(self, m: int, members: np.ndarray) -> float:
        """Return what the users of server m cost with their best steps, inf when a limit is broken."""
        return float(self.costs(m, members).min(axis=1).sum()) if members.size else 0.0

    def assignment(self, node: np.ndarray, choose=np.ndarray.argmin) -> Assignment | None:
        """Return the plan of an assignment; None where it keeps not every limit. `choose` takes a user's step costs."""
        step, share = np.zeros(node.size, dtype=np.int64), np.zeros((node.size, 3))
        cost = float(self.local.cost[node == LOCAL].sum())
        for m in range(self.capacity.shape[0]):
            members = np.flatnonzero(node == m + 1)
            if not members.size:
                continue
            costs = self.costs(m, members)
            if np.isinf(costs.min(axis=1)).any():
                return None
            step[members] = [choose(row) for row in costs]
            share[members] = self.shares(m, members)
            cost += float(costs[np.arange(members.size), step[members]].sum())
        return Assignment(cost, node, step, share) if np.isfinite(cost) else None

    def search(self) -> np.ndarray:
        """Return the assignment that no move of one user and no swap of two improves, from the devices."""
        node = np.full(self.instance.users, LOCAL)
        value = np.zeros(self.capacity.shape[0])
        for _ in range(ROUNDS):
            moved = [self._move(node, value, n) for n in range(node.size)]
            if not any(moved) and not self._swap(node, value):
                break
        return node

    def _try(self, node: np.ndarray, value: np.ndarray, changes: dict[int, int], least: float) -> bool:
        """Make these changes if they save more than `least`."""
        trial = node.copy()
        trial[list(changes)] = list(changes.values())
        touched = {m - 1 for n, new in changes.items() for m in (int(node[n]), new) if m > 0}
        saved = sum(self.alone[n] * (int(node[n] == LOCAL) - int(new == LOCAL)) for n, new in changes.items())
        new_value = {m: self.value(m, np.flatnonzero(trial == m + 1)) for m in touched}
        saved += sum(value[m] - new_value[m] for m in touched)
        if not saved > least:
            return False
        node[:] = trial
        for m, cost in new_value.items():
            value[m] = cost
        return True

    def _move(self, node: np.ndarray, value: np.ndarray, n: int) -> bool:
        moved = False
        for j in range(self.capacity.shape[0] + 1):
            if j != node[n]:
                moved |= self._try(node, value, {n: j}, _GAIN)
        return moved

    def _swap(self, node: np.ndarray, value: np.ndarray) -> bool:
        swapped = False
        for n in range(node.size):
            for k in range(n):
                if node[n] != node[k]:
                    swapped |= self._try(node, value, {n: int(node[k]), k: int(node[n])}, _GAIN)
        return swapped


def _seconds(bits: np.ndarray, band: np.ndarray, snr: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.where(bits > 0, bits / (band * np.log2(1 + snr / band)), 0.0)
