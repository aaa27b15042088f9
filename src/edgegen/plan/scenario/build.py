"""From a scenario file and a seed to the arrays of an `Instance`.

Every field of every group draws from a stream of its own. So two files that differ in one field give the same random
numbers everywhere else, and more users or servers leave those that were there before as they were.
"""

import dataclasses
import math
import zlib

import numpy as np

from edgegen.physics.channel import NOISE_W_PER_HZ, path_gain
from edgegen.plan.certified.instance import Instance
from edgegen.plan.scenario.fields import Matrix, Spread
from edgegen.plan.scenario.offers import PROFILE_HZ, Offer, offers_of
from edgegen.plan.scenario.schema import ScenarioFile, ServerGroup, UserGroup

REFUSAL_OF_WEIGHTS = 1.5  # cost of a refusal per unit of weight, where one must be counted and the file names none


@dataclasses.dataclass(frozen=True)
class Names:
    """What people call the rows of an instance."""

    users: tuple[str, ...]
    servers: tuple[str, ...]
    device_models: tuple[tuple[str, ...], ...]  # per user: the models of its device, in the instance's numbers
    server_models: tuple[tuple[str, ...], ...]  # per server

    def node(self, number: int) -> str:
        """Return the name of a node of an instance."""
        return {0: "own device", -1: "refused"}.get(number) or self.servers[number - 1]

    def model(self, user: int, node: int, number: int) -> str:
        """Return the name of a model where it runs; empty for a refused user."""
        if node < 0:
            return ""
        return self.device_models[user][number] if node == 0 else self.server_models[node - 1][number]


def names_of(file: ScenarioFile) -> Names:
    """Return the names behind an instance of the file; they do not depend on the seed."""
    return Names(
        users=tuple(_numbered(file.users)),
        servers=tuple(_numbered(file.servers)),
        device_models=tuple(_models(file, group.device) for group in file.users for _ in range(group.count)),
        server_models=tuple(_models(file, group) for group in file.servers for _ in range(group.count)),
    )


def _numbered(groups) -> list[str]:
    return [
        group.name if group.count == 1 else f"{group.name}-{number + 1}"
        for group in groups
        for number in range(group.count)
    ]


def _models(file: ScenarioFile, machine) -> tuple[str, ...]:
    return tuple(offer.model for offer in offers_of(file, machine))


def build(file: ScenarioFile, seed: int) -> Instance:
    """Return the instance of a seed."""
    distance_m = distances(file, seed)
    gain = np.zeros_like(distance_m)
    near = np.isfinite(distance_m)
    gain[near] = path_gain(distance_m[near])
    send_w = _users(file, seed, "transmit_power")
    server_w = _servers(file, seed, "transmit_power")
    snr = gain / NOISE_W_PER_HZ
    deadline_s, energy_j = _users(file, seed, "deadline"), _users(file, seed, "energy_budget")
    weights = [group.weights or file.weights for group in file.users]
    return Instance.build(
        weights=_per_user(file, [[w.quality, w.time, w.energy] for w in weights]).reshape(-1, 3),
        deadline_s=deadline_s,
        energy_j=energy_j,
        time_scale_s=_scale(_users(file, seed, "time_scale"), deadline_s),
        energy_scale_j=_scale(_users(file, seed, "energy_scale"), energy_j),
        refusal_cost=_per_user(file, [_refusal(file, group) for group in file.users]),
        upload_bits=_users(file, seed, "upload"),
        download_bits=_users(file, seed, "download"),
        send_power_w=send_w,
        device_hz=_per_user(file, [_device_hz(group, number, seed) for number, group in enumerate(file.users)]),
        device_w_per_hz3=_per_user(file, [_device_power(file, group, n, seed) for n, group in enumerate(file.users)]),
        up_snr_hz=send_w[:, None] * snr,
        down_snr_hz=server_w[None, :] * snr,
        server_hz=np.concatenate([[], *(_server_hz(group, k, seed) for k, group in enumerate(file.servers))]),
        uplink_hz=_servers(file, seed, "uplink"),
        downlink_hz=_servers(file, seed, "downlink"),
        fixed_s=_fixed_s(file),
        **_options(file),
    )


# ------------------------------------------------------------------------------------------------- what is drawn


def stream(seed: int, *path: str | int):
    """Return a source of uniform numbers that belongs to one field: the first k of n are the same for every n."""
    key = zlib.crc32("/".join(map(str, path)).encode())
    return lambda count: np.random.default_rng([seed, key]).random(count)


def _per_user(file: ScenarioFile, values: list) -> np.ndarray:
    """Return one row per user from one value, or one array of rows, per group."""
    rows = [
        value if isinstance(value, np.ndarray) else np.repeat([np.asarray(value, dtype=float)], group.count, axis=0)
        for group, value in zip(file.users, values, strict=True)
    ]
    return np.concatenate([np.zeros((0, *rows[0].shape[1:])), *rows]) if rows else np.zeros(0)


def _users(file: ScenarioFile, seed: int, field: str) -> np.ndarray:
    drawn = []
    for number, group in enumerate(file.users):
        given: Spread | None = getattr(group, field)
        part = stream(seed, "users", number, field)
        drawn.append(np.full(group.count, np.nan) if given is None else given.draw(group.count, part))
    return np.concatenate([[], *drawn])


def _servers(file: ScenarioFile, seed: int, field: str) -> np.ndarray:
    drawn = [
        getattr(group, field).draw(group.count, stream(seed, "servers", number, field))
        for number, group in enumerate(file.servers)
    ]
    return np.concatenate([[], *drawn])


def _scale(given: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Return the given scales; where there is none the limit, and 1 where neither is (then the weight is zero)."""
    return np.where(np.isnan(given), np.where(np.isfinite(limit), limit, 1.0), given)


def _refusal(file: ScenarioFile, group: UserGroup) -> float:
    price = group.refusal if group.refusal is not None else file.refusal
    return math.inf if price is None else price


def _device_hz(group: UserGroup, number: int, seed: int) -> np.ndarray:
    if group.device.profile is not None or not group.device.generates:
        return np.full(group.count, PROFILE_HZ)
    return group.device.clock.draw(group.count, stream(seed, "users", number, "device", "clock"))


def _device_power(file: ScenarioFile, group: UserGroup, number: int, seed: int) -> np.ndarray:
    if not group.device.generates:
        return np.zeros(group.count)
    if group.device.profile is not None:
        power_w = group.device.power
        if power_w is None:
            power_w = offers_of(file, group.device)[0].source.power_w  # type: ignore[union-attr]
        return np.full(group.count, power_w / PROFILE_HZ**3)
    coefficient = stream(seed, "users", number, "device", "power_coefficient")
    return group.device.power_coefficient.draw(group.count, coefficient)


def _server_hz(group: ServerGroup, number: int, seed: int) -> np.ndarray:
    if group.profile is not None:
        return np.full(group.count, PROFILE_HZ)
    return group.clock.draw(group.count, stream(seed, "servers", number, "clock"))


def distances(file: ScenarioFile, seed: int) -> np.ndarray:
    """Return float[N, M] in metres, inf where a user is out of reach."""
    servers = sum(group.count for group in file.servers)
    rows = [_group_distances(file, seed, number, group) for number, group in enumerate(file.users)]
    return np.concatenate([np.zeros((0, servers)), *rows])


def _group_distances(file: ScenarioFile, seed: int, number: int, group: UserGroup) -> np.ndarray:
    columns, first = [], 0
    for server_number, servers in enumerate(file.servers):
        for one in range(servers.count):
            given = servers.distance if servers.distance is not None else group.distance
            place = f"site {servers.site}" if servers.site else f"{server_number}/{one}"
            part = stream(seed, "users", number, "distance", place)
            if isinstance(given, Matrix):
                column = np.array([row[first] for row in given.rows])
            elif servers.distance is not None and given.each:
                column = np.full(group.count, given.values[one])
            else:
                column = given.draw(group.count, part)
            columns.append(np.where(column <= servers.reach, column, np.inf))
            first += 1
    return np.stack(columns, axis=1) if columns else np.zeros((group.count, 0))


# --------------------------------------------------------------------------------------------- what does not vary


def _fixed_s(file: ScenarioFile) -> np.ndarray:
    servers = [group.delay for group in file.servers for _ in range(group.count)]
    return _per_user(file, [[group.device.delay, *servers] for group in file.users]).reshape(-1, 1 + len(servers))


def _options(file: ScenarioFile) -> dict[str, np.ndarray]:
    """Return steps, model, error, cycles and allowed. Model k of the instance is the k-th model of each machine."""
    devices = [offers_of(file, group.device) for group in file.users]
    servers = [offers_of(file, group) for group in file.servers for _ in range(group.count)]
    machines = [*devices, *servers]
    slots = [
        sorted({count for offers in machines for offer in offers[slot : slot + 1] for count in offer.steps})
        for slot in range(max((len(offers) for offers in machines), default=0))
    ]
    slots = slots or [[file.steps[0]]]  # nothing generates anywhere: one option that nobody may choose
    steps = np.concatenate([np.array(counts, dtype=np.int64) for counts in slots])
    model = np.concatenate([np.full(len(counts), slot) for slot, counts in enumerate(slots)])
    tables = [
        np.stack([_node(offers, group, steps, model) for offers in (devices[number], *servers)], axis=1)
        for number, group in enumerate(file.users)
    ]
    counts = [group.count for group in file.users]
    every = (
        np.repeat(np.stack(tables, axis=1), counts, axis=1)
        if tables
        else np.zeros((3, 0, 1 + len(servers), steps.size))
    )
    return {"steps": steps, "model": model, "error": every[0], "cycles": every[1], "allowed": every[2] > 0}


def _node(offers: tuple[Offer, ...], group: UserGroup, steps: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Return (error, cycles, allowed) of one machine for a group, float[3, S]."""
    table = np.zeros((3, steps.size))
    table[0], table[1] = 1.0, steps  # neutral figures where the machine has no such model
    for slot, offer in enumerate(offers):
        mine = model == slot
        table[1, mine] = offer.cycles(steps[mine])
        chosen = mine & np.isin(steps, offer.steps)
        table[0, chosen] = np.maximum(offer.error(steps[chosen], group.category), 0.0)
        table[2, chosen] = _wanted(offer, group, table[0, chosen])
    return table


def _wanted(offer: Offer, group: UserGroup, error: np.ndarray) -> np.ndarray:
    most = group.max_error if group.max_error is not None else math.inf
    if group.min_quality is not None:
        most = 1.0 - group.min_quality + 1e-12
    small = offer.picture_px is not None and offer.picture_px < (group.min_picture_px or 0)
    return (error <= most) & (not small)
