"""The simulator: how many decisions per second one core simulates, beside a plain event simulation of the same episodes."""

import time
from collections.abc import Callable

import numpy as np

from edgegen.core.result import Bar, median_interval

NAME = "sim"
SUMMARY = "the simulator: decisions per second on one core, beside a plain event simulation of the same episodes"
INSTANCES, RUNS = 64, 15


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Simulate the same episodes both ways in turns; takes about half a minute. Times are processor time of the process."""
    import jax

    from edgegen.bench._sim_reference import most_free, serve
    from edgegen.papers import aaas
    from edgegen.sim import epochs

    progress(f"{INSTANCES} instances, one episode each, {RUNS} times both ways")
    worlds = epochs.stack([aaas.draw(key) for key in jax.random.split(jax.random.key(0), INSTANCES)])
    episodes = epochs.draw_many(worlds, jax.random.split(jax.random.key(1), (INSTANCES, 1)))
    runs = epochs.play_many(worlds, aaas.crash_avoid, episodes)
    plain = [(providers(worlds, row), tasks(runs, row)) for row in range(INSTANCES)]
    steps = sum(len(served) for _, served in plain)

    def compiled() -> np.ndarray:
        ledger = epochs.totals(worlds, aaas.crash_avoid, episodes)
        return np.asarray(epochs.reward(ledger, aaas.WEIGHTS), dtype=float)[:, 0]

    def slow() -> np.ndarray:
        return np.array([sum(serve(*episode, most_free)[0]) for episode in plain])

    first_s, ours = _timed(compiled)
    fast_s, slow_s = np.zeros(RUNS), np.zeros(RUNS)
    theirs = ours
    for number in range(RUNS):
        fast_s[number], ours = _timed(compiled)
        slow_s[number], theirs = _timed(slow)
    return [
        _rate("compiled, crash-avoid", steps / fast_s, "decisions/s"),
        _rate("plain events, crash-avoid", steps / slow_s, "decisions/s"),
        _rate("compiled over plain, in the same run", slow_s / fast_s, "x"),
        Bar.report("first call, compilation included", first_s, unit="s"),
        Bar.at_most("largest difference in the reward of an episode", abs(ours - theirs).max(), 0.01, n=INSTANCES),
    ]


def providers(worlds, row: int) -> list:
    """Return an instance of a stack as plain numbers."""
    from edgegen.bench._sim_reference import Provider

    columns = (worlds.capacity, worlds.a_x, worlds.a_y, worlds.b_x, worlds.b_y)
    return [
        Provider(*map(float, numbers)) for numbers in zip(*(np.asarray(column)[row] for column in columns), strict=True)
    ]


def tasks(runs, row: int) -> list[tuple[float, float]]:
    """Return what happened in the first episode of an instance as (arrival in seconds, steps)."""
    live = np.asarray(runs.live)[row, 0]
    at_s, steps = (np.asarray(column)[row, 0][live] for column in (runs.events.at_s, runs.events.steps))
    return list(zip(at_s.tolist(), steps.tolist(), strict=True))


def _timed(function: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    began_s = time.process_time()
    result = function()
    return time.process_time() - began_s, result


def _rate(name: str, samples: np.ndarray, unit: str) -> Bar:
    low, high = median_interval(samples)
    return Bar.report(f"{name}: median", float(np.median(samples)), unit=unit, n=len(samples), low=low, high=high)
