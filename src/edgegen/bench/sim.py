"""The simulator: how many decisions per second one core simulates, compiled, plainly, and through the doors for learners."""

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from edgegen.core.result import Bar, median_interval

NAME = "sim"
SUMMARY = "the simulator: decisions per second on one core, compiled, in plain events, and as environments for learners"
INSTANCES, RUNS = 64, 15
ENVIRONMENTS, STEPS = 1024, 128  # of a rollout
CALLS = {"single": (1, 1000, 5e3), "vector of 64": (64, 200, 50e3)}  # environments, calls per run, goal in steps/s


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Measure all of it; takes about a minute. Times are processor time of the process."""
    return [*_episodes(progress), *_rollouts(progress), *_adapters(progress)]


def _episodes(progress: Callable[[str], None]) -> list[Bar]:
    """The same episodes compiled and plainly, in turns."""
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
    rewards = jax.jit(lambda given: epochs.reward(epochs.totals(worlds, aaas.crash_avoid, given), aaas.WEIGHTS))

    def compiled() -> np.ndarray:
        return np.asarray(rewards(episodes), dtype=float)[:, 0]

    def whole() -> np.ndarray:
        ledger = epochs.totals(worlds, aaas.crash_avoid, episodes)
        return np.stack([np.asarray(entries) for entries in ledger.values()])

    def slow() -> np.ndarray:
        return np.array([sum(serve(*episode, most_free)[0]) for episode in plain])

    first_s, ours = _timed(compiled)
    whole()
    fast_s, whole_s, slow_s = (np.zeros(RUNS) for _ in range(3))
    theirs = ours
    for number in range(RUNS):
        fast_s[number], ours = _timed(compiled)
        whole_s[number], _ = _timed(whole)
        slow_s[number], theirs = _timed(slow)
    return [
        _rate("compiled, crash-avoid, rewards", steps / fast_s, "decisions/s"),
        _rate("compiled, crash-avoid, whole ledger", steps / whole_s, "decisions/s"),
        _rate("plain events, crash-avoid", steps / slow_s, "decisions/s"),
        _rate("compiled over plain, in the same run", slow_s / fast_s, "x"),
        Bar.report("first call, compilation included", first_s, unit="s"),
        Bar.at_most("largest difference in the reward of an episode", abs(ours - theirs).max(), 0.01, n=INSTANCES),
    ]


def _rollouts(progress: Callable[[str], None]) -> list[Bar]:
    """Steps with restarts, observations and rewards, as learners take them, with actions at random."""
    import jax

    from edgegen.learn import rollout
    from edgegen.papers import aaas
    from edgegen.sim.environment import Environment

    progress(f"{ENVIRONMENTS} environments, {STEPS} steps, {RUNS} times")
    environments = rollout.repeat(Environment(aaas.published_pool(), aaas.CODEC), ENVIRONMENTS)

    def act(seen, key):
        return jax.random.randint(key, (ENVIRONMENTS,), 0, aaas.PROVIDERS), None

    def taken(place, key):
        place, happened = rollout.roll(environments, act, place, key, length=STEPS)
        step = happened.step
        return place, (happened.observation, happened.action, step.reward, step.terminated, step.truncated)

    roll = jax.jit(taken)

    def play(seed: int) -> np.ndarray:
        _, steps = roll(rollout.begin(environments, jax.random.key(seed)), jax.random.key(seed + 1))
        return np.concatenate([np.asarray(leaf).reshape(-1).view(np.uint8) for leaf in jax.tree.leaves(steps)])

    first, again = play(3), play(3)
    place = rollout.begin(environments, jax.random.key(0))
    times_s = np.zeros(RUNS)
    for number in range(RUNS):
        times_s[number], (place, _) = _timed(
            lambda *at: jax.block_until_ready(roll(*at)), place, jax.random.key(number)
        )
    return [
        _rate(f"environment in graph, {ENVIRONMENTS} at once", ENVIRONMENTS * STEPS / times_s, "steps/s", 1.5e6),
        Bar.at_most(
            "bytes that differ after the same seed", float((first != again).sum()), 0, unit="bytes", n=first.size
        ),
    ]


def _adapters(progress: Callable[[str], None]) -> list[Bar]:
    """Steps from Python through Gymnasium's interface."""
    if importlib.util.find_spec("gymnasium") is None:
        progress("gymnasium is not installed: its bars are left out (pip install edgegen[gym])")
        return []
    from edgegen.papers import aaas
    from edgegen.sim.adapters.single import SingleEnv
    from edgegen.sim.adapters.vector import VectorEnv
    from edgegen.sim.environment import Environment

    environment, bars = Environment(aaas.published_pool(), aaas.CODEC), []
    made = {"single": SingleEnv(environment), "vector of 64": VectorEnv(environment, num_envs=64)}
    for name, env in made.items():
        count, calls, goal = CALLS[name]
        progress(f"gymnasium, {name}: {calls} calls, {RUNS} times")
        shape = (calls, count) if count > 1 else (calls,)
        actions, times_s = np.random.default_rng(0).integers(aaas.PROVIDERS, size=shape), np.zeros(RUNS)
        env.reset(seed=0)
        _walk(env, actions)
        for number in range(RUNS):
            times_s[number], _ = _timed(_walk, env, actions)
        bars.append(_rate(f"gymnasium, {name}", count * calls / times_s, "steps/s", goal))
    return bars


def _walk(env: Any, actions: np.ndarray) -> None:
    many = actions.ndim > 1
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if not many and (terminated or truncated):
            env.reset()


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


def _timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    began_s = time.process_time()
    result = function(*arguments)
    return time.process_time() - began_s, result


def _rate(name: str, samples: np.ndarray, unit: str, goal: float | None = None) -> Bar:
    """The median with its interval; with a goal, the median should reach it."""
    low, high = median_interval(samples)
    of = {"unit": unit, "n": len(samples), "low": low, "high": high}
    if goal is None:
        return Bar.report(f"{name}: median", float(np.median(samples)), **of)
    return Bar.at_least(f"{name}: median", float(np.median(samples)), goal, **of)
