"""A world that remembers: policies are memoryless functions of what they see, so what must be remembered is shown to them.

What is remembered belongs to the state of the world: a run that is cut goes on from its state alone, and the view with which
a decision was made explains it. Instances may bring their own memory, so its leaves are stacked with those of the world.
"""

import abc
from typing import Any

import equinox as eqx

from edgegen.core.arrays import Array
from edgegen.core.tree import value
from edgegen.sim import epochs


class AbstractMemory(eqx.Module):
    """What is remembered of an episode. Both methods are pure; shapes and types never change."""

    @abc.abstractmethod
    def start(self) -> Any:
        """Return what is known before the first decision."""

    @abc.abstractmethod
    def update(self, memory: Any, view: Any, action: Any, entries: epochs.Entries) -> Any:
        """Return what is known after a decision: what was seen, what was done, and the entries of the step."""


@value
class Remembered:
    """The state of a world, and what is remembered."""

    state: Any
    memory: Any


@value
class Recalled:
    """What a policy may look at, and what is remembered."""

    view: Any
    memory: Any


class Remembering(epochs.AbstractWorld):
    """A world whose views show a memory. The same keys give the same episodes as without it."""

    world: epochs.AbstractWorld
    memory: AbstractMemory
    length: int = eqx.field(static=True)

    def __init__(self, world: epochs.AbstractWorld, memory: AbstractMemory):
        self.world, self.memory, self.length = world, memory, world.length

    def chance(self, key) -> Any:
        return self.world.chance(key)

    def start(self) -> Remembered:
        return Remembered(state=self.world.start(), memory=self.memory.start())

    def advance(self, state: Remembered, chance: Any) -> tuple[Remembered, Any, Array, epochs.Entries]:
        now, event, live, entries = self.world.advance(state.state, chance)
        return Remembered(state=now, memory=state.memory), event, live, entries

    def view(self, state: Remembered, event: Any) -> Recalled:
        return Recalled(view=self.world.view(state.state, event), memory=state.memory)

    def step(self, state: Remembered, event: Any, action: Any) -> tuple[Remembered, epochs.Entries]:
        seen = self.world.view(state.state, event)
        after, entries = self.world.step(state.state, event, action)
        return Remembered(state=after, memory=self.memory.update(state.memory, seen, action, entries)), entries

    def terminated(self, state: Remembered) -> Array:
        return self.world.terminated(state.state)


class Note(AbstractMemory):
    """Something that is known beforehand and never changes."""

    note: Any

    def start(self) -> Any:
        return self.note

    def update(self, memory: Any, view: Any, action: Any, entries: epochs.Entries) -> Any:
        del view, action, entries
        return memory
