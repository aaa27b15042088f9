"""A cascade with a confidence threshold, after DiffServe (Ahmad et al., MLSys 2025, arXiv:2411.15381).

There every request first gets a picture of a light model; a discriminator looks at it, and below a threshold of its
confidence a heavy model makes the picture again. A mixed-integer program, solved anew as demand changes, divides the
machines between both models and sets the threshold, as high as the demand allows.

Reconstructed: the program (maximise the share that is sent on, such that the light machines keep up with the demand
and the heavy ones with the share) from the published code of its controller; here HiGHS solves it over unequal machines with one picture
at a time, because our nodes work so, where the artefact has equal machines and chooses batch sizes. The rate is read from the
numbers and ages of what waits; the artefact counts arrivals.
Not reproduced: a second pass. A State decides once about a task, so a request that is sent on takes a heavy machine from the
beginning; its light pass takes nobody's time (in the cascade's favour), though light machines are planned for all requests.
Which request the discriminator would send on is not known before: the numbers of the requests decide, evenly spread.
"""

import functools
from typing import ClassVar

import equinox as eqx
import numpy as np
from numpy.typing import NDArray

from edgegen.core.state import State
from edgegen.plan.in_turn import AbstractInTurn, Moment, heaviest, in_time_first, knees, lightest, of_model

MARGIN = 1.05  # machines are planned for this much more than the rate
PRIOR_S = 5.0  # so many seconds of the mean rate are counted with those of the tasks that wait
_GRID = 1.01  # rates are rounded up to powers of this, so that few programs are solved
_GOLDEN = 0.6180339887498949


class ThresholdCascade(AbstractInTurn):
    """The light model first, the heavy one for the share that the machines can bear (after DiffServe; HiGHS allots them).

    `rate_hz` is the demand that machines are planned for; 0 reads it from what waits.
    """

    plans_at_once: ClassVar[int] = 32
    rate_hz: float = eqx.field(default=0.0, static=True)

    def __check_init__(self):
        if not self.rate_hz >= 0:
            raise ValueError(f"rate_hz must be >= 0, got {self.rate_hz}")

    def prepared(self, moment: Moment) -> AbstractInTurn:
        light, heavy = lightest(moment), heaviest(moment)
        light_hz, heavy_hz = _rates(moment, light), _rates(moment, heavy)
        rate_hz = float(self.rate_hz) or demand_hz(moment.state)
        rounded = _GRID ** np.ceil(np.log(max(rate_hz * MARGIN, 1e-3)) / np.log(_GRID))
        on_heavy, share = allot(tuple(light_hz.tolist()), tuple(heavy_hz.tolist()), float(rounded))
        return _Allotted(light, heavy, on_heavy, share)

    def scores(self, moment: Moment, task: int) -> NDArray[np.float64]:
        return self.prepared(moment).scores(moment, task)


class _Allotted(AbstractInTurn):
    """Machines and a share of requests for the heavy model."""

    light: int = eqx.field(static=True)
    heavy: int = eqx.field(static=True)
    on_heavy: tuple[bool, ...] = eqx.field(static=True)  # by node row
    share: float = eqx.field(static=True)

    def scores(self, moment: Moment, task: int) -> NDArray[np.float64]:
        sent_on = (int(moment.state.tasks.number[task]) * _GOLDEN) % 1.0 < self.share
        heavies = np.array(self.on_heavy)
        choices = [(self.heavy, heavies)] if sent_on else []
        # A light picture is there in any case, so whoever would come late for a heavy one keeps it.
        for model, nodes in (*choices, (self.light, ~heavies)):
            scores = np.where(nodes[:, None, None], of_model(moment, task, model), np.inf)
            feasible = moment.feasible(task) & moment.table.possible[task] & (scores < np.inf)
            if feasible.any():
                return np.where(feasible, scores, np.inf)
        return in_time_first(moment, task, of_model(moment, task, self.light))


def _rates(moment: Moment, model: int) -> NDArray[np.float64]:
    """float[N]: pictures per second of a model on each node; 0 where it does not run, and on devices."""
    models, nodes = moment.state.models, moment.state.nodes
    steps = moment.state.steps[knees(moment)[model].max()]
    runs = models.available[:, model] & nodes.live
    runs[0] = False
    seconds = np.where(runs, models.fixed_s[:, model] + models.step_s[:, model] * steps, np.inf)
    return 1.0 / np.maximum(seconds, 1e-9)


def demand_hz(state: State) -> float:
    """Return the rate of arrivals: by the numbers of the tasks that wait, and the mean rate so far for some seconds."""
    live = np.flatnonzero(state.tasks.live)
    if not live.size:
        return 0.0
    numbers, ages = state.tasks.number[live], state.tasks.age_s[live]
    mean_hz = (int(numbers.max()) + 1) / max(float(state.clock_s), 1.0)
    first, last = int(np.argmin(numbers)), int(np.argmax(numbers))
    return float((numbers[last] - numbers[first] + mean_hz * PRIOR_S) / (ages[first] - ages[last] + PRIOR_S))


@functools.lru_cache(maxsize=512)
def allot(light_hz: tuple[float, ...], heavy_hz: tuple[float, ...], rate_hz: float) -> tuple[tuple[bool, ...], float]:
    """Return which nodes run the heavy model, and the share of the requests that it makes.

    light_hz, heavy_hz: pictures per second of each node with that model, 0 where it cannot run. Where even light models on
    all nodes are too slow, nothing is sent on. Ties go to fewer heavy nodes.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    light, heavy = np.array(light_hz), np.array(heavy_hz)
    count = len(light)
    cost = np.append(np.full(count, 1e-6), -1.0)  # x per node, then the share
    rows = np.vstack([np.append(heavy, -rate_hz), np.append(-light, 0.0)])
    keeps_up = LinearConstraint(rows, lb=np.array([0.0, rate_hz - light.sum()]))  # type: ignore[arg-type]  # arrays, says its document
    least, up_to = np.zeros(count + 1), np.append((heavy > 0).astype(float), 1.0)
    most = Bounds(least, up_to)  # type: ignore[arg-type]  # likewise
    found = milp(cost, constraints=keeps_up, bounds=most, integrality=np.append(np.ones(count), 0))
    if found.x is None:
        return (False,) * count, 0.0
    return tuple(bool(part > 0.5) for part in found.x[:count]), float(np.clip(found.x[count], 0.0, 1.0))
