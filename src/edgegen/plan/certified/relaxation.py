"""What would have to give for an infeasible instance to have a plan: the smallest single changes, each tried by planning."""

import dataclasses

import numpy as np

from edgegen.plan.certified.instance import LOCAL, Instance
from edgegen.plan.certified.planner import plan
from edgegen.plan.certified.tables import local_options, tables

MOST_FACTOR = 64.0
PRECISION = 1e-3  # relative, of the factor
MOST_USERS = 24  # beyond, users are not tried one by one
_CAPACITIES = ("server_hz", "uplink_hz", "downlink_hz")


@dataclasses.dataclass(frozen=True)
class Relaxation:
    """One change after which a plan exists."""

    field: str  # of the instance
    rows: tuple[int, ...]  # users, or servers counted from 0 for capacities
    factor: float  # multiply the rows by this
    message: str


def relaxations(instance: Instance) -> tuple[Relaxation, ...]:
    """Return the changes that make an infeasible instance feasible, the smallest factor first; () for a feasible one.

    Users whom nothing can serve even alone are named first and relaxed together, each by its own factor's largest.
    """
    hopeless = impossible_alone(instance)
    tried = []
    if hopeless.size:
        rows = tuple(int(n) for n in hopeless)
        tried = [_try(instance, field, rows) for field in ("deadline_s", "energy_j")]
    elif not _feasible(instance):
        everybody = tuple(range(instance.users))
        ones = [(n,) for n in everybody] if instance.users <= MOST_USERS else []
        tried = [_try(instance, "deadline_s", rows) for rows in [*ones, everybody]]
        servers = tuple(range(instance.servers))
        tried += [_try(instance, field, servers) for field in _CAPACITIES]
    return tuple(sorted((found for found in tried if found), key=lambda found: (found.factor, len(found.rows))))


def impossible_alone(instance: Instance) -> np.ndarray:
    """Return the users that nothing could serve even if nobody else were there."""
    local = local_options(instance)
    table = tables(instance, local)
    served = np.isfinite(table.alone) | np.isfinite(table.base).any(axis=(1, 2))
    return np.flatnonzero(~served)


def _feasible(instance: Instance) -> bool:
    return bool(np.isfinite(plan(instance, goal=1.0).objective))


def _scaled(instance: Instance, field: str, rows: tuple[int, ...], factor: float) -> Instance:
    values = np.array(getattr(instance, field))
    values[list(rows)] *= factor
    return instance.replace(**{field: values})


def _try(instance: Instance, field: str, rows: tuple[int, ...]) -> Relaxation | None:
    low, high = 1.0, MOST_FACTOR
    if not _feasible(_scaled(instance, field, rows, high)):
        return None
    while high / low > 1 + PRECISION:
        middle = float(np.sqrt(low * high))
        if _feasible(_scaled(instance, field, rows, middle)):
            high = middle
        else:
            low = middle
    return Relaxation(field, rows, high, _message(instance, field, rows, high))


def _message(instance: Instance, field: str, rows: tuple[int, ...], factor: float) -> str:
    """Say who needs what, with the value where it concerns one row."""
    kind = "server" if field in _CAPACITIES else "user"
    names = [str(row + 1 if kind == "server" else row) for row in rows]
    who = f"{kind}{'s' if len(rows) > 1 else ''} {', '.join(names)}"
    if len(rows) == getattr(instance, field).shape[0] and len(rows) > 1:
        who = f"every {kind}"
    needed = f": {float(getattr(instance, field)[rows[0]]) * factor:.4g}" if len(rows) == 1 else ""
    return f"multiply {field} of {who} by {factor:.3f}{needed}"


def shortest_alone_s(instance: Instance, user: int) -> float:
    """Return the least seconds in which anything could serve this user, with every server to itself."""
    options = []
    for node in range(instance.servers + 1):
        usable = np.flatnonzero(instance.allowed[user, node])
        if not usable.size:
            continue
        cycles, fixed_s = instance.cycles[user, node, usable].min(), instance.fixed_s[user, node]
        if node == LOCAL:
            options.append(fixed_s + cycles / instance.device_hz[user])
            continue
        transfer_s = 0.0
        for bits, snr, band in (
            (instance.upload_bits[user], instance.up_snr_hz[user, node - 1], instance.uplink_hz[node - 1]),
            (instance.download_bits[user], instance.down_snr_hz[user, node - 1], instance.downlink_hz[node - 1]),
        ):
            rate = band * np.log2(1 + snr / band)
            transfer_s += bits / rate if rate > 0 else np.inf if bits > 0 else 0.0
        options.append(fixed_s + transfer_s + cycles / instance.server_hz[node - 1])
    return float(min(options, default=np.inf))
