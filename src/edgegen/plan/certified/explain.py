"""Why a plan puts a user where it is: the cost of every other node, what limits the user, what more capacity is worth.

A move is priced in two ways. `at_prices` is the user's own cost on the node plus the rent of its shares at the plan's
prices; `change` is exact: every server that the move touches is solved again, everybody else stays where they are.
"""

import dataclasses

import numpy as np

from edgegen.plan.certified.checker import Audit, check
from edgegen.plan.certified.exact import Sets
from edgegen.plan.certified.instance import LOCAL, REFUSED, Instance
from edgegen.plan.certified.planner import CertifiedPlan
from edgegen.plan.certified.prices import blank_work, evaluate
from edgegen.plan.certified.sets import fixed_steps, solve_set
from edgegen.plan.certified.tables import Local, Tables, contiguous, local_options, tables

AT_THE_LIMIT = 1e-6  # relative: a limit used up to here binds
MORE = 0.1  # how much more of a capacity is tried
EXACT_USERS = 10  # a server with more users is solved by the planner's own search, not by enumeration of steps


@dataclasses.dataclass(frozen=True)
class Alternative:
    """What it would mean to serve one user elsewhere."""

    node: int
    at_prices: float  # inf where the node is impossible
    change: float  # of the objective, inf where somebody's limits would break
    steps: int  # that the user would take, 0 where the node is impossible
    obstacle: str  # why it is impossible; empty where it is not


@dataclasses.dataclass(frozen=True)
class Explained:
    """Why one user is where it is."""

    user: int
    node: int
    at_prices: float
    binds: tuple[str, ...]  # what stops the user from doing better
    others: tuple[Alternative, ...]  # the cheapest change first


class Explainer:
    """Answers questions about one plan of one instance."""

    def __init__(self, instance: Instance, plan: CertifiedPlan):
        self.instance, self.plan = instance, plan
        self.audit: Audit = check(instance, plan)
        self.local: Local = local_options(instance)
        self.tables: Tables = tables(instance, self.local)
        self.sets = Sets(self.tables)
        self.solved: dict[tuple[int, bytes], tuple[float, np.ndarray]] = {}
        self.at_prices = self._at_prices()

    def _at_prices(self) -> np.ndarray:
        """Return float[N, 1 + M]."""
        users, servers = self.instance.users, self.instance.servers
        if servers == 0 or users == 0:
            return self.tables.alone[:, None].copy()
        work = blank_work(users, servers)
        usable = np.ones((users, servers + 1), dtype=bool)
        evaluate(self.tables, np.maximum(self.plan.price, 1e-30), usable, work)
        return work.cost

    def explain(self, user: int) -> Explained:
        """Return why this user is where it is, and what any other node would change."""
        here = int(self.plan.node[user])
        nodes = [j for j in range(self.instance.servers + 1) if j != here]
        others = [self._elsewhere(user, j) for j in nodes]
        refusal = float(self.instance.refusal_cost[user])
        if here != REFUSED and np.isfinite(refusal):
            others.append(Alternative(REFUSED, refusal, self._without(user) + refusal, 0, ""))
        others.sort(key=lambda found: (found.change, found.node))
        at_prices = refusal if here == REFUSED else float(self.at_prices[user, here])
        return Explained(user, here, at_prices, self.binds(user), tuple(others))

    def _without(self, user: int) -> float:
        """Return how the objective changes when a user goes away (it falls)."""
        at, here = np.asarray(self.plan.node), int(self.plan.node[user])
        if here == REFUSED:
            return -float(self.instance.refusal_cost[user])
        if here == LOCAL:
            return -float(self.local.table[user].min())
        mates = np.flatnonzero(at == here)
        return self._value(here - 1, mates[mates != user])[0] - self._value(here - 1, mates)[0]

    def _elsewhere(self, user: int, node: int) -> Alternative:
        if obstacle := self.obstacle(user, node):
            return Alternative(node, np.inf, np.inf, 0, obstacle)
        change, steps = self._without(user), 0
        at = np.asarray(self.plan.node)
        if node == LOCAL:
            change += float(self.local.table[user].min())
            steps = int(self.instance.steps[self.local.table[user].argmin()])
        else:
            members = np.sort(np.append(np.flatnonzero(at == node), user))
            value, chosen = self._value(node - 1, members)
            change += value - self._value(node - 1, np.flatnonzero(at == node))[0]
            steps = int(self.instance.steps[chosen[int(np.searchsorted(members, user))]]) if value < np.inf else 0
        crowded = "" if change < np.inf else "beside its users, not everybody's limits can be kept"
        return Alternative(node, float(self.at_prices[user, node]), float(change), steps, crowded)

    def _value(self, m: int, members: np.ndarray) -> tuple[float, np.ndarray]:
        """Return (cost, steps) of these users on server m with the best steps and shares."""
        key = (m, members.tobytes())
        if key not in self.solved:
            if members.size <= EXACT_USERS:
                value, _, steps, _ = self.sets.value(m, members)
            else:
                steps, price = np.full(members.size, -1), self.plan.price[m].copy()
                value, _ = solve_set(
                    self.tables, m, members, steps, np.maximum(price, 1e-30), np.zeros((members.size, 3)), np.int64(50)
                )
            self.solved[key] = float(value), np.asarray(steps)
        return self.solved[key]

    def obstacle(self, user: int, node: int) -> str:
        """Return why a node is impossible for a user even alone; empty where it is possible."""
        i = self.instance
        if not i.allowed[user, node].any():
            return "no model there that the user may have"
        if node == LOCAL:
            if np.isfinite(self.local.table[user]).any():
                return ""
            cycles = i.cycles[user, LOCAL, i.allowed[user, LOCAL]].min()
            least_s = i.fixed_s[user, LOCAL] + cycles / i.device_hz[user]
            if least_s > i.deadline_s[user]:
                return f"takes {least_s:.3g} s at full clock, of {i.deadline_s[user]:.3g} s"
            return f"no clock keeps both {i.deadline_s[user]:.3g} s and {i.energy_j[user]:.3g} J"
        if np.isfinite(self.tables.base[user, node - 1]).any():
            return ""
        return self._obstacle_on_server(user, node)

    def _obstacle_on_server(self, user: int, node: int) -> str:
        i, m = self.instance, node - 1
        send_s = _transfer_s(i.upload_bits[user], i.up_snr_hz[user, m], i.uplink_hz[m])
        fetch_s = _transfer_s(i.download_bits[user], i.down_snr_hz[user, m], i.downlink_hz[m])
        if np.isinf(send_s + fetch_s):
            return "out of reach"
        if i.send_power_w[user] * send_s > i.energy_j[user]:
            return f"the upload alone takes {i.send_power_w[user] * send_s:.3g} J, of {i.energy_j[user]:.3g} J"
        cycles = i.cycles[user, node, i.allowed[user, node]].min()
        least_s = i.fixed_s[user, node] + send_s + fetch_s + cycles / i.server_hz[m]
        return f"takes {least_s:.3g} s with the server for itself, of {i.deadline_s[user]:.3g} s"

    # ------------------------------------------------------------------------------------------------- what binds

    def binds(self, user: int) -> tuple[str, ...]:
        """Return the limits that a user is at: deadline, battery, clock, step set, quality floor, shared capacity."""
        i, node = self.instance, int(self.plan.node[user])
        if node == REFUSED:
            return ("refused: its price is below any other cost",)
        found = []
        if self.audit.total_s[user] >= i.deadline_s[user] * (1 - AT_THE_LIMIT):
            found.append("deadline")
        if self.audit.device_energy_j[user] >= i.energy_j[user] * (1 - AT_THE_LIMIT):
            found.append("battery")
        if node == LOCAL and self.plan.clock_hz[user] >= i.device_hz[user] * (1 - AT_THE_LIMIT):
            found.append("device clock")
        found += self._ends_of_steps(user, node)
        if node > LOCAL and (np.asarray(self.plan.node) == node).sum() > 1:
            rent = self.rents(user)
            most = int(rent.argmax())
            if rent[most] > 0:
                found.append(f"server {('clock', 'uplink', 'downlink')[most]}")
        return tuple(found)

    def rents(self, user: int) -> np.ndarray:
        """Return float[3]: what a user's shares of clock, uplink and downlink cost at the plan's prices."""
        node = int(self.plan.node[user])
        shares = np.array([self.plan.clock_hz[user], self.plan.uplink_hz[user], self.plan.downlink_hz[user]])
        return shares * self.plan.price[node - 1] if node > LOCAL else np.zeros(3)

    def _ends_of_steps(self, user: int, node: int) -> list[str]:
        """Return whether the plan took the most or the fewest steps that the user may have there."""
        i = self.instance
        mine = i.allowed[user, node] & (i.model == self.plan.model[user])
        offered = i.steps[mine]
        if offered.size < 2:
            return ["only step count"] if offered.size else []
        if self.plan.steps[user] == offered.max():
            return ["most steps"]
        return ["fewest steps"] if self.plan.steps[user] == offered.min() else []

    # -------------------------------------------------------------------------------------------- what more is worth

    def worth_of_more(self) -> np.ndarray:
        """Return float[M, 3]: what `MORE` of each server's clock, uplink and downlink saves, with everybody's steps kept."""
        saved = np.zeros((self.instance.servers, 3))
        for m in range(self.instance.servers):
            members = np.flatnonzero(np.asarray(self.plan.node) == m + 1)
            if not members.size:
                continue
            now = self._fixed(self.tables, m, members)
            for k in range(3):
                capacity = self.tables.capacity.copy()
                capacity[m, k] *= 1 + MORE
                saved[m, k] = max(0.0, now - self._fixed(contiguous(*self.tables[:-1], capacity), m, members))
        return saved

    def _fixed(self, table: Tables, m: int, members: np.ndarray) -> float:
        i, plan = self.instance, self.plan
        steps = np.array(
            [np.flatnonzero((i.steps == plan.steps[n]) & (i.model == plan.model[n]))[0] for n in members],
            dtype=np.int64,
        )
        price = np.maximum(plan.price[m].copy(), 1e-30)
        return float(fixed_steps(table, m, members, steps, price, np.zeros((members.size, 3))))


def _transfer_s(bits: float, snr_hz: float, band_hz: float) -> float:
    if bits == 0:
        return 0.0
    return float(bits / (band_hz * np.log2(1 + snr_hz / band_hz))) if snr_hz > 0 else np.inf
