"""Trained agents as files: one line of JSON that says what it is, then the numbers of its actor.

Nothing in a file is executed: the line names a learner of `presets`, which builds an actor of the right shape, and the numbers
are read into it. A file that is cut, foreign or of another format is refused with a sentence.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from edgegen import __version__
from edgegen.core.arrays import Array
from edgegen.core.errors import InputError
from edgegen.learn import presets, rollout
from edgegen.learn.learner import Actor
from edgegen.sim import environment, epochs

MAGIC, FORMAT = "edgegen agent", 1
_LONGEST_LINE = 1 << 20


@dataclasses.dataclass(frozen=True)
class Card:
    """What is known about a trained agent."""

    system: str  # what it decides in, such as `aaas` or `fleet`
    learner: str  # a name in `presets`
    features: int  # D
    actions: int  # K
    settings: Mapping[str, Any]  # of the system; for a fleet, the sizes that its States must have
    figures: Mapping[str, Any]  # how it did when it was evaluated
    provenance: Mapping[str, Any]  # seed, budgets, date, version


def save(path: str | Path, actor: Actor, card: Card) -> Path:
    """Write an agent; whoever reads the file meanwhile sees the old one or the new one."""
    path = Path(path)
    line = {"what": MAGIC, "format": FORMAT, "version": __version__, **dataclasses.asdict(card)}
    aside = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(json.dumps(line).encode() + b"\n")
            eqx.tree_serialise_leaves(file, actor)
        os.replace(aside, path)
    except OSError as error:
        raise InputError(f"cannot write the agent {path}: {error}", param="path") from None
    return path


def load(path: str | Path) -> tuple[Actor, Card]:
    """Read an agent, in 32 bits as it was trained.

    **Raises** `InputError` for what is not a whole agent file of this format, or names a learner that is not there.
    """
    try:
        with Path(path).open("rb") as file:
            card = _card(file.readline(_LONGEST_LINE), path)
            try:
                with jax.enable_x64(False):
                    return eqx.tree_deserialise_leaves(file, blank_actor(card)), card
            except (ValueError, TypeError, RuntimeError, EOFError) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise InputError(
                    f"the numbers in {path} are not those of its learner: {reason}", param="path"
                ) from None
    except OSError as error:
        raise InputError(f"cannot read the agent {path}: {error.strerror or error}", param="path") from None


def blank_actor(card: Card) -> Actor:
    """Return an actor whose leaves are shapes and types only."""
    learner = presets.learner(card.learner)
    blank = environment.Environment(_Blank(features=card.features, actions=card.actions), _codec(card.actions))
    environments = rollout.repeat(blank, presets.environments(learner))

    def build(key: Array) -> Actor:
        return learner.actor(learner.init(environments, key=key))

    return eqx.filter_eval_shape(build, jax.random.key(0))


def _card(line: bytes, path: str | Path) -> Card:
    try:
        told = json.loads(line)
        if told.pop("what") != MAGIC:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is not an agent; `edgegen train` writes them", param="path") from None
    version, form = told.pop("version", "?"), told.pop("format", None)
    names = {field.name for field in dataclasses.fields(Card)}
    if form != FORMAT or set(told) != names:
        raise InputError(
            f"{path} has format {form} (edgegen {version}); this is edgegen {__version__}, which reads format {FORMAT}",
            param="path",
        )
    return Card(**told)


class _Blank(epochs.AbstractWorld):
    """A world of the right sizes in which nothing happens."""

    features: int = eqx.field(static=True)
    actions: int = eqx.field(static=True)
    length: int = eqx.field(static=True, default=1)

    def chance(self, key) -> Array:
        del key
        return jnp.zeros(())

    def start(self) -> Array:
        return jnp.zeros(())

    def advance(self, state, chance):
        return state, chance, jnp.ones((), dtype=bool), {}

    def view(self, state, event) -> Array:
        return jnp.zeros(self.features)

    def step(self, state, event, action):
        return state, {"reward": jnp.zeros(())}


def _codec(actions: int) -> environment.Codec:
    return environment.Codec(
        observe=lambda view: view,
        allowed=lambda view: jnp.ones(actions, dtype=bool),
        decode=lambda view, action: action,
        actions=actions,
        weights={"reward": 1.0},
    )
