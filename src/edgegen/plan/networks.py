"""Random edge networks to plan for, with the parameters of the literature.

`cellular` follows the reconstructed model of Wang, Liu and Zhao (arXiv:2312.06203): users with their own GPU (clock
by DVFS, power kappa f^3), edge servers that divide bandwidth and clock; parameter ranges after arXiv:2409.20247.
`fleet` has queues instead, as the live gateway does.
"""

import dataclasses

import equinox as eqx
import numpy as np

from edgegen.core.citation import OQC
from edgegen.core.scenario import Scenario, blank_state
from edgegen.core.state import State
from edgegen.physics.channel import full_band, path_gain

STEPS = np.array([5, 10, 15, 20, 30], dtype=np.int32)
SERVER_FLOP, DEVICE_FLOP = (2.5e12, 1.36e12), (0.3e12, 0.08e12)  # outside of the steps, per step
SERVER_FLOP_PER_CYCLE, DEVICE_FLOP_PER_CYCLE = 12000.0, 500.0
DEVICE_W_PER_HZ3 = 4e-27  # W/Hz^3: 4 W at 1 GHz


@dataclasses.dataclass(frozen=True)
class Cell:
    """The numbers of one cellular network: N users, M servers."""

    distance_km: np.ndarray  # float[N, M]
    server_hz: np.ndarray  # float[M]
    device_hz: np.ndarray  # float[N]
    upload_bits: np.ndarray  # float[N]
    energy_j: np.ndarray  # float[N]
    deadline_s: np.ndarray  # float[N]
    bandwidth_hz: float
    download_bits: float = 4e6
    user_power_w: float = 0.2
    server_power_w: float = 1.0


def average_error(steps: np.ndarray, *, device: bool) -> np.ndarray:
    """Return the average error 3.118 s^-1.294 (+ 0.02 on a device): DDIM on a ring of eight Gaussians, for s >= 5."""
    return 3.118 * np.asarray(steps, dtype=float) ** -1.294 + (0.02 if device else 0.0)


def cell_state(cell: Cell, steps: np.ndarray = STEPS) -> State:
    """Return the State of a cellular network: row LOCAL, one row per server; model 0 on servers, model 1 on devices."""
    users, servers = cell.distance_km.shape
    blank = blank_state(tasks=users, nodes=servers + 1, models=2, categories=1, steps=steps)
    gain = path_gain(cell.distance_km * 1e3)
    up_bps, up_snr = full_band(cell.bandwidth_hz, cell.user_power_w, gain)
    down_bps, down_snr = full_band(cell.bandwidth_hz, cell.server_power_w, gain)

    def with_local(rates):
        return np.concatenate([np.full((users, 1), np.inf), rates], axis=1)

    server_s = np.array(SERVER_FLOP)[:, None] / (SERVER_FLOP_PER_CYCLE * cell.server_hz)
    device_s = np.array(DEVICE_FLOP) / (DEVICE_FLOP_PER_CYCLE * 1e9)
    fixed_s, step_s = np.zeros((servers + 1, 2)), np.zeros((servers + 1, 2))
    fixed_s[1:, 0], step_s[1:, 0] = server_s
    fixed_s[0, 1], step_s[0, 1] = device_s
    available = np.array([[False, True]] + [[True, False]] * servers)
    quality = np.stack([1 - average_error(steps, device=False), 1 - average_error(steps, device=True)])[:, None]
    return eqx.tree_at(
        lambda s: (
            s.tasks.live,
            s.tasks.number,
            s.tasks.origin,
            s.tasks.input_bits,
            s.tasks.output_bits,
            s.tasks.deadline_s,
            s.tasks.energy_budget_j,
            s.tasks.device_step_scale,
            s.tasks.device_power_w,
            s.tasks.transmit_power_w,
            s.nodes.live,
            s.nodes.shared,
            s.links.uplink_bps,
            s.links.uplink_snr,
            s.links.downlink_bps,
            s.links.downlink_snr,
            s.models.live,
            s.models.quality,
            s.models.step_s,
            s.models.fixed_s,
            s.models.available,
            s.nodes.resident,
        ),
        blank,
        (
            np.ones(users, dtype=bool),
            np.arange(users, dtype=np.int32),
            np.arange(users, dtype=np.int32),
            cell.upload_bits,
            np.full(users, cell.download_bits),
            cell.deadline_s,
            cell.energy_j,
            1e9 / cell.device_hz,
            DEVICE_W_PER_HZ3 * cell.device_hz**3,
            np.full(users, cell.user_power_w),
            np.ones(servers + 1, dtype=bool),
            np.ones(servers + 1, dtype=bool),
            with_local(up_bps),
            with_local(up_snr),
            with_local(down_bps),
            with_local(down_snr),
            np.ones(2, dtype=bool),
            quality,
            step_s,
            fixed_s,
            available,
            available,
        ),
    )


def cellular(seed: int, *, users: int = 10, servers: int = 2) -> State:
    """Draw a cellular network with the default ranges."""
    rng = np.random.default_rng(seed)
    return cell_state(
        Cell(
            distance_km=rng.uniform(0.05, 0.35, (users, servers)),
            server_hz=rng.uniform(1e9, 3e9, servers),
            device_hz=rng.uniform(0.5e9, 1e9, users),
            upload_bits=rng.uniform(1e6, 4e6, users),
            energy_j=rng.uniform(15, 30, users),
            deadline_s=rng.uniform(6, 12, users),
            bandwidth_hz=20e6,
        )
    )


def golden_cell() -> State:
    """Return the golden instance G1 as a State: three users, two servers, optimum 0.590842."""
    return cell_state(
        Cell(
            distance_km=np.array([[0.10, 0.25], [0.15, 0.15], [0.30, 0.10]]),
            server_hz=np.array([1.0e9, 0.8e9]),
            device_hz=np.array([1.0e9, 1.2e9, 0.8e9]),
            upload_bits=np.array([4e6, 1e6, 4e6]),
            energy_j=np.array([20.0, 30.0, 15.0]),
            deadline_s=np.array([10.0, 8.0, 12.0]),
            bandwidth_hz=5e6,
        )
    )


def fleet(seed: int, *, tasks: int = 12, nodes: int = 4, models: int = 3, devices: int = 3) -> State:
    """Draw a network of machines with queues: mixed deadlines, floors, budgets, wishes and backlogs, some tables
    padded.
    """
    rng = np.random.default_rng(seed)
    steps = np.array([1, 2, 4, 8, 16, 32], dtype=np.int32)
    state = blank_state(tasks=tasks, nodes=nodes, models=models, categories=4, steps=steps)
    t, n, m = state.tasks, state.nodes, state.models
    t.live[:] = rng.random(tasks) < 0.9
    t.number[:] = np.arange(tasks)
    t.origin[:] = rng.integers(0, devices, tasks)
    t.category[:] = rng.integers(0, 4, tasks)
    t.model[:] = np.where(rng.random(tasks) < 0.1, rng.integers(0, models, tasks), t.model)
    t.steps[:] = np.where(rng.random(tasks) < 0.1, rng.choice(steps, tasks), t.steps)
    t.input_bits[:], t.output_bits[:] = rng.uniform(1e3, 1e5, tasks), rng.uniform(1e6, 8e6, tasks)
    t.age_s[:] = rng.uniform(0, 0.2, tasks)
    t.deadline_s[:] = np.where(rng.random(tasks) < 0.8, rng.uniform(0.5, 4.0, tasks), np.inf)
    t.min_quality[:] = np.where(rng.random(tasks) < 0.5, rng.uniform(0, 0.7, tasks), 0.0)
    t.energy_budget_j[:] = np.where(rng.random(tasks) < 0.5, rng.uniform(0.5, 8.0, tasks), np.inf)
    t.device_power_w[:], t.transmit_power_w[:] = 4.0, 0.8
    backlog_s = rng.exponential(0.3, devices)
    t.local_backlog_s[:] = backlog_s[t.origin]
    t.weights[:] = rng.uniform([0.5, 0.1, 0.0, 0.0], [1.5, 0.6, 0.4, 0.2], (tasks, 4))
    n.live[:] = True
    n.live[1:] = rng.random(nodes - 1) < 0.9
    n.backlog_s[1:] = rng.exponential(0.3, nodes - 1)
    n.power_w[:] = np.linspace(4.0, 300.0, nodes)
    n.price_usd_per_s[:] = np.linspace(0.0, 1e-3, nodes)
    resident = rng.random((nodes, models)) < 0.7
    state.links.uplink_bps[:] = rng.uniform(5e6, 50e6, (1, nodes))
    state.links.downlink_bps[:] = rng.uniform(10e6, 100e6, (1, nodes))
    state.links.rtt_s[:] = rng.uniform(0.002, 0.06, (1, nodes))
    m.live[:] = True
    m.available[:] = rng.random((nodes, models)) < 0.8
    m.available[0, 0] = True
    n.resident[:] = resident & m.available
    m.load_s[:], m.fixed_s[:] = 0.2, rng.uniform(0.005, 0.03, (nodes, models))
    m.step_s[:] = np.linspace(1.0, 0.2, nodes)[:, None] * np.linspace(0.02, 0.09, models)[None, :]
    reach = np.linspace(0.7, 0.95, models)[:, None, None] - np.linspace(0, 0.3, 4)[None, :, None]
    n.downlink_backlog_s[1:] = rng.exponential(0.2, nodes - 1)
    m.quality[:] = reach * (1 - np.exp(-steps / np.linspace(2, 5, 4)[:, None]))[None]
    return state


SCENARIOS = (
    Scenario("cellular", "Users with DVFS and servers that divide bandwidth and clock", cellular, OQC),
    Scenario("fleet", "Machines with queues, mixed limits and wishes", fleet),
)
