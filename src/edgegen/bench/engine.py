"""What a step-level engine costs: mixed requests against the ideal static batch, against one at a time, and its hooks.

Everything is measured in processor time of one thread, variants take turns within a round, and a figure is the median of the rounds'
ratios. The ideal static batch is written down once more without the engine: eight pictures with the same number of steps, one
array from start to end. When no request follows, a mixed batch shrinks until its longest requests are left alone; "bare
passes" are the network's calls of just these sizes and nothing else: what no engine can exceed. The gain that batching can
bring is a matter of the model and the machine: eight times the pass of one picture over the pass of eight.
"""

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from edgegen.core.result import Bar, median_interval

NAME = "engine"
SUMMARY = "the step-level engine: mixed step counts against the ideal static batch and one at a time; cost of its hooks"
MIX = (4, 8, 16, 32)
TOGETHER = 8
STREAM = 40  # requests of the run in which eight are always under way
ROUNDS = 15
STATIC_GOAL, ALONE_GOAL, HOOKS_GOAL = 0.95, 1.5, 1.03
KEEP_EVERY = 4
PROMPT = "a red circle left of a blue square"
SEED = 5


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Measure every built-in model; takes about two minutes of one core."""
    from edgegen.generate import builtin

    bars = []
    for name in builtin.names():
        progress(name)
        bars += bars_of(name, rounds=ROUNDS)
    return bars


def bars_of(name: str, *, rounds: int) -> list[Bar]:
    """Measure one built-in model."""
    from edgegen.generate import builtin
    from edgegen.generate.backends.onnx import OnnxBackend

    folder = builtin.folder(name)
    work = _Work(_Timed(OnnxBackend(folder)), builtin.sampling(folder))
    variants: dict[str, Callable[[], float]] = {
        "static": work.static,
        "stream": work.stream,
        "drained": lambda: work.drained(TOGETHER),
        "bare": work.bare,
        "alone": lambda: work.drained(1),
        "changes": lambda: work.drained(TOGETHER, work.change_and_keep),
        "previews": lambda: work.drained(TOGETHER, work.preview),
        "pass of one": lambda: work.passes(1),
        "pass of eight": lambda: work.passes(TOGETHER),
    }
    rates = take_turns(variants, rounds)
    alone, static, drained = rates["alone"], rates["static"], rates["drained"]
    may = rates["pass of eight"] / rates["pass of one"]
    pays = ALONE_GOAL if np.median(may) >= ALONE_GOAL else None
    flowing, once = f"{name}, {TOGETHER} always under way", f"{name}, {TOGETHER} requests to the last one"
    return [
        _bar(f"{flowing}: throughput over the static batch's", rates["stream"] / static, at_least=STATIC_GOAL),
        _bar(f"{once}: throughput over its bare passes'", drained / rates["bare"], at_least=STATIC_GOAL),
        _bar(f"{once}: throughput over the static batch's", drained / static, at_least=STATIC_GOAL),
        _bar(f"{once}: its bare passes' throughput over the static batch's", rates["bare"] / static),
        _bar(f"{name}: what batching can bring, passes of {TOGETHER} over passes of one", may),
        _bar(f"{flowing}: throughput over one at a time", rates["stream"] / alone, at_least=pays),
        _bar(f"{once}: throughput over one at a time", drained / alone),
        _bar(
            f"{name}: time with deadlines, changes and checkpoints, over that without",
            drained / rates["changes"],
            at_most=HOOKS_GOAL,
        ),
        _bar(
            f"{name}: time with previews, their decoding apart, over that without",
            drained / rates["previews"],
            at_most=HOOKS_GOAL,
        ),
    ]


def take_turns(variants: dict[str, Callable[[], float]], rounds: int) -> dict[str, np.ndarray]:
    """Run the variants `rounds` times after a warm-up, each round in another order; return their results."""
    names, rng = list(variants), np.random.default_rng(SEED)
    found: dict[str, list[float]] = {name: [] for name in names}
    for variant in variants.values():
        variant()
    for _ in range(rounds):
        for at in rng.permutation(len(names)):
            found[names[at]].append(variants[names[at]]())
    return {name: np.array(values) for name, values in found.items()}


def _bar(label: str, ratios: np.ndarray, *, at_least: float | None = None, at_most: float | None = None) -> Bar:
    low, high = median_interval(ratios)
    value, known = float(np.median(ratios)), {"unit": "x", "n": len(ratios), "low": low, "high": high}
    if at_least is not None:
        return Bar.at_least(label, value, at_least, **known)
    return Bar.report(label, value, **known) if at_most is None else Bar.at_most(label, value, at_most, **known)


class _Timed:
    """A backend that knows how long its decoding took."""

    def __init__(self, backend):
        self._backend = backend
        self.latent_shape, self.schedule, self.fingerprint = backend.latent_shape, backend.schedule, backend.fingerprint
        self.encode, self.denoise = backend.encode, backend.denoise
        self.decoding_s = 0.0

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Turn latents into pictures uint8[B, side, side, 3]."""
        began_s = time.process_time()
        pictures = self._backend.decode(latents)
        self.decoding_s += time.process_time() - began_s
        return pictures


@dataclass(eq=False)
class _Work:
    """The same steps done in several ways; each returns steps of pictures per second of processor time."""

    backend: _Timed
    sampling: tuple[str, float]

    def requests(self, count: int) -> Iterator:
        """Requests with the step counts of the mix, in a shuffled order that is the same every time."""
        from edgegen.generate.engine import EngineRequest

        steps = np.random.default_rng(SEED).permutation(np.resize(MIX, count))
        for number in range(count):
            yield EngineRequest(str(number), PROMPT, int(steps[number]), number, *self.sampling)

    def static(self) -> float:
        """Eight pictures with as many steps in all as the mix has, the same number for each."""
        steps = sum(MIX) * TOGETHER // len(MIX) // TOGETHER
        began_s = time.process_time()
        static_batch(self.backend, self.sampling, steps)
        return steps * TOGETHER / (time.process_time() - began_s)

    def drained(self, places: int, between: Callable | None = None) -> float:
        """The mix of eight from the first step to the last picture; decoding of previews is not counted."""
        from edgegen.generate.engine import Engine

        began_s, seen_s = time.process_time(), self.backend.decoding_s
        engine, total, decoded_s = Engine(self.backend, places), 0, 0.0
        for request in self.requests(TOGETHER):
            total += request.steps
            engine.submit(request, due_s=None if between is None else time.monotonic() + 60)
        while len(engine):
            events = engine.step()
            if between is not None:
                seen_s = self.backend.decoding_s
                between(engine, [event for event in events if not event.finished])
                decoded_s += self.backend.decoding_s - seen_s
        return total / (time.process_time() - began_s - decoded_s)

    def stream(self) -> float:
        """Eight under way at any time, each replaced when it is finished; until there is none left to replace it."""
        from edgegen.generate.engine import Engine

        requests = self.requests(STREAM)
        engine, total = Engine(self.backend, TOGETHER), 0
        began_s = time.process_time()
        for request, _ in zip(requests, range(TOGETHER), strict=False):
            engine.submit(request)
        while True:
            for event in engine.step():
                total += 1
                if event.finished:
                    following = next(requests, None)
                    if following is None:
                        return total / (time.process_time() - began_s)
                    engine.submit(following)

    def bare(self) -> float:
        """The network's passes and decoding of `drained` alone: what no engine can exceed, for the batch shrinks at its end."""
        steps = np.sort(np.resize(MIX, TOGETHER))
        began_s = time.process_time()
        for done in range(steps[-1]):
            left = int((steps > done).sum())
            self._pass(left)
            if ended := left - int((steps > done + 1).sum()):
                self.backend.decode(np.zeros((ended, *self.backend.latent_shape), np.float32))
        return float(steps.sum()) / (time.process_time() - began_s)

    def passes(self, pictures: int) -> float:
        """Nothing but passes of the network."""
        count = 2 * TOGETHER // pictures
        began_s = time.process_time()
        for _ in range(count):
            self._pass(pictures)
        return count * pictures / (time.process_time() - began_s)

    def _pass(self, pictures: int) -> None:
        rows = pictures * (2 if self.sampling[1] > 1 else 1)
        self.backend.denoise(*self._feed(rows))

    @functools.cache  # noqa: B019
    def _feed(self, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        latents, text = np.zeros((rows, *self.backend.latent_shape), np.float32), self.backend.encode([PROMPT])
        return latents, np.full(rows, 500), np.repeat(text, rows, 0)

    def change_and_keep(self, engine, events) -> None:
        """Ask for the same number of steps after every step, and pack a checkpoint after every fourth."""
        for event in events:
            engine.retarget(event.id, event.steps)
            if event.step % KEEP_EVERY == 0:
                engine.checkpoint(event.id).to_bytes()

    def preview(self, engine, events) -> None:
        """Show every picture when half of its steps are done."""
        for event in events:
            if 2 * event.step == event.steps:
                engine.preview(event.id)


def static_batch(backend, sampling: tuple[str, float], steps: int) -> np.ndarray:
    """Make eight pictures uint8[8, side, side, 3] of the same number of steps on plain arrays, without an engine."""
    from edgegen.generate.samplers import SamplerState

    sampler, guidance = sampling
    path = SamplerState.start(sampler, steps, backend.schedule).path
    text = backend.encode([PROMPT] * TOGETHER)
    shape = backend.latent_shape
    latents = np.stack([np.random.default_rng(seed).standard_normal(shape, np.float32) for seed in range(TOGETHER)])
    both = np.concatenate([text, np.repeat(backend.encode([""]), TOGETHER, 0)]) if guidance > 1 else text
    previous = np.zeros_like(latents)
    for timestep, weights in zip(path.timesteps, path.weights, strict=True):
        asked = np.concatenate([latents, latents]) if guidance > 1 else latents
        answer = backend.denoise(asked, np.full(len(asked), timestep), both)
        if guidance > 1:
            plain = answer[TOGETHER:]
            answer = plain + np.float32(guidance) * (answer[:TOGETHER] - plain)
        clean = weights[0] * latents + weights[1] * answer
        latents = weights[2] * latents + weights[3] * answer + weights[4] * previous
        previous = clean
    return backend.decode(latents)
