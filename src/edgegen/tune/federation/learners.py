"""What one site can do, and nothing of how it is asked: the contract between what is learnt and what carries it.

A learner is made in the site's own process, by a factory that the run's configuration names as `module:function`. The
factory is called as `factory(site, sites, options)`; on real machines a fresh process may be started for every message,
so a learner keeps nothing between rounds: what it needs is in the arrays, and its chance comes from the seed of its
options, the site and the round.
"""

import abc
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgegen.core.errors import InputError

Arrays = dict[str, np.ndarray]  # named float32 arrays, in a fixed order
Factory = Callable[[int, int, Mapping[str, Any]], "AbstractLearner"]  # (site, sites, options)


@dataclass(frozen=True)
class Fitted:
    """What a site answers after its local steps."""

    arrays: Arrays  # what it sends back: the arrays it was given, or some of them, after training
    weight: float  # examples that it learnt from; its share in a weighted mean
    metrics: dict[str, float] = field(default_factory=dict)  # what it measured on the way, such as its loss


class AbstractLearner(abc.ABC):
    """What one site can do. Knows its own data; never sends them."""

    @abc.abstractmethod
    def fit(self, arrays: Arrays, *, round: int, steps: int) -> Fitted:  # noqa: A002 -- the word of the field
        """Train from `arrays` for `steps` local steps and return what came of it; `round` counts from 1."""

    @abc.abstractmethod
    def evaluate(self, arrays: Arrays) -> dict[str, float]:
        """Return how good `arrays` are on the site's own data.

        `examples`, if it is among the numbers, is the site's share in the mean over sites.
        """


def load(name: str, *, param: str = "learner") -> Callable[..., Any]:
    """Return the function that `module:function` names.

    **Raises** `InputError` if the name has another form, or nothing is there.
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise InputError(f"{param} must be written 'module:function', got {name!r}", param=param)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
            raise  # the module is there; what it imports is not
        raise InputError(f"{param}: there is no module {module!r}", param=param) from None
    except AttributeError:
        raise InputError(f"{param}: the module {module!r} has no {attribute!r}", param=param) from None
    if not callable(found):
        raise InputError(f"{param}: {name!r} is not a function", param=param)
    return found
