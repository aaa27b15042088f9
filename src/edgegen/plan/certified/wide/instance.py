"""A planning problem too wide for one table: every user reaches a few of the servers, and only those are stored.

What a user cannot reach is part of the problem, so a bound for the sparse form is a bound for the problem itself.
"""

import dataclasses

import numpy as np

from edgegen.core.errors import InputError
from edgegen.plan.certified.instance import Instance

NOWHERE = -1

USER_FIELDS = (
    *("weights", "deadline_s", "energy_j", "time_scale_s", "energy_scale_j", "refusal_cost"),
    *("upload_bits", "download_bits", "send_power_w", "device_hz", "device_w_per_hz3"),
)
"""The fields of an `Instance` with one row per user and nothing per node."""


@dataclasses.dataclass(frozen=True)
class WideInstance:
    """N users of whom each reaches at most K of M servers. Build it with `WideInstance.build`, which checks it.

    Users are described by an `Instance` without servers: their limits, weights, devices and step counts.
    """

    devices: Instance  # N users, no servers
    reach: np.ndarray  # int[N, K]: servers that a user reaches, counted from 0; NOWHERE for none, each at most once
    up_snr_hz: np.ndarray  # float[N, K], power x gain / noise density
    down_snr_hz: np.ndarray  # float[N, K]
    fixed_s: np.ndarray  # float[N, K], seconds that no share changes
    error: np.ndarray  # float[M, S], average error of a server's result
    cycles: np.ndarray  # float[M, S], clock cycles of the computation there
    allowed: np.ndarray  # bool[M, S], False for models that a server lacks
    server_hz: np.ndarray  # float[M], clock to divide
    uplink_hz: np.ndarray  # float[M], bandwidth to divide
    downlink_hz: np.ndarray  # float[M]
    server_km: np.ndarray  # float[M, 2]: where servers stand; regions are cut by it, no rate depends on it

    @property
    def users(self) -> int:
        """N."""
        return self.devices.users

    @property
    def servers(self) -> int:
        """M."""
        return self.server_hz.shape[0]

    def part(self, users: np.ndarray, servers: np.ndarray) -> Instance:
        """Return the dense problem of some users and servers; the rest of the world does not exist in it."""
        users, servers = np.asarray(users, dtype=np.int64), np.asarray(servers, dtype=np.int64)
        up, down, fixed_s = (np.zeros((users.size, servers.size)) for _ in range(3))
        column = np.full(self.servers + 1, -1)
        column[servers] = np.arange(servers.size)
        at = column[self.reach[users]]  # NOWHERE finds the last entry, which no server has
        row, k = np.nonzero(at >= 0)
        for dense, sparse in ((up, self.up_snr_hz), (down, self.down_snr_hz), (fixed_s, self.fixed_s)):
            dense[row, at[row, k]] = sparse[users[row], k]
        reached = np.zeros((users.size, servers.size), dtype=bool)
        reached[row, at[row, k]] = True
        devices = self.devices
        return Instance.build(
            steps=devices.steps,
            model=devices.model,
            **{name: getattr(devices, name)[users] for name in USER_FIELDS},
            **{name: self._per_node(name, users, servers) for name in ("error", "cycles")},
            allowed=self._per_node("allowed", users, servers) & np.insert(reached, 0, True, axis=1)[..., None],
            fixed_s=np.concatenate([devices.fixed_s[users], fixed_s], axis=1),
            up_snr_hz=up,
            down_snr_hz=down,
            **{name: getattr(self, name)[servers] for name in ("server_hz", "uplink_hz", "downlink_hz")},
        )

    def _per_node(self, name: str, users: np.ndarray, servers: np.ndarray) -> np.ndarray:
        mine, theirs = getattr(self.devices, name)[users], getattr(self, name)[servers]
        return np.concatenate([mine, np.broadcast_to(theirs, (users.size, *theirs.shape))], axis=1)

    def dense(self) -> Instance:
        """Return the whole problem as one dense instance; for sizes that fit."""
        return self.part(np.arange(self.users), np.arange(self.servers))

    def replace(self, **changes) -> "WideInstance":
        """Return a checked copy with some fields replaced."""
        return WideInstance.build(**{**vars(self), **changes})

    @staticmethod
    def build(**given) -> "WideInstance":
        """Return a checked WideInstance; `fixed_s` is 0 and everything `allowed` where they are missing.

        **Raises** `InputError` that names the field which is wrong, and where.
        """
        for field in dataclasses.fields(WideInstance):
            if field.name not in given and field.name not in ("fixed_s", "allowed"):
                raise InputError(f"a wide instance needs {field.name}", param=field.name)
        devices, reach = given["devices"], _reach(given["reach"], given["devices"].users)
        if devices.servers:
            raise InputError(f"devices must have no servers, got {devices.servers}", param="devices")
        error = np.asarray(given["error"], dtype=float)
        given = {"allowed": np.ones(error.shape, dtype=bool), "fixed_s": np.zeros(reach.shape), **given}
        arrays = {
            **{name: _per_pair(name, given[name], reach) for name in ("up_snr_hz", "down_snr_hz", "fixed_s")},
            **_servers(given, devices),
        }
        if reach.size and not (reach.min() >= NOWHERE and reach.max() < arrays["server_hz"].size):
            raise InputError(
                f"reach must hold servers from 0 to {arrays['server_hz'].size - 1}, or {NOWHERE} for none; "
                f"got {reach.min()} to {reach.max()}",
                param="reach",
            )
        return WideInstance(devices=devices, reach=_frozen(reach), **arrays)


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _reach(value, users: int) -> np.ndarray:
    reach = np.array(value)
    if reach.ndim != 2 or reach.shape[0] != users or not np.issubdtype(reach.dtype, np.integer):
        raise InputError(
            f"reach must be int[{users}, K], one row per user, got {reach.dtype}{list(reach.shape)}", param="reach"
        )
    reach = reach.astype(np.int64)
    ordered = np.sort(reach, axis=1)
    twice = (np.diff(ordered, axis=1) == 0) & (ordered[:, 1:] != NOWHERE)
    if twice.any():
        user, k = (int(i) for i in np.argwhere(twice)[0])
        raise InputError(f"reach[{user}] names server {ordered[user, k]} twice", param="reach")
    return reach


def _per_pair(name: str, value, reach: np.ndarray) -> np.ndarray:
    array = np.array(value, dtype=float)
    if array.shape != reach.shape:
        raise InputError(f"{name} must have the shape of reach, {reach.shape}, got {array.shape}", param=name)
    good = (array >= 0) & (np.isfinite(array) if name != "fixed_s" else True)
    if not good.all():
        user, k = (int(i) for i in np.argwhere(~good)[0])
        limit = ">= 0" if name == "fixed_s" else ">= 0 and finite"
        raise InputError(f"{name}[{user}, {k}] must be {limit}, got {array[user, k]:g}", param=name)
    return _frozen(array)


def _servers(given: dict, devices: Instance) -> dict[str, np.ndarray]:
    """Return the checked fields of the servers: the rules are an instance's, tried with nobody there."""
    servers, steps = np.asarray(given["server_hz"]).size, devices.steps.size
    place = np.array(given["server_km"], dtype=float)
    if place.shape != (servers, 2) or not np.isfinite(place).all():
        raise InputError(
            f"server_km must be finite and have the shape ({servers}, 2), got {place.shape}", param="server_km"
        )
    error, cycles, allowed = (np.asarray(given[name]) for name in ("error", "cycles", "allowed"))
    for name, array in (("error", error), ("cycles", cycles), ("allowed", allowed)):
        if array.shape != (servers, steps):
            raise InputError(f"{name} must have the shape ({servers}, {steps}), got {array.shape}", param=name)
    one = {name: np.ones((1, *getattr(devices, name).shape[1:])) for name in USER_FIELDS}
    blank = np.zeros((1, 1, steps))
    checked = Instance.build(
        **one,
        steps=devices.steps,
        model=devices.model,
        error=np.concatenate([blank, error[None]], axis=1),
        cycles=np.concatenate([blank, cycles[None]], axis=1),
        allowed=np.concatenate([blank > 0, allowed[None]], axis=1),
        up_snr_hz=np.ones((1, servers)),
        down_snr_hz=np.ones((1, servers)),
        **{name: given[name] for name in ("server_hz", "uplink_hz", "downlink_hz")},
    )
    rows = {name: _frozen(getattr(checked, name)[0, 1:].copy()) for name in ("error", "cycles", "allowed")}
    bands = {name: getattr(checked, name) for name in ("server_hz", "uplink_hz", "downlink_hz")}
    return {**rows, **bands, "server_km": _frozen(place)}
