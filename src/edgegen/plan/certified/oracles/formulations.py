"""The planning problem as models for SCIP, written from the definition of the problem and not from the planner.

Clocks are in GHz, cycles in 1e9, bands in MHz and sizes in 1e6 nats, so that all numbers are near one.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from edgegen.core.errors import InputError
from edgegen.plan.certified.instance import LOCAL, Instance

GHZ, MHZ = 1e9, 1e6
IDLE = 1e-5  # GHz or MHz: what an unused pair keeps where a share must not be zero; no capacity is charged for it
TANGENTS = 1.25 ** -np.arange(25.0)  # parts of a band at which the rate curve of `conic` has a tangent

Options = dict[tuple[int, int, int], float]  # (user, node, position of the step count): cost that no share changes


@dataclasses.dataclass
class Built:
    """A formulation as it grows inside a SCIP model."""

    taken: dict[tuple[int, int, int], Any]  # the binary of each option
    cost: list  # terms of the objective
    share_hz: Callable[..., tuple] = lambda *_: (0.0, 0.0, 0.0)
    """(n, m, s, value of a variable) to clock, uplink and downlink; of a server only the proportions count."""


def naive(scip, model, instance: Instance) -> Built:
    """Build the model with every quantity as a variable."""
    built = _start(scip, model, instance, {**_every_step(instance), **_server_options(instance)})
    clocks = [_device(scip, model, instance, built, n) for n in range(instance.users)]
    shares = _servers(scip, model, instance, built, _factors)

    def share_hz(n, m, s, value):
        return (value(clocks[n]) * GHZ, 0.0, 0.0) if m == LOCAL else _in_hz(shares[n, m], value)

    built.share_hz = share_hz
    return built


def reduced(scip, model, instance: Instance) -> Built:
    """Build the model with the device as a table of constants."""
    return _with_servers(scip, model, instance, _factors)


def conic(scip, model, instance: Instance) -> Built:
    """Build the model of second-order cones."""
    return _with_servers(scip, model, instance, _cones)


def square_root(scip, model, instance: Instance) -> Built:
    """Build the model in which a server's cost is the square of a linear expression over its clock.

    **Raises** `InputError` for an instance with limits or shared bands, where that is not its cost.
    """
    _refuse_limits(instance)
    built = _start(scip, model, instance, {**best_devices(instance), **_server_options(instance)})
    pull = np.sqrt((instance.weights[:, 1] / instance.time_scale_s)[:, None, None] * instance.cycles / GHZ)
    for m in range(1, instance.servers + 1):
        mine = [float(pull[key]) * z for key, z in built.taken.items() if key[1] == m]
        total, cost = model.addVar(lb=0), model.addVar(lb=0)
        model.addCons(total >= scip.quicksum(mine))
        model.addCons(total * total <= float(instance.server_hz[m - 1]) / GHZ * cost)
        built.cost.append(cost)
    clock_hz = {(n, s): local_option(instance, n, s)[1] for n, m, s in built.taken if m == LOCAL}
    built.share_hz = lambda n, m, s, value: (clock_hz[n, s] if m == LOCAL else float(pull[n, m, s]), 0.0, 0.0)
    return built


def local_option(instance: Instance, n: int, s: int) -> tuple[float, float]:
    """Return (least cost of a step count on the device, its clock); inf and 0 where it cannot be."""
    cycles, kappa = float(instance.cycles[n, LOCAL, s]), float(instance.device_w_per_hz3[n])
    quality, time, energy = (float(weight) for weight in instance.weights[n])
    left_s = float(instance.deadline_s[n] - instance.fixed_s[n, LOCAL])
    if not instance.allowed[n, LOCAL, s] or left_s <= 0:
        return math.inf, 0.0
    second, joule = time / float(instance.time_scale_s[n]), energy / float(instance.energy_scale_j[n])
    most = float(instance.device_hz[n])
    if kappa * cycles > 0:
        most = min(most, math.sqrt(float(instance.energy_j[n]) / (kappa * cycles)))
    least, free = cycles / left_s, (second / (2 * kappa * joule)) ** (1 / 3) if kappa * joule > 0 else math.inf
    if least > most:
        return math.inf, 0.0
    clock = min(max(free, least), most)
    total_s = float(instance.fixed_s[n, LOCAL]) + (cycles / clock if cycles > 0 else 0.0)
    cost = quality * float(instance.error[n, LOCAL, s]) + second * total_s + joule * kappa * cycles * clock**2
    return cost, clock


def best_devices(instance: Instance) -> Options:
    """Return the best step count of each device, where it has one."""
    options = {}
    for n in range(instance.users):
        cost, s = min((local_option(instance, n, s)[0], s) for s in range(instance.steps.size))
        if cost < math.inf:
            options[n, LOCAL, s] = cost
    return options


def _every_step(instance: Instance) -> Options:
    """Return what every allowed step count on a device costs without time and energy."""
    quality = instance.weights[:, 0]
    return {(n, 0, s): float(quality[n] * instance.error[n, 0, s]) for n, s in np.argwhere(instance.allowed[:, 0])}


def _server_options(instance: Instance) -> Options:
    """Return the options on servers within reach."""
    options = {}
    second = instance.weights[:, 1] / instance.time_scale_s
    for n, m, s in np.argwhere(instance.allowed[:, 1:]):
        fixed_s = instance.fixed_s[n, m + 1]
        heard = instance.upload_bits[n] == 0 or instance.up_snr_hz[n, m] > 0
        heard &= instance.download_bits[n] == 0 or instance.down_snr_hz[n, m] > 0
        if heard and fixed_s < min(instance.deadline_s[n], math.inf):
            error = instance.weights[n, 0] * instance.error[n, m + 1, s]
            options[int(n), int(m) + 1, int(s)] = float(error + second[n] * fixed_s)
    return options


def _start(scip, model, instance: Instance, options: Options) -> Built:
    """Add one binary per option; every user takes one, or is refused where that has a cost."""
    taken = {key: model.addVar(vtype="B") for key in options}
    cost = [constant * taken[key] for key, constant in options.items()]
    for n in range(instance.users):
        mine = [z for key, z in taken.items() if key[0] == n]
        if instance.refusal_cost[n] < math.inf:
            mine.append(model.addVar(vtype="B"))
            cost.append(float(instance.refusal_cost[n]) * mine[-1])
        model.addCons(scip.quicksum(mine) == 1)
    return Built(taken, cost)


def _longest_s(instance: Instance, n: int) -> float | None:
    """Return what no good plan exceeds: the deadline, or the time that alone costs as much as all devices; None = no limit."""
    alone = [min(local_option(instance, k, s)[0] for s in range(instance.steps.size)) for k in range(instance.users)]
    most = float(np.minimum(alone, instance.refusal_cost).sum())
    second = float(instance.weights[n, 1] / instance.time_scale_s[n])
    longest = min(float(instance.deadline_s[n]), most / second if second > 0 else math.inf)
    return longest if longest < math.inf else None


def _device(scip, model, instance: Instance, built: Built, n: int):
    """Add time and energy of a device with its clock as a variable, which is returned."""
    mine = {s: z for (user, node, s), z in built.taken.items() if (user, node) == (n, LOCAL)}
    used = scip.quicksum(mine.values())
    cycles = scip.quicksum(float(instance.cycles[n, LOCAL, s]) / GHZ * z for s, z in mine.items())
    clock = model.addVar(lb=1e-3, ub=float(instance.device_hz[n]) / GHZ)
    seconds, joule = model.addVar(lb=0, ub=_longest_s(instance, n)), model.addVar(lb=0)
    model.addCons(seconds * clock >= cycles)
    model.addCons(joule >= float(instance.device_w_per_hz3[n]) * GHZ**3 * cycles * clock * clock)
    fixed_s = float(instance.fixed_s[n, LOCAL])
    if instance.deadline_s[n] < math.inf:
        model.addCons(seconds + fixed_s * used <= float(instance.deadline_s[n]))
    if instance.energy_j[n] < math.inf:
        model.addCons(joule <= float(instance.energy_j[n]) * used)
    _, time, energy = (float(weight) for weight in instance.weights[n])
    built.cost.append(time / float(instance.time_scale_s[n]) * (seconds + fixed_s * used))
    built.cost.append(energy / float(instance.energy_scale_j[n]) * joule)
    return clock


def _with_servers(scip, model, instance: Instance, times: Callable) -> Built:
    """Build a model with constants for the devices, and shares whose times `times` models."""
    steps = range(instance.steps.size)
    local = {(n, s): local_option(instance, n, s) for n in range(instance.users) for s in steps}
    devices = {(n, LOCAL, s): cost for (n, s), (cost, _) in local.items() if cost < math.inf}
    if times is _cones:
        devices = best_devices(instance)
    built = _start(scip, model, instance, {**devices, **_server_options(instance)})
    shares = _servers(scip, model, instance, built, times)

    def share_hz(n, m, s, value):
        return (local[n, s][1], 0.0, 0.0) if m == LOCAL else _in_hz(shares[n, m], value)

    built.share_hz = share_hz
    return built


def _in_hz(share: tuple, value) -> tuple:
    return tuple(value(v) * unit if v is not None else 0.0 for v, unit in zip(share, (GHZ, MHZ, MHZ), strict=True))


def _servers(scip, model, instance: Instance, built: Built, times: Callable) -> dict:
    """Add the shares, times, limits and costs of all pairs, and the capacities; return the shares by pair."""
    shares, free = {}, {}
    for n, m in sorted({(n, m) for n, m, _ in built.taken if m != LOCAL}):
        mine = {s: z for (user, node, s), z in built.taken.items() if (user, node) == (n, m)}
        used = scip.quicksum(mine.values())
        free[n, m] = IDLE * (1 - used) if times is _factors else 0.0
        shares[n, m], work_s, send_s, fetch_s = times(scip, model, instance, n, m, mine)
        _, time, energy = (float(weight) for weight in instance.weights[n])
        power_w, fixed_s = float(instance.send_power_w[n]), float(instance.fixed_s[n, m])
        built.cost.append(time / float(instance.time_scale_s[n]) * (work_s + send_s + fetch_s))
        built.cost.append(energy * power_w / float(instance.energy_scale_j[n]) * send_s)
        if instance.deadline_s[n] < math.inf:
            model.addCons(work_s + send_s + fetch_s <= (float(instance.deadline_s[n]) - fixed_s) * used)
        if instance.energy_j[n] < math.inf and shares[n, m][1] is not None:
            model.addCons(power_w * send_s <= float(instance.energy_j[n]) * used)
    for m in range(1, instance.servers + 1):
        capacity = instance.server_hz[m - 1] / GHZ, instance.uplink_hz[m - 1] / MHZ, instance.downlink_hz[m - 1] / MHZ
        for k in range(3):
            given = [share[k] - free[key] for key, share in shares.items() if key[1] == m and share[k] is not None]
            if given:
                model.addCons(scip.quicksum(given) <= float(capacity[k]))
    return shares


def _bands(instance: Instance, n: int, m: int):
    """Return (size in 1e6 nats, signal over noise and whole band in MHz) of the uplink and the downlink."""
    up = instance.upload_bits[n], instance.up_snr_hz[n, m - 1], instance.uplink_hz[m - 1]
    down = instance.download_bits[n], instance.down_snr_hz[n, m - 1], instance.downlink_hz[m - 1]
    return [(float(bits) * math.log(2) / MHZ, float(snr) / MHZ, float(most) / MHZ) for bits, snr, most in (up, down)]


def _factors(scip, model, instance: Instance, n: int, m: int, mine: dict):
    """Times as products of variables: seconds x rate >= size, and the rate as it is defined."""
    longest_s = _longest_s(instance, n)
    used = scip.quicksum(mine.values())
    cycles = scip.quicksum(float(instance.cycles[n, m, s]) / GHZ * z for s, z in mine.items())
    clock = model.addVar(lb=IDLE, ub=float(instance.server_hz[m - 1]) / GHZ)
    work_s = model.addVar(lb=0, ub=longest_s)
    model.addCons(work_s * clock >= cycles)
    bands, times = [], []
    for size, snr, most in _bands(instance, n, m):
        if size == 0:
            bands.append(None)
            times.append(0.0)
            continue
        bands.append(model.addVar(lb=IDLE, ub=most))
        times.append(model.addVar(lb=0, ub=longest_s))
        rate = model.addVar(lb=0, ub=most * math.log1p(snr / most))
        model.addCons(rate <= bands[-1] * scip.log(1 + snr / bands[-1]))
        model.addCons(times[-1] * rate >= size * used)
    return (clock, *bands), work_s, *times


def _cones(scip, model, instance: Instance, n: int, m: int, mine: dict):
    """Times as cones: seconds x clock >= (root of the cycles)^2, with the root linear because one binary is 1 at most."""
    used, longest_s = model.addVar(lb=0, ub=1), _longest_s(instance, n)
    model.addCons(used == scip.quicksum(mine.values()))
    root = model.addVar(lb=0)
    cycles = instance.cycles[n, m] / GHZ
    model.addCons(root == scip.quicksum(math.sqrt(float(cycles[s])) * z for s, z in mine.items()))
    most = float(instance.server_hz[m - 1]) / GHZ
    clock, work_s = model.addVar(lb=0, ub=most), model.addVar(lb=0, ub=longest_s)
    model.addCons(root * root <= work_s * clock)
    model.addCons(clock <= most * used)
    bands, times = [], []
    for size, snr, most in _bands(instance, n, m):
        if size == 0:
            bands.append(None)
            times.append(0.0)
            continue
        band, rate = model.addVar(lb=0, ub=most), model.addVar(lb=0, ub=most * math.log1p(snr / most))
        seconds = model.addVar(lb=0, ub=longest_s)
        for slope, at_zero in tangents(snr, most):
            model.addCons(rate <= slope * band + at_zero * used)
        model.addCons(size * used * used <= seconds * rate)
        bands.append(band)
        times.append(seconds)
    return (clock, *bands), work_s, *times


def tangents(snr: float, most: float) -> list[tuple[float, float]]:
    """Return (slope, value at zero) of tangents of the rate `b ln(1 + snr / b)` for bands b up to `most`.

    The lowest of them is above the rate by 0.3 % at most, down to a two-hundredth of the band.
    """
    z = snr / (most * TANGENTS)
    slope = np.log1p(z) - z / (1 + z)
    at_zero = most * TANGENTS * (np.log1p(z) - slope)
    return [(float(one), float(other)) for one, other in zip(slope, at_zero, strict=True)]


def _refuse_limits(instance: Instance) -> None:
    """Refuse what a sum of square roots does not describe."""
    wrong = {
        "deadline_s": np.isfinite(instance.deadline_s).any() and "infinite",
        "upload_bits": instance.upload_bits.any() and "0 (put transfers into fixed_s)",
        "download_bits": instance.download_bits.any() and "0 (put transfers into fixed_s)",
        "weights": not instance.weights[:, 1].all() and "above 0 for time",
    }
    for name, expected in wrong.items():
        if expected:
            raise InputError(f"the square-root law needs {name} to be {expected} for every user", param=name)
