"""`Environment.step`, compiled, behind calls that take and give NumPy arrays: what every adapter runs.

What a step costs from Python is not the world but the crossings, one per array. So the state of B environments is one flat buffer
per type of number, which the compiled step gets back for reuse, and what comes out of a step is one table of floats that
crosses once. Environment b with seed s has the same chance as a single environment with seed s + b.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from edgegen.core.arrays import Array
from edgegen.core.errors import InputError
from edgegen.core.tree import value
from edgegen.sim import epochs
from edgegen.sim.environment import Environment, Moment, Observation, Step


@value
class _Running:
    """An environment between two steps."""

    moment: Moment
    key: Array  # uint32[2], of all that is still to be drawn


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where things stand in a row of the table that comes out of a step."""

    features: tuple[int, ...]  # shape in one environment: (D,), or (A, D) where several agents decide
    allowed: tuple[int, ...]  # (K,) or (A, K)
    ledger: tuple[str, ...]  # names, in order

    def table(self, step: Step) -> Array:
        """Return a step of B environments as one table, float[B, ...]."""
        parts = [step.observation.features, step.observation.allowed, step.final.features, step.final.allowed]
        parts += [step.reward, step.terminated, step.truncated, *(step.ledger[name] for name in self.ledger)]
        return jnp.concatenate(
            [part.reshape(part.shape[0], -1).astype(jnp.result_type(float)) for part in parts], axis=1
        )


@dataclasses.dataclass(frozen=True)
class Seen:
    """What came of a step in B environments. Every array is new; what is not asked for costs nothing."""

    rows: np.ndarray  # float[B, ...], read-only
    layout: Layout

    @property
    def features(self) -> np.ndarray:
        """float32[B, D] or [B, A, D], to act on next; of a new episode where one ended."""
        return self._features(0)

    @property
    def allowed(self) -> np.ndarray:
        """bool[B, K] or [B, A, K]."""
        return self._allowed(0)

    @property
    def final_features(self) -> np.ndarray:
        """Like `features`, but the next ones of the episode itself."""
        return self._features(1)

    @property
    def final_allowed(self) -> np.ndarray:
        """Like `allowed`, for `final_features`."""
        return self._allowed(1)

    @property
    def reward(self) -> np.ndarray:
        """float64[B]."""
        return self.rows[:, self._ends].astype(np.float64)

    @property
    def terminated(self) -> np.ndarray:
        """bool[B]."""
        return self.rows[:, self._ends + 1] != 0

    @property
    def truncated(self) -> np.ndarray:
        """bool[B]."""
        return self.rows[:, self._ends + 2] != 0

    @property
    def ledger(self) -> dict[str, np.ndarray]:
        """float64[B] by name."""
        columns = self.rows[:, self._ends + 3 :].T.astype(np.float64)
        return dict(zip(self.layout.ledger, columns, strict=True))

    @property
    def _wide(self) -> tuple[int, int]:
        return math.prod(self.layout.features), math.prod(self.layout.allowed)

    @property
    def _ends(self) -> int:
        return 2 * sum(self._wide)

    def _features(self, which: int) -> np.ndarray:
        features, allowed = self._wide
        at = which * (features + allowed)
        return self.rows[:, at : at + features].astype(np.float32).reshape(-1, *self.layout.features)

    def _allowed(self, which: int) -> np.ndarray:
        features, allowed = self._wide
        at = which * (features + allowed) + features
        return (self.rows[:, at : at + allowed] != 0).reshape(-1, *self.layout.allowed)


class Machine:
    """B environments: so many copies of one instance, or, without `copies`, those that are stacked (`epochs.stack`)."""

    def __init__(self, environments: Environment, copies: int | None = None):
        """Nothing is compiled before the first reset."""
        numbers, static = eqx.partition(environments, lambda leaf: isinstance(leaf, jax.Array | np.ndarray))
        self.count = jax.tree.leaves(numbers)[0].shape[0] if copies is None else copies
        if self.count < 1:
            raise InputError(f"expected at least one environment, got {self.count}", param="copies")

        def many(function: Callable) -> Callable:
            def run(*rest: Any) -> Any:  # the numbers of the instances are constants of what is compiled
                axes = (0 if copies is None else None, *[0] * len(rest))
                return jax.vmap(lambda own, *rest: function(eqx.combine(own, static), *rest), axes)(numbers, *rest)

            return run

        reset, step = many(_reset), many(_step)
        keys = jax.ShapeDtypeStruct((self.count, 2), jnp.uint32)
        running, observation = jax.eval_shape(reset, keys)
        self.agents: int | None = observation.features.shape[1] if observation.features.ndim == 3 else None
        self.width, self.actions = observation.features.shape[-1], observation.allowed.shape[-1]  # D, K
        chosen = jax.ShapeDtypeStruct(observation.allowed.shape[:-1], jnp.int32)
        names = jax.eval_shape(step, running, chosen)[1].ledger
        layout = Layout(observation.features.shape[1:], observation.allowed.shape[1:], tuple(names))
        pack, unpack = _buffers(running)

        def begin(keys):
            running, seen = reset(keys)
            return pack(running), layout.table(_nothing_yet(seen, layout))

        def go_on(buffers, actions):
            running, step_ = step(unpack(buffers), actions)
            return pack(running), layout.table(step_)

        self._many, self._unpack, self._layout = many, unpack, layout
        self._begin, self._go_on = jax.jit(begin), jax.jit(go_on, donate_argnums=0)
        self._state, self._shape = None, chosen.shape

    def reset(self, seeds: Sequence[int]) -> Seen:
        """Begin an episode everywhere, with a seed for each, B of them."""
        keys = np.stack([np.asarray(jax.random.key_data(jax.random.key(int(seed)))) for seed in seeds])
        self._state, table = self._begin(keys)
        return Seen(np.asarray(table), self._layout)

    def step(self, actions: np.ndarray) -> Seen:
        """Carry out an action everywhere, int[B] (or int[B, A]).

        **Raises** `InputError` before the first reset, and for a number that is not an action.
        """
        actions = np.asarray(actions, np.int32).reshape(self._shape)
        if self._state is None:
            raise InputError("nothing has begun: call reset first", param="actions")
        if actions.min() < 0 or actions.max() >= self.actions:
            raise InputError(f"actions are 0 to {self.actions - 1}, got {actions.tolist()}", param="actions")
        self._state, table = self._go_on(self._state, actions)
        return Seen(np.asarray(table), self._layout)

    def chooser(self, policy: epochs.Policy) -> Callable[[int], np.ndarray]:
        """Return what a policy of the world, which may look at all of it, would do now: seed -> numbers of actions, int[B].

        **Raises** `InputError` where several agents decide.
        """
        if self.agents is not None:
            raise InputError(
                "a policy of the world decides for all agents at once; give actions by agent", param="policy"
            )
        choose = self._many(lambda environment, running, key: _number_of(environment, running.moment, policy, key))
        compiled = jax.jit(lambda buffers, keys: choose(self._unpack(buffers), keys))

        def now(seed: int) -> np.ndarray:
            return np.asarray(compiled(self._state, jax.random.split(jax.random.key(seed), self.count)))

        return now


def _reset(environment: Environment, key: Array) -> tuple[_Running, Observation]:
    going, now = jax.random.split(jax.random.wrap_key_data(key))
    moment, seen = environment.reset(now)
    return _Running(moment=moment, key=jax.random.key_data(going)), seen


def _step(environment: Environment, running: _Running, action: Array):
    going, now = jax.random.split(jax.random.wrap_key_data(running.key))
    moment, step = environment.step(running.moment, action, now)
    return _Running(moment=moment, key=jax.random.key_data(going)), step


def _nothing_yet(seen: Observation, layout: Layout) -> Step:
    """A step that only brings the first observation."""
    zero = jnp.zeros(seen.features.shape[0])
    ledger = dict.fromkeys(layout.ledger, zero)
    return Step(observation=seen, final=seen, reward=zero, terminated=zero, truncated=zero, ledger=ledger)


def _number_of(environment: Environment, moment: Moment, policy: epochs.Policy, key: Array) -> Array:
    """The first number that the codec makes of what the policy wants."""
    view = environment.world.view(moment.state, moment.event)
    wanted, numbers = policy(view, key), jnp.arange(environment.codec.actions, dtype=jnp.int32)
    offered = jax.vmap(lambda number: environment.codec.decode(view, number))(numbers)
    same = jax.tree.map(
        lambda own, all_: (all_ == own[None]).reshape(len(numbers), -1).all(axis=1),
        jax.tree.map(jnp.asarray, wanted),
        offered,
    )
    return jnp.stack(jax.tree.leaves(same)).all(axis=0).argmax().astype(jnp.int32)


# -------------------------------------------------------------------------------------------------- trees as arrays


def _buffers(example: Any) -> tuple[Callable, Callable]:
    """For trees with leaves [B, ...]: (tree -> one buffer [B, n] per type of number, and back)."""
    leaves, structure = jax.tree.flatten(example)
    types = sorted({str(leaf.dtype) for leaf in leaves})
    rows = {name: [row for row, leaf in enumerate(leaves) if str(leaf.dtype) == name] for name in types}

    def pack(tree: Any) -> tuple[Array, ...]:
        parts = [leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(tree)]
        return tuple(jnp.concatenate([parts[row] for row in rows[name]], axis=1) for name in types)

    def unpack(buffers: tuple[Array, ...]) -> Any:
        found: dict[int, Array] = {}
        for name, buffer in zip(types, buffers, strict=True):
            found |= dict(zip(rows[name], _cut(buffer, [leaves[row].shape for row in rows[name]]), strict=True))
        return jax.tree.unflatten(structure, [found[row] for row in range(len(leaves))])

    return pack, unpack


def _cut(table: Any, shapes: list[tuple[int, ...]]) -> list:
    parts, at = [], 0
    for shape in shapes:
        width = math.prod(shape[1:])
        parts.append(table[:, at : at + width].reshape(shape))
        at += width
    return parts
