"""A trained agent: a policy like any other, and one file that holds it.

The file says which system it decides in, what it was trained with and what it was measured to be worth; its network is
plain data and arrays (`records`, `files`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from edgegen.core.arrays import Array
from edgegen.core.errors import InputError, UnknownNameError
from edgegen.learn import files, records
from edgegen.learn.learner import Actor
from edgegen.sim.environment import Codec

KIND, VERSION = "edgegen-agent", 1


class Agent(eqx.Module):
    """What a learner has found, and how it looks at a world: a policy (`sim.epochs.Policy`)."""

    actor: Actor
    codec: Codec

    def __call__(self, view: Any, key: Array) -> Any:
        return self.codec.decode(view, self.actor(self.codec.look(view), key))


@dataclasses.dataclass(frozen=True)
class Card:
    """What a file says about its agent."""

    system: str  # what it decides in, such as "aaas"
    algorithm: str  # such as "rainbow"
    features: int  # D
    actions: int  # K
    settings: Mapping[str, Any]  # of the system; for a fleet, the sizes that its States must have
    figures: Mapping[str, float]  # of an evaluation
    provenance: Mapping[str, Any]  # how it was trained, in words and numbers


def save(path: Path, agent: Agent, card: Card) -> None:
    """Write an agent to one file."""
    if agent.codec.actions != card.actions:
        raise InputError(f"the card says {card.actions} actions, the codec has {agent.codec.actions}", param="actions")
    plain, arrays = records.to_plain(agent.actor)
    files.write(path, KIND, VERSION, {**dataclasses.asdict(card), "actor": plain}, arrays)


def card_of(path: Path) -> Card:
    """Return what a file says about its agent."""
    return _card(path, files.read(path, KIND, VERSION)[0])


def load(path: Path, codecs: Mapping[str, Callable[[Card], Codec]]) -> tuple[Agent, Card]:
    """Read an agent; `codecs` make the codec of each system that is known from the card.

    Its numbers get the precision of this process.
    """
    header, payload = files.read(path, KIND, VERSION)
    card = _card(path, header)
    if card.system not in codecs:
        raise UnknownNameError("system", card.system, codecs, param="system")
    codec = codecs[card.system](card)
    if codec.actions != card.actions:
        raise InputError(f"{path} chooses among {card.actions} actions, the codec of {card.system} has {codec.actions}")
    try:
        arrays = [_precise(array) for array in files.arrays_of(path, payload, records.shapes(header["actor"]))]
        actor = records.from_plain(header["actor"], arrays)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{path} does not describe a network that this release can build: {error}") from None
    return Agent(actor=actor, codec=codec), card


def _card(path: Path, header: Mapping[str, Any]) -> Card:
    names = [field.name for field in dataclasses.fields(Card)]
    if missing := [name for name in names if name not in header]:
        raise InputError(f"{path} lacks {', '.join(missing)} in its header")
    return Card(**{name: header[name] for name in names})


def _precise(array: np.ndarray) -> Array:
    return jnp.asarray(array, jnp.result_type(float) if np.issubdtype(array.dtype, np.floating) else None)
