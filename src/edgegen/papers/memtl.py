"""A Multi-Head Ensemble Multi-Task Learning Approach for Dynamical Computation Offloading.

Liang, Yang, Yu, Cao, Ng and Yuen, 2023, arXiv:2309.00907.

From the abstract and the released code (github.com/qiyu3816/MTFNN-CO, read, not copied): n users share one server. Each runs
its task itself or sends it, and the server divides its clock among those who send. Distributions, constants, the rate, the
cost, and what the source's networks see (`observe`). Derived by us: for a given set of senders the best shares have a closed
form, so the optimum is the best of 2^n sets (the code searches a grid of shares); in what order sets are worth trying for many users.
Guessed: that all users interfere, also those who do not send; of the readings of the sum in the rate, only this one meets the bands
of `claims`, which were measured on another implementation of the same system.
Deviations: 1. The networks are not here: this is the system that they imitate, and `exact` gives their labels. 2. Local clocks are
at least 1 MHz; otherwise the mean cost of `all-local` would not exist (the density at 0 Hz is not 0). 3. With `least_gain` 0, as in
the code, the mean cost of sending does not exist either: claims about `all-offload` use 0.05. 4. The code's tolerable delay of one
second, which almost no sample meets at these constants, is left out. 5. One cost for labels and evaluation; the code's
evaluation reads the channel as a rate and adds a way back.
"""

import itertools
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from edgegen.core.arrays import Array
from edgegen.core.citation import Citation
from edgegen.core.errors import InputError
from edgegen.core.result import Bar
from edgegen.core.tree import value
from edgegen.sim import environment, epochs, search, system
from edgegen.sim.occupancy import share as sharing

CITATION = Citation(
    key="liang2023memtl",
    authors="Liang, Ruihuai and Yang, Bo and Yu, Zhiwen and Cao, Xuelin and Ng, Derrick Wing Kwan and Yuen, Chau",
    title="A Multi-Head Ensemble Multi-Task Learning Approach for Dynamical Computation Offloading",
    year=2023,
    identifier="arXiv:2309.00907",
)
USERS, SERVER_HZ = 3, 2.5e9
INPUT_BITS = (2.5e5, 5e4, 0.0, 5e5)  # mean, deviation, least and most of a cut normal distribution
LOCAL_HZ = (5e8, 2e8, 1e6, 1e9)
CYCLES_PER_BIT = 3000.0
SEND_W, WAIT_W, SWITCHED_F = 0.3, 0.1, 1e-28  # transmitting, waiting for the server; energy per cycle and squared clock
BANDWIDTH_HZ, NOISE = 1e6, 7.96e-13  # noise in the unit of power times squared gain
WEIGHTS = {"cost": -1.0}
BANDS = ("cost of the optimum", "cost of all-local", "part that the optimum sends")
BANDS_BY_USERS = {2: (1.135, 2.156, 0.51), 3: (2.004, 3.238, 0.36)}


@value
class Users:
    """What n users have to do."""

    input_bits: Array  # float[n]
    local_hz: Array  # float[n], clock of the own device
    gain: Array  # float[n], amplitude of the channel in (0, 1]
    delay_weight: Array  # float[n], per second; that of a joule is what is missing to 1

    @property
    def cycles(self) -> Array:
        """float[n], the work."""
        return CYCLES_PER_BIT * self.input_bits


@value
class View:
    """What a policy may look at: all of it. The cost of a set of senders is
    sum(alone of the others) + sum(sent of the set) + (sum(root of the set))^2.
    """

    users: Users
    alone: Array  # float[n], cost on the own device
    sent: Array  # float[n], cost of sending
    root: Array  # float[n], root of the cost on the whole server: the best shares are in proportion to it


class OneServer(epochs.AbstractWorld):
    """n users, one decision. Episodes differ in the users."""

    server_hz: Array  # float[]
    least_gain: Array  # float[], 0 <= least_gain < 1
    users: int = eqx.field(static=True, default=USERS)
    length: int = eqx.field(static=True, default=1)

    def chance(self, key) -> Users:
        drawn = jax.random.uniform(key, (4, self.users), dtype=jnp.float32)
        bits, clocks, gains, weights = drawn.astype(self.server_hz.dtype)
        return Users(
            input_bits=_cut_normal(bits, *INPUT_BITS),
            local_hz=_cut_normal(clocks, *LOCAL_HZ),
            gain=1.0 - (1.0 - self.least_gain) * gains,
            delay_weight=weights,
        )

    def start(self) -> Array:
        return jnp.zeros((), dtype=bool)  # whether it has been decided

    def advance(self, state: Array, chance: Users) -> tuple[Array, Users, Array, epochs.Entries]:
        return state, chance, ~state, {}

    def terminated(self, state: Array) -> Array:
        return state

    def view(self, state: Array, event: Users) -> View:
        del state
        energy_weight = 1.0 - event.delay_weight
        return View(
            users=event,
            alone=event.delay_weight * event.cycles / event.local_hz + energy_weight * local_j(event),
            sent=(event.delay_weight + energy_weight * SEND_W) * upload_s(event),
            root=jnp.sqrt((event.delay_weight + energy_weight * WAIT_W) * event.cycles / self.server_hz),
        )

    def step(self, state: Array, event: Users, action: Array) -> tuple[Array, epochs.Entries]:
        """Carry out shares of the server, float[n]: 0 stays local. Shares that add up to more than 1 are scaled to 1."""
        share = action / jnp.maximum(action.sum(), 1.0)
        sends = share > 0
        servers = sharing.idle(self.server_hz[None])
        running_s = sharing.finish_s(servers, jnp.where(sends, 0, -1), work=event.cycles, share=share)
        sending_s = jnp.where(sends, upload_s(event), 0.0)
        delay_s = jnp.where(sends, sending_s + running_s, event.cycles / event.local_hz)
        energy_j = jnp.where(sends, SEND_W * sending_s + WAIT_W * running_s, local_j(event))
        cost = event.delay_weight * delay_s + (1.0 - event.delay_weight) * energy_j
        return ~state, {
            "cost": cost.sum(),
            "delay_s": delay_s.sum(),
            "energy_j": energy_j.sum(),
            "offloaded": sends.mean(dtype=cost.dtype),
        }


def _cut_normal(uniform: Array, mean: float, deviation: float, least: float, most: float) -> Array:
    """Normal numbers between two limits out of uniform ones in [0, 1)."""
    root = math.sqrt(2.0)
    low, high = math.erf((least - mean) / (root * deviation)), math.erf((most - mean) / (root * deviation))
    found = mean + root * deviation * jax.lax.erf_inv(low + (high - low) * uniform)
    return jnp.clip(found, least, most)  # rounding may lead over them


def upload_s(users: Users) -> Array:
    """float[n], how long each user sends. The rate counts all users as interference, the own signal too, as in the code."""
    heard = SEND_W * users.gain**2
    rate = BANDWIDTH_HZ * jnp.log1p(heard / (NOISE + heard.sum())) / math.log(2.0)
    return users.input_bits / rate


def local_j(users: Users) -> Array:
    """float[n], what the own device uses to do the work."""
    return SWITCHED_F * users.local_hz**2 * users.cycles


def draw(key, *, users: int = USERS, least_gain: float = 0.0) -> OneServer:
    """Return the system. Nothing of it is drawn: all chance is in its episodes."""
    del key
    if users < 1 or not 0 <= least_gain < 1:
        raise InputError(f"expected users >= 1 and 0 <= least_gain < 1, got {users} and {least_gain}")
    dtype = jnp.result_type(float)
    return OneServer(server_hz=jnp.asarray(SERVER_HZ, dtype), least_gain=jnp.asarray(least_gain, dtype), users=users)


def cost(view: View, senders: Array) -> Array:
    """float[], the cost of a set of senders, bool[n], with the best shares."""
    return jnp.where(senders, view.sent, view.alone).sum() + jnp.where(senders, view.root, 0.0).sum() ** 2


def best_shares(view: View, senders: Array) -> Array:
    """float[n], the best shares for a set of senders, bool[n]: the root rule, from the condition of Lagrange."""
    root = jnp.where(senders, view.root, 0.0)
    return root / jnp.where(senders.any(), root.sum(), 1.0)


def observe(view: View) -> Array:
    """What the source's networks see, float[6n] in [0, 1]: six numbers per user."""
    users, most = view.users, INPUT_BITS[3]
    task = [users.input_bits / most, users.cycles / (CYCLES_PER_BIT * most), users.local_hz / LOCAL_HZ[3], users.gain]
    return jnp.stack([*task, users.delay_weight, 1.0 - users.delay_weight], axis=-1).reshape(-1)


def _every_set(view: View) -> Array:
    return jnp.asarray(search.every(2, view.root.shape[0]).astype(bool))  # that of number k has the digits of k


def _any_set(view: View) -> Array:
    return jnp.ones(2 ** view.root.shape[0], dtype=bool)


def _of_set(view: View, action: Array) -> Array:
    return best_shares(view, _every_set(view)[action])


def codec(users: int = USERS) -> environment.Codec:
    """Between the system and a learner that picks one of the 2^n sets of senders."""
    return environment.Codec(observe, _any_set, _of_set, actions=2**users, weights=WEIGHTS)


CODEC = codec()


# ------------------------------------------------------------------------------------------------------- policies


def all_local(view: View, key) -> Array:
    """Nobody sends."""
    del key
    return jnp.zeros_like(view.root)


def all_offload(view: View, key) -> Array:
    """Everybody sends, and all shares are equal."""
    del key
    return jnp.full_like(view.root, 1.0 / view.root.shape[0])


def at_random(view: View, key) -> Array:
    """Any set of senders, with its best shares."""
    return best_shares(view, jax.random.bernoulli(key, 0.5, view.root.shape))


def greedy(view: View, key) -> Array:
    """From nobody on, the one user more whose sending helps most, as long as it helps."""
    del key
    one = jnp.eye(view.root.shape[0], dtype=bool)
    found = search.descend(lambda senders: cost(view, senders), one[0] & False, lambda senders: senders[None] | one)
    return best_shares(view, found)


def prefix_swap(view: View, key) -> Array:
    """The best of n + 1 sets, improved user by user and pair by pair; for any number of users.

    By how much sending saves per root: in the relaxation to parts of tasks, the best set is the first of this order.
    """
    del key
    n, of_set = view.root.shape[0], lambda senders: cost(view, senders)
    place = jnp.argsort(jnp.argsort((view.sent - view.alone) / view.root))
    first, _ = search.cheapest(of_set, place[None] < jnp.arange(n + 1, dtype=place.dtype)[:, None])
    one = np.eye(n, dtype=bool)
    changes = jnp.asarray([one[i] | one[k] for i, k in itertools.combinations_with_replacement(range(n), 2)])
    return best_shares(view, search.descend(of_set, first, lambda senders: senders[None] ^ changes))


def exact(view: View, key) -> Array:
    """The best of all sets."""
    del key
    return best_shares(view, search.cheapest(lambda senders: cost(view, senders), _every_set(view))[0])


POLICIES: dict[str, epochs.Policy] = {
    "all-local": all_local,
    "all-offload": all_offload,
    "random": at_random,
    "greedy": greedy,
    "prefix-swap": prefix_swap,
    "exact": exact,
}
SETTINGS = {"users": USERS, "least_gain": 0.0}
SYSTEM = system.System(draw, POLICIES, WEIGHTS, codec=lambda world: codec(world.users), settings=SETTINGS)


# --------------------------------------------------------------------------------------------------------- claims


def claims(progress: Callable[[str], None], *, draws: int = 20_000, seed: int = 0) -> list[Bar]:
    """Check the level of the optimum, and how far the rules are from it. Every draw is an instance."""
    bars = []
    for users, levels in BANDS_BY_USERS.items():
        progress(f"memtl: {draws} draws of {users} users")
        found = SYSTEM.evaluate(
            1, episodes=draws, seed=seed, policies=SYSTEM.chosen(["all-local", "exact"]), users=users
        )
        columns = found["exact"]["cost"], found["all-local"]["cost"], found["exact"]["offloaded"]
        for what, samples, level in zip(BANDS, columns, levels, strict=True):
            bars.append(Bar.of_mean(f"memtl: {what}, {users} users", samples[0], 0.95 * level, 1.05 * level))
    progress(f"memtl: {len(POLICIES)} policies on {draws} draws of 8 users with a gain of at least 0.05")
    found = SYSTEM.evaluate(1, episodes=draws, seed=seed, users=8, least_gain=0.05)
    costs = {name: of["cost"][0] for name, of in found.items()}
    bars += [
        Bar.of_mean(f"memtl: {worse} over greedy, 8 users", costs[worse] - costs["greedy"], 0.0)
        for worse in ("all-local", "all-offload", "random")
    ]
    for name in ("greedy", "prefix-swap"):
        above = 100 * (costs[name] - costs["exact"]) / costs["exact"].mean()
        bars.append(Bar.of_mean(f"memtl: {name} above the optimum, 8 users", above, None, 0.1, unit="%"))
    return bars
