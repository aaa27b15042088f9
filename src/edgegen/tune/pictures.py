"""Learners that draw: sites whose private pictures improve a text-to-image model.

`Task` says everything that a site has to know to take part; `make` builds a site's learner from it, in whatever process the
site runs. Between rounds a learner keeps nothing but what it can make anew: the base, and its own pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from edgegen.core.errors import InputError
from edgegen.tune import adapters, local
from edgegen.tune.adapters import Arrays, Lora
from edgegen.tune.base import Base
from edgegen.tune.federation.learners import AbstractLearner, Fitted
from edgegen.tune.judging import Exam, Marks, examine
from edgegen.tune.local import Examples, Local
from edgegen.tune.parts import CHANGE, AbstractParts, parts_of
from edgegen.tune.privacy.promise import EXAMPLE, Privacy
from edgegen.tune.sites import Site, Spread, make_site


@dataclass(frozen=True)
class Task:
    """What is learnt, of what, and how a site does it; the same for all sites."""

    base: str = "shapes-s"  # a built-in model
    mode: str = "ffa"
    spread: Spread = field(default_factory=Spread)
    lora: Lora = field(default_factory=Lora)
    local: Local = field(default_factory=Local)
    privacy: Privacy = field(default_factory=Privacy)  # of examples, inside every site

    def options(self) -> dict[str, Any]:
        """Return it as plain values, for a site in another process."""
        plain = asdict(self)
        plain["privacy"]["max_epsilon"] = None  # infinity is no JSON; the budget is the run's affair
        return plain

    @staticmethod
    def of(options: Mapping[str, Any]) -> Task:
        """Return the task that plain values describe. **Raises** `InputError` for unknown ones."""
        made = {"spread": Spread, "lora": Lora, "local": Local, "privacy": Privacy}
        try:
            plain = {name: dict(options[name]) for name in made}
            plain["lora"]["layers"] = tuple(plain["lora"]["layers"])
            plain["privacy"]["max_epsilon"] = math.inf
            return Task(**{**options, **{name: kind(**plain[name]) for name, kind in made.items()}})
        except (KeyError, TypeError) as error:
            raise InputError(f"the options of a site do not describe a task: {error}", param="options") from error

    def parts(self) -> AbstractParts:
        """Return what travels. Words are not learnt in private: their vectors are shared by all rows of a step."""
        return parts_of(self.mode, self.lora, words=self.privacy.kind != EXAMPLE)


class PictureLearner(AbstractLearner):
    """One site."""

    def __init__(self, base: Base, task: Task, parts: AbstractParts, examples: Examples, number: int) -> None:
        self._base, self._task, self._parts, self._examples = base, task, parts, examples
        self._number = number

    def fit(self, arrays: Arrays, *, round: int, steps: int) -> Fitted:  # noqa: A002
        self._parts.put(self._base, arrays)
        metrics = {}
        if self._task.privacy.kind == EXAMPLE:  # its losses say something of single pictures, and stay here
            local.train_privately(self._base, self._examples, self._task.local, self._task.privacy, steps=steps)
        else:
            key = [self._number, round]
            metrics["loss"] = local.train(self._base, self._examples, self._task.local, steps=steps, key=key)
        sent = self._parts.get(self._base, site=self._number, turn=round)
        return Fitted(sent, float(len(self._examples)), metrics)

    def sends(self, arrays: Arrays, *, turn: int) -> Arrays:
        """Return those of some arrays that the site sends in a round."""
        self._parts.put(self._base, arrays)
        return self._parts.get(self._base, site=self._number, turn=turn)

    def evaluate(self, arrays: Arrays) -> dict[str, float]:
        self._parts.put(self._base, arrays)
        return {"loss": local.mean_loss(self._base, self._examples), "examples": float(len(self._examples))}


class Workshop:
    """A base made ready for a task in this process, with the sites that are here: one network, worn by turns."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(1)  # more fight over the caches at this size
        self.task, self.base, self.parts = task, Base(task.base), task.parts()
        self.parts.prepare(self.base)
        self.start = self.parts.start(self.base)
        self._seen: dict[int, tuple[Site, Examples]] = {}

    def site(self, number: int) -> Site:
        """Return a site of the task, with its pictures."""
        return self._site(number)[0]

    def examples(self, numbers: Sequence[int]) -> Examples:
        """Return what is on some sites, together."""
        return local.together([self._site(number)[1] for number in numbers])

    def learner(self, number: int) -> PictureLearner:
        """Return a site's learner."""
        return PictureLearner(self.base, self.task, self.parts, self._site(number)[1], number)

    def examine(self, arrays: Arrays, exam: Exam) -> Marks:
        """Judge what the base draws when it wears these arrays."""
        self.parts.put(self.base, arrays)
        return examine(self.base, exam)

    def combine(self) -> Callable[[Arrays, Arrays, Sequence[Fitted]], Arrays] | None:
        """Return what puts updates together beyond their mean: only `fedex` has such a thing."""
        if self.task.mode != "fedex":
            return None
        return lambda before, mean, fits: combine_fedex(before, mean, fits, self.task.lora.scale)

    def _site(self, number: int) -> tuple[Site, Examples]:
        if number not in self._seen:
            site = make_site(self.task.spread, number)
            self._seen[number] = site, local.see(self.base, site.pictures, site.captions)
        return self._seen[number]


def make(site: int, sites: int, options: Mapping[str, Any]) -> PictureLearner:
    """Build the learner of a site, in its own process. `options` are those of a `Task`."""
    task = Task.of(options)
    if sites != task.spread.sites:
        raise InputError(f"the task is for {task.spread.sites} sites, and {sites} take part", param="sites")
    return Workshop(task).learner(site)


def combine_fedex(before: Arrays, mean: Arrays, fits: Sequence[Fitted], scale: float) -> Arrays:
    """Return the mean of the factors, and what is to be added to the base: all that earlier means missed, and this one."""
    factors = [{name: array for name, array in fit.arrays.items() if not name.endswith(CHANGE)} for fit in fits]
    lacking, _ = adapters.missed(factors, [fit.weight for fit in fits], scale)
    added = {f"{layer}{CHANGE}": before.get(f"{layer}{CHANGE}", np.float32(0.0)) + lacking[layer] for layer in lacking}
    return {**{name: mean[name] for name in factors[0]}, **added}
