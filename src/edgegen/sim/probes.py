"""Probe worlds of rising difficulty: which one a learner fails tells where its fault is.

Each is a table of a few situations whose values can be worked out by hand, so what is right is known exactly (`Probe.solve`).
Value first, then action, observation, discount, credit; then masks, and the two kinds of end. All have the same shapes, so a
learner is compiled once and tried on all of them, stacked. S situations, the last of which is the end, K actions, D features.
"""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from edgegen.core.arrays import Array
from edgegen.core.tree import value
from edgegen.sim import epochs
from edgegen.sim.environment import Codec, Environment, Observation

GAMMA = 0.5  # small, so that values settle soon


@value
class Place:
    """Where one stands."""

    row: Array  # int32[], the situation; unknown before the first epoch
    number: Array  # int32[], epochs so far


@value
class View:
    """What may be looked at."""

    features: Array  # float[D]
    allowed: Array  # bool[K]


class Table(epochs.AbstractWorld):
    """Situations as rows: an action earns something and leads to a row. Rows from which nothing leads on terminate."""

    features: Array  # float[S, D]
    allowed: Array  # bool[S, K]
    earns: Array  # float[S, K]
    leads: Array  # int32[S, K], to a row
    ends: Array  # bool[S], rows where the world has come to an end
    starts: Array  # int32[], episodes start in any of so many first rows, each as likely
    horizon: Array  # int32[], epochs
    length: int = eqx.field(static=True, default=8)

    def chance(self, key) -> Array:
        return jax.random.randint(key, (), 0, self.starts, dtype=jnp.int32)

    def start(self) -> Place:
        return Place(row=jnp.zeros((), jnp.int32), number=jnp.zeros((), jnp.int32))

    def advance(self, state: Place, chance: Array) -> tuple[Place, Array, Array, epochs.Entries]:
        row = jnp.where(state.number == 0, chance, state.row)
        return Place(row=row, number=state.number + 1), row, state.number < self.horizon, {}

    def view(self, state: Place, event: Array) -> View:
        return View(features=self.features[event], allowed=self.allowed[event])

    def step(self, state: Place, event: Array, action: Array) -> tuple[Place, epochs.Entries]:
        return dataclasses.replace(state, row=self.leads[event, action]), {"earned": self.earns[event, action]}

    def terminated(self, state: Place) -> Array:
        return self.ends[state.row] & (state.number > 0)


def _features(view: View) -> Array:
    return view.features


def _allowed(view: View) -> Array:
    return view.allowed


def _same(view: View, action: Array) -> Array:
    del view
    return action


class Probe(eqx.Module):
    """A world, and what it is a probe of."""

    name: str = eqx.field(static=True)
    fault: str = eqx.field(static=True)  # what is wrong with a learner that fails it
    world: Table

    @property
    def environment(self) -> Environment:
        """The world for learners; what is earned is the reward."""
        codec = Codec(_features, _allowed, _same, actions=ACTIONS, weights={"earned": 1.0})
        return Environment(self.world, codec)

    @property
    def rows(self) -> list[int]:
        """The situations in which something is decided."""
        return [row for row, end in enumerate(np.asarray(self.world.ends)) if not end]

    def observation(self, row: int) -> Observation:
        """What is seen in a situation."""
        return Observation(features=self.world.features[row], allowed=self.world.allowed[row])

    def solve(self, gamma: float = GAMMA) -> np.ndarray:
        """What each action is worth where the best follow, past any horizon: float[S, K], -inf where it is not allowed."""
        world = jax.tree.map(np.asarray, self.world)
        worth = np.where(world.allowed, 0.0, -np.inf)
        for _ in range(200):  # more than enough for a small gamma
            after = np.where(world.ends, 0.0, worth.max(axis=1))
            worth = np.where(world.allowed, world.earns + gamma * after[world.leads], -np.inf)
        return worth


SITUATIONS, ACTIONS = 3, 3
END = SITUATIONS
Steps = Sequence[tuple[float, int] | None]  # per action, what it earns and the row that it leads to; None: not allowed


def _probe(
    name: str,
    fault: str,
    rows: Sequence[Steps],
    *,
    starts: int = 1,
    horizon: int = 8,
    end_looks_like: int | None = None,
) -> Probe:
    """Make the table. Actions that are not told do what the first does; rows that are not told are never reached."""
    dtype = jnp.result_type(float)
    shape = SITUATIONS + 1, ACTIONS
    allowed, earns, leads = np.ones(shape, bool), np.zeros(shape), np.full(shape, END)
    for row, told in enumerate(rows):
        for action, step in enumerate([*told, *[told[0]] * (ACTIONS - len(told))]):
            allowed[row, action] = step is not None
            earns[row, action], leads[row, action] = step or (0.0, row)
    features = np.eye(SITUATIONS + 1, SITUATIONS)  # the end looks like nothing
    if end_looks_like is not None:
        features[END] = features[end_looks_like]
    world = Table(
        features=jnp.asarray(features, dtype),
        allowed=jnp.asarray(allowed),
        earns=jnp.asarray(earns, dtype),
        leads=jnp.asarray(leads, jnp.int32),
        ends=jnp.arange(SITUATIONS + 1) >= len(rows),
        starts=jnp.int32(starts),
        horizon=jnp.int32(horizon),
    )
    return Probe(name, fault, world)


def probes() -> dict[str, Probe]:
    """Return the probes by name, the easiest first."""
    listed = (
        _probe("value", "values do not come from rewards", [[(1.0, END)]]),
        _probe("action", "values, or the policy, do not depend on the action", [[(-1.0, END), (1.0, END)]]),
        _probe(
            "observation",
            "what is learnt in one situation is not kept apart from another",
            [[(1.0, END), (-1.0, END)], [(-1.0, END), (1.0, END)]],
            starts=2,
        ),
        _probe("delay", "values are not discounted, or not passed back", [[(0.0, 1)], [(1.0, END)]]),
        _probe(
            "credit",
            "an action is not credited with what comes after it",
            [[(0.2, 1), (0.0, 2)], [(0.0, END), (-1.0, END)], [(1.0, END), (-1.0, END)]],
        ),
        _probe("mask", "actions that are not allowed are taken", [[(0.0, END), (0.5, END), None]]),
        _probe(
            "mask-after",  # the third action's value is never learnt, and stays above those that are allowed
            "actions that are not allowed are counted on in what comes after",
            [[(-0.5, END), (0.0, 1), None], [(-2.0, END), (-3.0, END), None]],
        ),
        _probe(
            "horizon",  # going on is worth 2, a single step 1, leaving 1.5
            "a horizon is treated as an end",
            [[(1.0, 0), (1.5, END)]],
            horizon=1,
        ),
        _probe(
            "end",  # leaving is worth 1, not 1 and what a new start is worth; staying is worth 1.25
            "an end is treated as a horizon",
            [[(1.0, END), (0.0, 1)], [(2.5, END), (0.0, END)]],
            end_looks_like=0,
        ),
    )
    return {probe.name: probe for probe in listed}
