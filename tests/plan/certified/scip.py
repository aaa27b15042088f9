"""The problem as a general mixed-integer model for SCIP, to compare with. Two formulations, written from the model alone.

`naive`: binaries for node and steps, rates, times and energies as variables of their own. `reduced`: the device's
clock eliminated by its closed form, so that the local branch is a table of constants.
"""

import math

import numpy as np

from edgegen.plan.certified.instance import Instance


def local_cost(instance: Instance, n: int, s: int) -> float:
    """Return the least cost on the device for a step count, by a fine search over clocks; inf if none is allowed."""
    cycles, kappa = instance.cycles[n, 0, s], instance.device_w_per_hz3[n]
    most = min(instance.device_hz[n], math.sqrt(instance.energy_j[n] / (kappa * cycles)))
    least = cycles / instance.deadline_s[n]
    if least > most or not instance.allowed[n, 0, s]:
        return math.inf
    clock = np.linspace(least, most, 200_001)
    quality, time, energy = instance.weights[n]
    cost = time * cycles / clock / instance.time_scale_s[n]
    cost += energy * kappa * cycles * clock**2 / instance.energy_scale_j[n]
    return float(quality * instance.error[n, 0, s] + cost.min())


def optimum(instance: Instance, *, reduced: bool, gap: float = 1e-5, limit_s: float = 300.0) -> tuple[float, float]:
    """Return (cost of the best plan that SCIP found, its lower bound)."""
    from pyscipopt import Model, log, quicksum

    model = Model()
    model.hideOutput()
    users, servers, steps = instance.users, instance.servers, instance.steps.size
    nodes = range(servers + 1)
    z = {
        (n, m, s): model.addVar(vtype="B")
        for n in range(users)
        for m in nodes
        for s in range(steps)
        if instance.allowed[n, m, s]
    }
    total = []
    shares = {}
    for n in range(users):
        mine = {(m, s): z[n, m, s] for m in nodes for s in range(steps) if (n, m, s) in z}
        model.addCons(quicksum(mine.values()) == 1)
        quality, time, energy = instance.weights[n]
        total.append(
            quicksum(quality * float(instance.error[n, m, s]) * v for (m, s), v in mine.items() if m or not reduced)
        )
        if reduced:
            costs = {s: local_cost(instance, n, s) for s in range(steps) if (0, s) in mine}
            for s, cost in costs.items():
                if math.isinf(cost):
                    model.addCons(mine[0, s] == 0)
            total.append(quicksum(cost * mine[0, s] for s, cost in costs.items() if cost < math.inf))
        else:
            total.append(_device(model, instance, n, mine, quicksum))
        for m in range(1, servers + 1):
            used = quicksum(v for (node, _), v in mine.items() if node == m)
            cycles = quicksum(float(instance.cycles[n, m, s]) / 1e9 * v for (node, s), v in mine.items() if node == m)
            shares[n, m], seconds, send_s = _server(model, instance, n, m, used, cycles, log)
            total.append(time / instance.time_scale_s[n] * seconds)
            total.append(energy * instance.send_power_w[n] / instance.energy_scale_j[n] * send_s)
            model.addCons(seconds <= instance.deadline_s[n])
            model.addCons(instance.send_power_w[n] * send_s <= instance.energy_j[n])
    for m in range(1, servers + 1):
        capacity = (instance.server_hz[m - 1] / 1e9, instance.uplink_hz[m - 1] / 1e6, instance.downlink_hz[m - 1] / 1e6)
        for k in range(3):
            model.addCons(quicksum(shares[n, m][k] for n in range(users)) <= capacity[k])
    model.setObjective(quicksum(total))
    model.setParam("limits/gap", gap)
    model.setParam("limits/time", limit_s)
    model.optimize()
    return model.getObjVal(), model.getDualbound()


def _device(model, instance: Instance, n: int, mine, quicksum):
    """Time and energy on the device with the clock as a variable; clocks are in GHz."""
    used = quicksum(v for (node, _), v in mine.items() if node == 0)
    cycles = quicksum(float(instance.cycles[n, 0, s]) / 1e9 * v for (node, s), v in mine.items() if node == 0)
    clock = model.addVar(lb=1e-3, ub=instance.device_hz[n] / 1e9)
    seconds = model.addVar(lb=0, ub=instance.deadline_s[n])
    joule = model.addVar(lb=0, ub=instance.energy_j[n])
    model.addCons(seconds * clock >= cycles)
    model.addCons(joule >= instance.device_w_per_hz3[n] * 1e27 * cycles * clock * clock)
    model.addCons(joule <= instance.energy_j[n] * used)
    _, time, energy = instance.weights[n]
    return time / instance.time_scale_s[n] * seconds + energy / instance.energy_scale_j[n] * joule


def _server(model, instance: Instance, n: int, m: int, used, cycles, log):
    """Shares in GHz and MHz; an unused user keeps next to nothing (1e-5), or the value would be biased."""
    clock = model.addVar(lb=1e-5, ub=instance.server_hz[m - 1] / 1e9)
    work_s = model.addVar(lb=0, ub=instance.deadline_s[n])
    model.addCons(work_s * clock >= cycles)
    bands, times = [], []
    for bits, snr_hz, most in (
        (instance.upload_bits[n], instance.up_snr_hz[n, m - 1], instance.uplink_hz[m - 1]),
        (instance.download_bits[n], instance.down_snr_hz[n, m - 1], instance.downlink_hz[m - 1]),
    ):
        band = model.addVar(lb=1e-5, ub=most / 1e6)
        rate = model.addVar(lb=0, ub=most / 1e6 * math.log1p(snr_hz / most) / math.log(2))
        seconds = model.addVar(lb=0, ub=instance.deadline_s[n])
        model.addCons(rate * math.log(2) <= band * log(1 + snr_hz / 1e6 / band))
        model.addCons(seconds * rate >= bits / 1e6 * used)
        bands.append(band)
        times.append(seconds)
    return (clock, *bands), work_s + times[0] + times[1], times[0]
