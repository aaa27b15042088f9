"""An independent check of a plan: everything is computed again from the instance and the plan's own numbers.

This file shares no code with the planner, on purpose: not its tables, not its kernels. It reads the instance, the
node, the model, the steps and the shares of every user, and nothing else; what the plan claims about itself is compared last.
"""

import dataclasses
import math
from typing import Protocol

import numpy as np

from edgegen.plan.certified.instance import Instance

TOLERANCE = 1e-8  # relative: ten nanoseconds of a deadline of one second
CLAIM_TOLERANCE = 1e-7  # how far the stated objective may be from the computed one, relative


class Planned(Protocol):
    """What the checker reads of a plan. Arrays are [N]."""

    @property
    def node(self) -> np.ndarray:
        """The node of each user: 0 the device, 1 to M a server, -1 refused."""
        ...

    @property
    def model(self) -> np.ndarray:
        """Models."""
        ...

    @property
    def steps(self) -> np.ndarray:
        """Step counts."""
        ...

    @property
    def clock_hz(self) -> np.ndarray:
        """Clock of the device, or share of the server's clock."""
        ...

    @property
    def uplink_hz(self) -> np.ndarray:
        """Share of the uplink band."""
        ...

    @property
    def downlink_hz(self) -> np.ndarray:
        """Share of the downlink band."""
        ...

    @property
    def objective(self) -> float:
        """What the plan says it costs."""
        ...

    @property
    def bound(self) -> float:
        """What the plan says no plan can go below."""
        ...


@dataclasses.dataclass(frozen=True)
class Audit:
    """What the checker found."""

    objective: float
    total_s: np.ndarray  # float[N], NaN for refused users
    device_energy_j: np.ndarray  # float[N], NaN for refused users
    broken: tuple[str, ...]  # every broken rule in words; empty for a plan that holds

    @property
    def holds(self) -> bool:
        """Whether no rule is broken."""
        return not self.broken


def check(instance: Instance, plan: Planned) -> Audit:
    """Return what the plan really costs and every rule that it breaks."""
    users = instance.users
    cost, total_s, energy_j = np.zeros(users), np.full(users, np.nan), np.full(users, np.nan)
    broken: list[str] = []
    for n in range(users):
        node, steps = int(plan.node[n]), int(plan.steps[n])
        if node == -1:
            cost[n] = instance.refusal_cost[n]
            if math.isinf(cost[n]):
                broken.append(f"user {n} is refused but must be served")
            continue
        found = np.flatnonzero((instance.steps == steps) & (instance.model == plan.model[n]))
        if not 0 <= node <= instance.servers or found.size != 1:
            broken.append(f"user {n}: no node {node} or no step count {steps} of model {int(plan.model[n])}")
            continue
        if not instance.allowed[n, node, found[0]]:
            broken.append(f"user {n}: {steps} steps on node {node} are not allowed")
        clock, up, down = (float(a[n]) for a in (plan.clock_hz, plan.uplink_hz, plan.downlink_hz))
        total_s[n], energy_j[n] = _time_and_energy(instance, n, node, int(found[0]), clock, up, down)
        cost[n] = _cost(instance, n, float(instance.error[n, node, found[0]]), total_s[n], energy_j[n])
        broken += _limits(instance, n, node, clock, total_s[n], energy_j[n])
    broken += _capacities(instance, plan)
    objective = float(cost.sum())
    return Audit(objective, total_s, energy_j, (*broken, *_claims(plan, objective)))


def _rate_bps(band_hz: float, snr_hz: float) -> float:
    return band_hz * math.log2(1 + snr_hz / band_hz) if band_hz > 0 else 0.0


def _seconds(amount: float, per_s: float) -> float:
    if amount == 0:
        return 0.0
    return amount / per_s if per_s > 0 else math.inf


def _time_and_energy(instance: Instance, n: int, node: int, s: int, clock: float, up: float, down: float):
    cycles = float(instance.cycles[n, node, s])
    compute_s, fixed_s = _seconds(cycles, clock), float(instance.fixed_s[n, node])
    if node == 0:
        return fixed_s + compute_s, float(instance.device_w_per_hz3[n]) * clock**3 * compute_s
    send_s = _seconds(float(instance.upload_bits[n]), _rate_bps(up, float(instance.up_snr_hz[n, node - 1])))
    fetch_s = _seconds(float(instance.download_bits[n]), _rate_bps(down, float(instance.down_snr_hz[n, node - 1])))
    return fixed_s + send_s + compute_s + fetch_s, float(instance.send_power_w[n]) * send_s


def _cost(instance: Instance, n: int, error: float, total_s: float, energy_j: float) -> float:
    quality, time, energy = instance.weights[n]
    return quality * error + time * total_s / instance.time_scale_s[n] + energy * energy_j / instance.energy_scale_j[n]


def _limits(instance: Instance, n: int, node: int, clock: float, total_s: float, energy_j: float) -> list[str]:
    rules = [("takes", total_s, instance.deadline_s[n], "s"), ("spends", energy_j, instance.energy_j[n], "J")]
    if node == 0:
        rules.append(("clocks its device at", clock, instance.device_hz[n], "Hz"))
    return [
        f"user {n} {verb} {value:.9g} {unit} of {limit:.9g} {unit}"
        for verb, value, limit, unit in rules
        if not value <= limit * (1 + TOLERANCE)
    ]


def _capacities(instance: Instance, plan: Planned) -> list[str]:
    broken = []
    for name, shares, capacity in (
        ("clock", plan.clock_hz, instance.server_hz),
        ("uplink", plan.uplink_hz, instance.uplink_hz),
        ("downlink", plan.downlink_hz, instance.downlink_hz),
    ):
        shares = np.asarray(shares, dtype=float)
        if not (shares >= 0).all():
            broken.append(f"a share of a {name} is negative or not a number")
        for m in range(instance.servers):
            used = float(shares[np.asarray(plan.node) == m + 1].sum())
            if not used <= capacity[m] * (1 + TOLERANCE):
                broken.append(f"server {m + 1} gives away {used:.9g} Hz of {capacity[m]:.9g} Hz of its {name}")
    return broken


def _claims(plan: Planned, objective: float) -> list[str]:
    claims = []
    if not abs(plan.objective - objective) <= CLAIM_TOLERANCE * max(1.0, abs(objective)):
        claims.append(f"the plan says it costs {plan.objective:.9g}, it costs {objective:.9g}")
    if not plan.bound <= objective + CLAIM_TOLERANCE * max(1.0, abs(objective)):
        claims.append(f"the plan says nothing costs less than {plan.bound:.9g}, it costs {objective:.9g} itself")
    return claims
