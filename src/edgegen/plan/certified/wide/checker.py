"""An independent check of a wide plan, for all users at once.

It shares no code with the planner: like `checker`, it computes rates, seconds, joules, the use of every capacity and the
objective again from the instance and the plan's own numbers. A test compares it with `checker` on small instances.
"""

import dataclasses

import numpy as np

from edgegen.plan.certified.checker import CLAIM_TOLERANCE, TOLERANCE, Planned
from edgegen.plan.certified.wide.instance import WideInstance


@dataclasses.dataclass(frozen=True)
class WideAudit:
    """What the checker found. A user is refused by the checker when a rule about it is broken."""

    objective: float
    total_s: np.ndarray  # float[N], NaN for users that the plan refuses
    device_energy_j: np.ndarray  # float[N], NaN likewise
    wrong: dict[str, np.ndarray]  # the users, or servers counted from 1, that break each rule; empty rules are left out
    claims: tuple[str, ...]  # what the plan says about itself and is not so

    @property
    def holds(self) -> bool:
        """Whether no rule is broken and no claim is wrong."""
        return not self.wrong and not self.claims


def check_wide(wide: WideInstance, plan: Planned) -> WideAudit:
    """Return what the plan really costs and every rule that it breaks."""
    users, devices = np.arange(wide.users), wide.devices
    node, clock = np.asarray(plan.node), np.asarray(plan.clock_hz, dtype=float)
    refused, local = node == -1, node == 0
    at = (devices.steps == np.asarray(plan.steps)[:, None]) & (devices.model == np.asarray(plan.model)[:, None])
    option, column = at.argmax(axis=1), wide.reach == (node - 1)[:, None]
    served = (node > 0) & column.any(axis=1)
    unknown = ~refused & ((at.sum(axis=1) != 1) | (~local & ~served))
    rows, server = users[served], node[served] - 1
    k = np.nonzero(column[served])[1]  # one per row
    work = np.where(local, devices.cycles[users, 0, option], 0.0)
    error = np.where(local, devices.error[users, 0, option], 0.0)
    allowed = np.where(local, devices.allowed[users, 0, option], True)
    fixed_s = np.where(local, devices.fixed_s[:, 0], 0.0)
    work[rows], error[rows] = wide.cycles[server, option[rows]], wide.error[server, option[rows]]
    allowed[rows], fixed_s[rows] = wide.allowed[server, option[rows]], wide.fixed_s[rows, k]
    send_s, fetch_s = np.zeros(wide.users), np.zeros(wide.users)
    for out, size, share, snr in (
        (send_s, devices.upload_bits, plan.uplink_hz, wide.up_snr_hz),
        (fetch_s, devices.download_bits, plan.downlink_hz, wide.down_snr_hz),
    ):
        out[rows] = _transfer_s(size[rows], np.asarray(share, dtype=float)[rows], snr[rows, k])
    quality, time, energy = devices.weights.T
    with np.errstate(divide="ignore", invalid="ignore"):  # a clock of zero takes forever, and its energy is no number
        work_s = np.where(work > 0, np.where(clock > 0, work / clock, np.inf), 0.0)
        total_s = fixed_s + send_s + work_s + fetch_s
        energy_j = np.where(local, devices.device_w_per_hz3 * clock**3 * work_s, devices.send_power_w * send_s)
        cost = quality * error + time * total_s / devices.time_scale_s + energy * energy_j / devices.energy_scale_j
    cost = np.where(refused, devices.refusal_cost, cost)
    total_s, energy_j = (np.where(refused, np.nan, amount) for amount in (total_s, energy_j))
    most = 1 + TOLERANCE
    wrong = {
        "is refused but must be served": np.isinf(devices.refusal_cost) & refused,
        "has a node out of reach or an unknown step count": unknown,
        "has a step count that is not allowed there": ~refused & ~allowed,
        "is late": ~refused & ~(total_s <= devices.deadline_s * most),
        "spends more than its energy": ~refused & ~(energy_j <= devices.energy_j * most),
        "clocks its device too high": local & ~(clock <= devices.device_hz * most),
    }
    broken = {f"user {rule}": np.flatnonzero(rows) for rule, rows in wrong.items() if rows.any()}
    objective = float(cost.sum())
    return WideAudit(objective, total_s, energy_j, {**broken, **_capacities(wide, plan)}, _claims(plan, objective))


def _transfer_s(size: np.ndarray, band: np.ndarray, snr: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(band > 0, band * np.log2(1 + snr / band), 0.0)
        return np.where(size == 0, 0.0, np.where(rate > 0, size / rate, np.inf))


def _capacities(wide: WideInstance, plan: Planned) -> dict[str, np.ndarray]:
    broken: dict[str, np.ndarray] = {}
    node = np.asarray(plan.node)
    on_server = (node > 0) & (node <= wide.servers)
    for name, shares, capacity in (
        ("clock", plan.clock_hz, wide.server_hz),
        ("uplink", plan.uplink_hz, wide.uplink_hz),
        ("downlink", plan.downlink_hz, wide.downlink_hz),
    ):
        shares = np.asarray(shares, dtype=float)
        used = np.bincount(node[on_server] - 1, weights=shares[on_server], minlength=wide.servers)
        broken[f"user has a negative {name}"] = np.flatnonzero(~(shares >= 0))
        over = ~(used <= capacity * (1 + TOLERANCE))
        broken[f"server gives away more {name} than it has"] = 1 + np.flatnonzero(over)
    return {rule: rows for rule, rows in broken.items() if rows.size}


def _claims(plan: Planned, objective: float) -> tuple[str, ...]:
    slack = CLAIM_TOLERANCE * max(1.0, abs(objective))
    claims = []
    if not abs(plan.objective - objective) <= slack:
        claims.append(f"the plan says it costs {plan.objective:.9g}, it costs {objective:.9g}")
    if not plan.bound <= objective + slack:
        claims.append(f"the plan says nothing costs less than {plan.bound:.9g}, it costs {objective:.9g} itself")
    return tuple(claims)
