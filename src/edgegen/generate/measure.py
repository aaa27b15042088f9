"""Measure a model on this machine: time, memory, energy and quality, as one `Profile`.

Nothing is modelled here: a step is timed by doing it, loading by loading in a fresh process, quality by letting the
judge look at pictures of captions that were never trained on. What cannot be measured (watts without a counter) is
declared and marked as assumed.
"""

import datetime as dt
import hashlib
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgegen import __version__
from edgegen.core.curve import Curve, Fit, fit_all, monotone, tidy
from edgegen.core.errors import InputError
from edgegen.core.profile import PROMPT_FOLLOWING, Profile, Provenance, QualityPoint, StepPoint
from edgegen.core.result import wilson
from edgegen.generate.meters import CLOCKS, EnergyCounter, Interleaved, cold_start, take_turns

DECLARED_CORE_W = 10.0
ENERGY_WINDOW_S = 2.0
ENERGY_STEPS = 16
MAX_REPEATS = 97  # a timed batch does this many steps and a few more; the samplers know 100
QUALITY_CHUNK = 16
BUSY_BELOW = 0.9  # a smaller share of the wall time means that somebody else had the processor

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Plan:
    """How thoroughly to measure.

    steps: step counts of the quality curves. batches: batch sizes of the step time. captions_per_category: pictures
    judged per point. repeats: of every time. cold_starts: fresh processes. seed: of captions and noise. clock: one of
    `CLOCKS`; "processor" on a machine that others use at the same time.
    """

    steps: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
    batches: tuple[int, ...] = (1, 2, 4, 8)
    captions_per_category: int = 200
    repeats: int = 31
    cold_starts: int = 5
    seed: int = 0
    clock: str = "wall"

    def __post_init__(self):
        for name in ("steps", "batches"):
            values = getattr(self, name)
            if not values or min(values) < 1 or list(values) != sorted(set(values)):
                raise InputError(f"{name} must be counts >= 1 in rising order, got {list(values)}", param=name)
        if len(self.batches) < 2:
            raise InputError(
                f"batches needs at least two sizes to fit a line, got {list(self.batches)}", param="batches"
            )
        for name in ("captions_per_category", "repeats", "cold_starts"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be >= 1, got {getattr(self, name)}", param=name)
        if self.clock not in CLOCKS:
            raise InputError(f"clock must be one of {', '.join(CLOCKS)}, got {self.clock!r}", param="clock")
        if self.repeats > MAX_REPEATS:
            raise InputError(f"repeats must be at most {MAX_REPEATS}, got {self.repeats}", param="repeats")


FULL = Plan()
QUICK = Plan(steps=(1, 2, 4, 8), captions_per_category=24, repeats=7, cold_starts=1)


class Subject(Protocol):
    """A model that can be measured. Batches and truths are opaque to the measurement."""

    name: str
    files: Sequence[Path]  # of the weights
    picture_px: int
    sampler: str
    guidance: float | None
    passes_per_step: int
    categories: Sequence[str]

    def captions(self, category: str, count: int, seed: int) -> tuple[list[str], list[Any]]:
        """Return captions of a category that were never trained on, and what the judge needs to know of each."""
        ...

    def start(self, captions: Sequence[str], steps: int, seeds: Sequence[int]) -> Any:
        """Encode the captions, draw the noise, and return a batch that has done no step."""
        ...

    def step(self, batch: Any) -> None:
        """Do one denoising step of the whole batch."""
        ...

    def finish(self, batch: Any) -> np.ndarray:
        """Return the pictures uint8[B, side, side, 3] of a batch that has done all of its steps."""
        ...

    def outside_of_steps(self, caption: str) -> None:
        """Encode one caption and decode one picture, and nothing else."""
        ...

    def warm_up(self) -> None:
        """Make one picture in one step, so that everything is in memory."""
        ...

    def shares(self, pictures: np.ndarray, truths: Sequence[Any]) -> Sequence[float]:
        """Judge: which share of its caption's attributes does each picture show?"""
        ...


def generate(subject: Subject, captions: Sequence[str], steps: int, seeds: Sequence[int]) -> np.ndarray:
    """Make the pictures of some captions, as one batch."""
    batch = subject.start(captions, steps, seeds)
    for _ in range(steps):
        subject.step(batch)
    return subject.finish(batch)


def measure(
    model: str,
    *,
    device_name: str | None = None,
    power_w: float | None = None,
    plan: Plan = FULL,
    progress: Progress = lambda what, done, total: None,
    opener: Callable[[str], Subject] | None = None,
) -> Profile:
    """Measure a model on this machine, with one thread, and return its profile.

    device_name: what to call the machine. power_w: watts while one worker generates, used where no counter can be
    read. opener: loads the model by name or folder; must be importable by name, because fresh processes load it too.
    """
    if power_w is not None and not 0 < power_w < float("inf"):
        raise InputError(f"power_w must be > 0 watts, got {power_w}", param="power_w")
    open_subject = opener or _open_onnx()
    subject = open_subject(model)
    load_average = os.getloadavg()[0]
    cold = cold_start(model, open_subject, plan.cold_starts, clock=plan.clock)
    progress("load", 1, 1)
    times = _time_steps(subject, plan, lambda done, total: progress("time", done, total))
    fixed_s = _fixed_s(subject, plan)
    watts = _watts(subject, power_w)
    points = _judge(subject, plan, lambda done, total: progress("quality", done, total))
    medians = [times.spreads[batch].median_s for batch in plan.batches]
    # A larger batch cannot be faster: where noise says so, the times before it are raised to the mean (isotonic).
    fit = Curve.fit("affine", plan.batches, list(monotone(medians)), relative=True).tidy()
    curves = {category: _curve(found) for category, found in points.items()}
    about = _provenance(subject, plan, watts, load_average, times)
    return Profile(
        model=subject.name,
        device=device_name or _processor(),
        picture_px=subject.picture_px,
        steps=plan.steps,
        quality_scale=PROMPT_FOLLOWING,
        quality=curves,
        quality_points=points,
        quality_fits={category: _fits(curve) for category, curve in curves.items()},
        step_s=fit.curve,
        step_points=tuple(_step_point(batch, times) for batch in plan.batches),
        step_fit=fit,
        fixed_s=tidy(fixed_s),
        load_s=tidy(cold.load.median_s),
        memory_bytes=cold.memory_bytes,
        power_w=tidy(watts.power_w),
        energy_method=watts.method,
        energy_scope=watts.scope,
        sampler=subject.sampler,
        guidance=subject.guidance,
        passes_per_step=subject.passes_per_step,
        provenance=about,
    )


# ---------------------------------------------------------------------------------------------------------- time


def _time_steps(subject: Subject, plan: Plan, tick: Callable[[int, int], None]) -> Interleaved:
    def stepper(size: int) -> Callable[[], object]:
        captions, _ = subject.captions(subject.categories[0], size, plan.seed)
        # one step more than will be done: the last one would decode
        batch = subject.start(captions, plan.repeats + 2, range(size))
        return lambda: subject.step(batch)

    return take_turns({size: stepper(size) for size in plan.batches}, plan.repeats, clock=plan.clock, tick=tick)


def _fixed_s(subject: Subject, plan: Plan) -> float:
    captions, _ = subject.captions(subject.categories[-1], 1, plan.seed)
    work = {0: lambda: subject.outside_of_steps(captions[0])}
    return take_turns(work, plan.repeats, clock=plan.clock).spreads[0].median_s


def _step_point(batch: int, times: Interleaved) -> StepPoint:
    spread = times.spreads[batch]
    return StepPoint(batch, tidy(spread.median_s), tidy(spread.low_s), tidy(spread.high_s), spread.n)


# -------------------------------------------------------------------------------------------------------- energy


@dataclass(frozen=True)
class _Watts:
    power_w: float
    method: str
    scope: str
    assumed: str | None


def _watts(subject: Subject, declared_w: float | None) -> _Watts:
    counter = EnergyCounter.find()
    if counter is not None:
        captions, _ = subject.captions(subject.categories[0], 1, 0)
        power_w = counter.power_w(lambda: generate(subject, captions, ENERGY_STEPS, [0]), ENERGY_WINDOW_S)
        return _Watts(power_w, "measured", "processor packages (RAPL), idle power and other processes included", None)
    scope = "one worker process on one core"
    if declared_w is not None:
        return _Watts(declared_w, "declared", scope, "watts stated by whoever measured, x seconds: an estimate")
    why = f"no energy counter can be read here: {DECLARED_CORE_W:g} W per busy core x seconds, a round number of ours"
    return _Watts(DECLARED_CORE_W, "declared", scope, why)


# ------------------------------------------------------------------------------------------------------- quality


def _judge(subject: Subject, plan: Plan, tick: Callable[[int, int], None]) -> dict[str, tuple[QualityPoint, ...]]:
    """Judge the same captions and noise at every step count, so that points differ by their steps only."""
    total = len(subject.categories) * len(plan.steps) * plan.captions_per_category
    done, points = 0, {}
    for number, category in enumerate(subject.categories):
        captions, truths = subject.captions(category, plan.captions_per_category, plan.seed + 1 + number)
        found = []
        for steps in plan.steps:
            right = 0.0
            for start in range(0, len(captions), QUALITY_CHUNK):
                part = slice(start, start + QUALITY_CHUNK)
                pictures = generate(subject, captions[part], steps, range(start, start + len(captions[part])))
                right += sum(subject.shares(pictures, truths[part]))
                done += len(captions[part])
                tick(done, total)
            low, high = wilson(right, len(captions))
            found.append(QualityPoint(steps, tidy(right / len(captions)), tidy(low), tidy(high), len(captions)))
        points[category] = tuple(found)
    return points


def _curve(points: Sequence[QualityPoint]) -> Curve:
    values = monotone([point.quality for point in points])
    return Curve.table([point.steps for point in points], [tidy(value) for value in values])


def _fits(curve: Curve) -> tuple[Fit, ...]:
    if len(curve.x or ()) < 3:
        return ()
    return tuple(fit.tidy() for fit in fit_all(curve.x or (), curve.y or ()))


# ---------------------------------------------------------------------------------------------------- provenance


def _provenance(subject: Subject, plan: Plan, watts: _Watts, load_average: float, times: Interleaved) -> Provenance:
    cautions = ["times are of one thread; other work on the same processor slows them down"]
    if plan.clock == "processor":
        cautions.append("times are processor times: waiting for a busy processor or a disk is not in them")
    elif times.own_share < BUSY_BELOW:
        cautions.append(
            f"the machine was busy: only {times.own_share:.0%} of the wall time was ours, so times are pessimistic"
        )
    return Provenance(
        method="edgegen profile measure",
        device=f"{_processor()}, {os.cpu_count()} cores, one thread; {platform.system()}, Python {platform.python_version()}",
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        revision=f"edgegen {__version__}, weights {fingerprint(subject.files)}",
        n=plan.captions_per_category,
        formulas={
            "step_s": f"line of least relative squares through medians of {plan.repeats} {plan.clock} times per batch size",
            "fixed_s": f"median of {plan.repeats} {plan.clock} times: encoding one caption and decoding one picture",
            "load_s": f"median {plan.clock} time of {plan.cold_starts} fresh processes: open the model, make one picture in one step",
            "memory_bytes": "growth of the resident memory of those processes by opening and using the model",
            "quality": f"mean share of the attributes that are right, over {plan.captions_per_category} held-out captions per category,"
            " made monotone; 95 % Wilson intervals of the raw points are kept (conservative for a mean of shares)",
        },
        assumed={"power_w": watts.assumed} if watts.assumed else {},
        cautions=tuple(cautions),
        load_average=round(load_average, 2),
    )


def _processor() -> str:
    """Return the name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def fingerprint(files: Sequence[Path]) -> str:
    """Return a short hash of the weights, so that a profile of other weights is noticed."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return f"sha256:{digest.hexdigest()[:12]}"


def _open_onnx() -> Callable[[str], Subject]:
    from edgegen.generate.subject import open_onnx  # onnxruntime is loaded only when something is measured

    return open_onnx
