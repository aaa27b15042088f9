"""Multi-Agent RL-Based Industrial AIGC Service Offloading over Wireless Edge Networks.

Li, Lin, Xu, Hua, Jin, Li and Li, 2024, arXiv:2405.02972.

From the paper (abstract, opening, summaries by others): industrial devices ask for synthetic samples and other generated content, each
decides whether to offload and to which server, sees only its own situation, and all share one goal: latency and tasks in time.
A device sees data, work, the time it can wait, and the network. Derived by us: nothing.
Guessed: every formula and every number. One task per device and slot; band and servers are divided equally; what a server
does not finish is its backlog; local tasks do not queue. The bands of `claims` were measured on four runs of another implementation.
Deviations: 1. The learner (an attention critic over all devices) and the few-shot synthesis are not here. 2. `best-response` and
`exhaustive` know everything and look at one slot, so over an episode `exhaustive` is no bound. 3. Devices carry no number in
what they see: they are told apart by their speed.
"""

import dataclasses
import itertools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from edgegen.core.arrays import Array
from edgegen.core.citation import Citation
from edgegen.core.errors import InputError
from edgegen.core.result import Bar
from edgegen.core.state import LOCAL
from edgegen.core.tree import value
from edgegen.sim import environment, epochs, search, system
from edgegen.sim.occupancy import share as sharing

CITATION = Citation(
    key="li2024industrial",
    authors="Li, Siyuan and Lin, Xi and Xu, Hansong and Hua, Kun and Jin, Xiaomin and Li, Gaolei and Li, Jianhua",
    title="Multi-Agent RL-Based Industrial AIGC Service Offloading over Wireless Edge Networks",
    year=2024,
    identifier="arXiv:2405.02972",
)
DEVICES, SERVERS, SLOTS, SLOT_S = 6, 2, 60, 4.0
BITS, CYCLES, WAIT_S = (8e6, 32e6), (4e12, 12e12), (4.0, 10.0)  # of a task, uniform
DEVICE_HZ, SERVER_HZ, RATE_HZ = (
    (0.6e12, 1.4e12),
    (5e12, 9e12),
    (8e6, 30e6),
)  # cycles/s, cycles/s, bit/s over the whole band
KINDS = np.array(
    [[1.0, 1.0, 1.0], [2.0, 1.5, 2.0], [0.5, 0.5, 0.5]]
)  # synthesis, fine-tuning, inference: bits, cycles, wait
MISS_S = 5.0  # what a task that is late costs, beside its latency
WEIGHTS = {"latency_s": -1.0, "missed": -MISS_S}  # of means over devices
BANDS = {  # cost of a slot over all devices and part of tasks in time: 6 devices, 2 servers, four runs of 30 slots
    "selfish": (107.1, 0.13),
    "random-offload": (89.2, 0.23),
    "all-local": (70.4, 0.37),
    "random": (59.0, 0.49),
    "best-response": (35.6, 0.84),
    "exhaustive": (33.0, 0.90),
}


@value
class Slot:
    """The tasks of a slot, one per device, and the radio."""

    kind: Array  # int[N], row of KINDS
    bits: Array  # float[N], to send where the task is offloaded
    cycles: Array  # float[N]
    wait_s: Array  # float[N], how long its device can wait for it
    rate_hz: Array  # float[N, E], bit/s over the whole band of a server


@value
class Scene:
    """What the servers still have to do, and who was where in the slot before."""

    servers: sharing.Servers
    crowd: Array  # float[E], devices on each server
    number: Array  # int[], of the next slot


@value
class View:
    """What a policy may look at. `observe` makes of it what each device sees."""

    slot: Slot
    device_hz: Array  # float[N], cycles/s
    servers: sharing.Servers
    crowd: Array  # float[E], devices on each server in the slot before


class Factory(epochs.AbstractWorld):
    """One instance: the speeds of N devices and E servers, and which tasks there are."""

    device_hz: Array  # float[N], cycles/s
    server_hz: Array  # float[E], cycles/s
    mix: Array  # float[3], parts of the kinds
    length: int = eqx.field(static=True, default=SLOTS)

    def chance(self, key) -> Slot:
        servers, devices = self.server_hz.shape[0], self.device_hz.shape[0]
        drawn = jax.random.uniform(key, (4 + servers, devices), dtype=jnp.float32).astype(self.mix.dtype)
        kind = jnp.searchsorted(jnp.cumsum(self.mix)[:-1], drawn[0], side="right").astype(jnp.int32)
        scale = jnp.asarray(KINDS, self.mix.dtype)[kind]
        return Slot(
            kind=kind,
            bits=scale[:, 0] * _between(BITS, drawn[1]),
            cycles=scale[:, 1] * _between(CYCLES, drawn[2]),
            wait_s=scale[:, 2] * _between(WAIT_S, drawn[3]),
            rate_hz=_between(RATE_HZ, drawn[4:]).T,
        )

    def start(self) -> Scene:
        servers = sharing.idle(self.server_hz)
        return Scene(servers=servers, crowd=jnp.zeros_like(self.server_hz), number=jnp.zeros((), dtype=jnp.int32))

    def advance(self, state: Scene, chance: Slot) -> tuple[Scene, Slot, Array, epochs.Entries]:
        return dataclasses.replace(state, number=state.number + 1), chance, state.number < self.length, {}

    def view(self, state: Scene, event: Slot) -> View:
        return View(slot=event, device_hz=self.device_hz, servers=state.servers, crowd=state.crowd)

    def step(self, state: Scene, event: Slot, action: Array) -> tuple[Scene, epochs.Entries]:
        """Send every task to a site, int[N]: `LOCAL`, or a server counted from 1."""
        view, server = self.view(state, event), action - 1
        latency_s = shared_latencies_s(view, action)
        servers, entries = sharing.work_off(state.servers, server, work=event.cycles, seconds=SLOT_S)
        after = Scene(servers=servers, crowd=sharing.crowd(server, view.crowd.shape[0]), number=state.number)
        return after, entries | {
            "latency_s": latency_s.mean(),
            "missed": (latency_s > event.wait_s).mean(dtype=latency_s.dtype),
            "offloaded": (action != LOCAL).mean(dtype=latency_s.dtype),
        }


def latencies_s(view: View, site: Array, *, band: Array, share: Array) -> Array:
    """float[N], of every task at its site, with these parts of a server's band and speed, float[N] each."""
    server, task = site - 1, view.slot
    rate_hz = jnp.take_along_axis(task.rate_hz, jnp.maximum(server, 0)[:, None], axis=1)[:, 0]
    there_s = task.bits / (rate_hz * band) + sharing.finish_s(view.servers, server, work=task.cycles, share=share)
    return jnp.where(site == LOCAL, task.cycles / view.device_hz, there_s)


def shared_latencies_s(view: View, site: Array) -> Array:
    """float[N], the same where every server treats its devices alike."""
    equal = sharing.equal_share(site - 1, view.crowd.shape[0])
    return latencies_s(view, site, band=equal, share=equal)


def _with_misses(view: View, latency_s: Array) -> Array:
    return latency_s + jnp.where(latency_s > view.slot.wait_s, MISS_S, 0.0)


def team_cost(view: View, site: Array) -> Array:
    """float[], what a slot costs all devices together."""
    return _with_misses(view, shared_latencies_s(view, site)).sum()


def _between(limits: tuple[float, float], uniform: Array) -> Array:
    return limits[0] + (limits[1] - limits[0]) * uniform


def draw(key, *, devices=DEVICES, servers=SERVERS, slots=SLOTS, fine_tuning=0.0, inference=0.0) -> Factory:
    """Draw an instance. The last two are parts of the tasks; the others are syntheses."""
    mix = np.array([1.0 - fine_tuning - inference, fine_tuning, inference])
    if min(devices, servers, slots) < 1 or (mix < 0).any():
        raise InputError(
            f"expected at least one device, server and slot, and parts of 0 to 1, got {devices}, {servers}, {slots}, {mix}"
        )
    drawn = jax.random.uniform(key, (devices + servers,), dtype=jnp.float32).astype(jnp.result_type(float))
    return Factory(
        device_hz=_between(DEVICE_HZ, drawn[:devices]),
        server_hz=_between(SERVER_HZ, drawn[devices:]),
        mix=jnp.asarray(mix, drawn.dtype),
        length=slots,
    )


def observe(view: View) -> Array:
    """What each device sees, float[N, 7 + 3E]: its task and speed, its rates, and every server's wait and last crowd."""
    slot, devices = view.slot, view.device_hz.shape[0]
    own = (slot.bits / BITS[1], slot.cycles / CYCLES[1], slot.wait_s / WAIT_S[1], view.device_hz / DEVICE_HZ[1])
    kind = jax.nn.one_hot(slot.kind, len(KINDS), dtype=view.device_hz.dtype)
    common = jnp.concatenate([view.servers.wait_s / SLOT_S, view.crowd / devices])
    shown = jnp.broadcast_to(common, (devices, common.shape[0]))
    return jnp.concatenate([jnp.stack(own, axis=-1), kind, slot.rate_hz / RATE_HZ[1], shown], axis=-1)


def _anywhere(view: View) -> Array:
    return jnp.ones((view.device_hz.shape[0], view.crowd.shape[0] + 1), dtype=bool)


def codec(servers: int = SERVERS) -> environment.Codec:
    """Between the system and learners, one agent per device with a common reward; for any number of devices."""
    return environment.Codec(observe, _anywhere, environment.as_it_is, actions=servers + 1, weights=WEIGHTS)


CODEC = codec()


# ------------------------------------------------------------------------------------------------------- policies


def _sites(view: View) -> Array:
    return jnp.arange(view.crowd.shape[0] + 1, dtype=jnp.int32)


def all_local(view: View, key) -> Array:
    """Nobody offloads."""
    del key
    return jnp.full(view.device_hz.shape, LOCAL, dtype=jnp.int32)


def at_random(view: View, key) -> Array:
    """Any site."""
    return jax.random.randint(key, view.device_hz.shape, LOCAL, view.crowd.shape[0] + 1, dtype=jnp.int32)


def random_offload(view: View, key) -> Array:
    """Any server."""
    return jax.random.randint(key, view.device_hz.shape, LOCAL + 1, view.crowd.shape[0] + 1, dtype=jnp.int32)


def selfish(view: View, key) -> Array:
    """Every device goes where it would be best off were it alone."""
    del key
    alone = jnp.ones_like(view.device_hz)

    def costs(site: Array) -> Array:
        everybody = jnp.broadcast_to(site, alone.shape)
        return _with_misses(view, latencies_s(view, everybody, band=alone, share=alone))

    return jax.vmap(costs)(_sites(view)).argmin(axis=0).astype(jnp.int32)


def best_response(view: View, key) -> Array:
    """From nobody offloading on, one device after the other goes where all together are best off, until nothing changes."""

    def respond(device: int, site: Array) -> Array:
        choices = jax.vmap(lambda to: site.at[device].set(to))(_sites(view))
        return search.cheapest(lambda chosen: team_cost(view, chosen), choices)[0]

    def round_of(site: Array) -> Array:
        return jax.lax.fori_loop(0, site.shape[0], respond, site)[None]

    return search.descend(lambda site: team_cost(view, site), all_local(view, key), round_of)


def exhaustive(view: View, key) -> Array:
    """The best joint choice for this slot."""
    del key
    every = search.every(view.crowd.shape[0] + 1, view.device_hz.shape[0])
    return search.cheapest(lambda site: team_cost(view, site), jnp.asarray(every))[0]


POLICIES: dict[str, epochs.Policy] = {
    "selfish": selfish,
    "random-offload": random_offload,
    "all-local": all_local,
    "random": at_random,
    "best-response": best_response,
    "exhaustive": exhaustive,
}
SETTINGS = {"devices": DEVICES, "servers": SERVERS, "slots": SLOTS, "fine_tuning": 0.0, "inference": 0.0}
SYSTEM = system.System(draw, POLICIES, WEIGHTS, codec=lambda world: codec(world.server_hz.shape[0]), settings=SETTINGS)


# --------------------------------------------------------------------------------------------------------- claims


def claims(progress: Callable[[str], None], *, instances: int = 100, seed: int = 0) -> list[Bar]:
    """Check the level and the order of the simple policies."""
    progress(f"industrial_marl: {len(POLICIES)} policies on {instances} instances, 30 slots each")
    found = SYSTEM.evaluate(instances, seed=seed, slots=30)
    costs = {name: -DEVICES / 30 * of["reward"][:, 0] for name, of in found.items()}
    bars = []
    for name, (cost, in_time) in BANDS.items():
        served = 1.0 - found[name]["missed"][:, 0] / 30
        bars.append(Bar.of_mean(f"industrial_marl: cost of a slot, {name}", costs[name], 0.85 * cost, 1.15 * cost))
        bars.append(Bar.of_mean(f"industrial_marl: in time, {name}", served, in_time - 0.1, in_time + 0.1))
    return bars + [
        Bar.of_mean(f"industrial_marl: {worse} costs more than {better}", costs[worse] - costs[better], 0.0)
        for worse, better in itertools.pairwise(BANDS)
    ]
