"""The choice of a provider: rules, our own policy, and learners with equal budgets in three currencies.

Every learner is shown beside the rules and the same learner that may choose only where a task fits. Rewards are means of 32
evaluation episodes with the same random numbers for everybody; intervals are over seeds, or over instances for rules.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

from edgegen.bench._aaas_runs import EPISODES, Outcome, Run, train_all
from edgegen.core.result import Bar, median_interval

NAME = "aaas"
SUMMARY = (
    "choosing a provider: rules, our own policy, and learners with equal budgets; takes about 45 minutes on two cores"
)
SEEDS = 5
EQUAL_CPU_S, LONG_CPU_S = 15.0, 400.0
POOLS = 2000  # instances on which our own policy is compared
LEARNERS = (
    ("ppo", False),
    ("reinforce", False),
    ("double", False),
    ("double-published", False),
    ("rainbow", False),
    ("sac", False),
    ("d2sac", False),
    ("ppo", True),
    ("double", True),
    ("d2sac", True),
)
ON_DRAWN = (("ppo", False), ("double", False), ("d2sac", False), ("ppo", True), ("double", True), ("d2sac", True))
TRAINING_POOLS = 256
REFERENCE_UPDATES_PER_S = 8.5  # of the released code, one thread of a machine like that of our figures
UPDATES, TOGETHER = 31, 5  # samples, updates of each


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Measure everything."""
    return [*rule_bars(progress), *own_bars(progress), *update_bars(progress), *learner_bars(progress)]


def rule_bars(progress: Callable[[str], None]) -> list[Bar]:
    """The rules at five loads: the published rows and their order."""
    from edgegen.papers import aaas

    return aaas.claims(progress)


def own_bars(progress: Callable[[str], None]) -> list[Bar]:
    """Our own policy against the prophet and static rank, on the same episodes of many instances."""
    from edgegen.papers import aaas, provider_prices
    from edgegen.sim import arrivals

    progress(f"our own policy on {POOLS} instances at {len(aaas.LOADS_HZ)} loads")
    bars, length = [], max(arrivals.length_for(rate, aaas.EPISODE_S) for rate in aaas.LOADS_HZ)
    for rate in aaas.LOADS_HZ:  # in the same shapes: compiled once
        found = provider_prices.rewards(rate, instances=POOLS, seed=9000, length=length)
        bars += [Bar.of_mean(f"{rate:g}/s: {name}", rewards) for name, rewards in found.items()]
        if rate == aaas.RATE_HZ:
            bars += _own_at_the_usual_load(found)
    return bars


def _own_at_the_usual_load(found: dict[str, np.ndarray]) -> list[Bar]:
    prophet = found["prophet"].mean()
    share = found["prices-learned"].mean() / prophet
    shown = {name: Bar.of_mean(name, found[name]) for name in ("static-rank", "prices", "prices-learned")}
    best_of_rank = shown["static-rank"].high or 0.0
    return [
        Bar.of_mean("curves known: prices over prophet, paired", found["prices"] - found["prophet"], 0.0),
        Bar.at_least("curves unknown: prices-learned by prophet", share, 0.97, n=len(found["prophet"])),
        *(
            Bar.at_least(
                f"lower end of {name} over the upper end of static-rank",
                (shown[name].low or 0.0) - best_of_rank,
                0.0,
                n=POOLS,
            )
            for name in ("prices", "prices-learned")
        ),
    ]


def update_bars(progress: Callable[[str], None]) -> list[Bar]:
    """The update of the diffusion learner at its published size, one thread."""
    progress(f"{UPDATES} updates of D2SAC at its published size")
    rates = 1.0 / np.array(_update_times())
    low, high = median_interval(rates)
    ratio = float(np.median(rates)) / REFERENCE_UPDATES_PER_S
    return [
        Bar.report(
            "D2SAC, published size: updates", float(np.median(rates)), unit="1/s", n=len(rates), low=low, high=high
        ),
        Bar.at_least("D2SAC, published size: over the rate of the released code", ratio, 2.5, unit="x", n=len(rates)),
    ]


def _update_times() -> list[float]:
    """Processor times of updates in a process of one thread."""
    import json
    import os
    import subprocess
    import sys

    from edgegen.bench._aaas_runs import ONE_THREAD

    code = f"from edgegen.bench.aaas import measure_updates; import json; print(json.dumps(measure_updates({UPDATES})))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **ONE_THREAD}
    )
    return json.loads(answer.stdout.splitlines()[-1])


def measure_updates(count: int) -> list[float]:
    """Return the processor time of an update with 512 transitions, so many samples of `TOGETHER`, after compilation."""
    import jax
    import jax.numpy as jnp

    from edgegen.learn.batch import Batch
    from edgegen.learn.d2sac import D2SAC
    from edgegen.papers import aaas

    rows, features, actions = 512, 2 * aaas.PROVIDERS + 2, aaas.PROVIDERS
    keys = jax.random.split(jax.random.key(0), 5)
    everything = jnp.ones((rows, actions), dtype=bool)
    batch = Batch(
        observation=jax.random.uniform(keys[0], (rows, features)),
        allowed=everything,
        action=jax.random.randint(keys[1], (rows,), 0, actions, dtype=jnp.int32),
        reward=jax.random.normal(keys[2], (rows,)),
        next_observation=jax.random.uniform(keys[3], (rows, features)),
        next_allowed=everything,
        discount=jnp.full(rows, 0.95**3),
    )
    algorithm = D2SAC()
    params = algorithm.init_params(features, actions, key=keys[4])

    @jax.jit
    def several(params, keys):
        return jax.lax.scan(
            lambda params, key: (algorithm.update(params, batch, jnp.ones(rows), key=key)[0], None), params, keys
        )[0]

    times = []
    for keys in jax.random.split(jax.random.key(1), (count + 1, TOGETHER)):
        began_s = time.process_time()
        params = jax.block_until_ready(several(params, keys))
        times.append((time.process_time() - began_s) / TOGETHER)
    return times[1:]


def learner_bars(progress: Callable[[str], None]) -> list[Bar]:
    """Learners on the published instance with equal budgets, the diffusion learner for longer, learners on drawn instances."""
    runs = [Run(name, masked, seed, EQUAL_CPU_S) for name, masked in LEARNERS for seed in range(SEEDS)]
    runs += [Run("d2sac", False, seed, LONG_CPU_S) for seed in range(SEEDS)]
    runs += [Run(name, masked, seed, EQUAL_CPU_S, TRAINING_POOLS) for name, masked in ON_DRAWN for seed in range(SEEDS)]
    progress(f"{len(runs)} trainings, at least {sum(run.cpu_s for run in runs) / 60:.0f} minutes of processor time")
    outcomes = dict(zip(runs, train_all(runs, progress), strict=True))
    equal = {run: outcome for run, outcome in outcomes.items() if not run.instances and run.cpu_s == EQUAL_CPU_S}
    long = [outcome for run, outcome in outcomes.items() if run.cpu_s == LONG_CPU_S]
    drawn = {run: outcome for run, outcome in outcomes.items() if run.instances}
    return [*_beside(0), *_fast(equal), *_long(long), *_equal(equal), *_beside(TRAINING_POOLS), *_on_drawn(drawn)]


def _beside(instances: int) -> list[Bar]:
    """The rules on the evaluation episodes of the learners' first seed."""
    from edgegen.experiments import training

    place = training.on_providers(1, instances=instances, episodes=EPISODES, seed=0, masked=False)
    where = "held-out instances" if instances else "published instance"
    found = {name: of["reward"] for name, of in place.measure(place.rules).items()}
    return [
        Bar.of_mean(f"{where}: {name}", row[0] if len(row) == 1 else row.mean(axis=1)) for name, row in found.items()
    ]


def _fast(equal: dict[Run, Outcome]) -> list[Bar]:
    bars = []
    for masked, goal, within_s in ((False, 500.0, 15.0), (True, 543.0, 4.0)):
        mine = [outcome for run, outcome in equal.items() if (run.learner, run.masked) == ("ppo", masked)]
        rewards = np.array([outcome.at("cpu_s", within_s) for outcome in mine])
        name = "ppo, masked" if masked else "ppo"
        bars.append(Bar.of_mean(f"{name}: reward after {within_s:g} CPU-s", rewards, goal))
        compile_s = statistics.median(outcome.compile_s for outcome in mine)
        bars.append(Bar.report(f"{name}: compilation and first iterations", compile_s, unit="CPU-s", n=len(mine)))
    return bars


def _long(long: list[Outcome]) -> list[Bar]:
    rewards = np.array([outcome.last["reward"] for outcome in long])
    steps = statistics.mean(outcome.last["steps"] for outcome in long)
    return [
        Bar.of_mean(f"d2sac: reward after {LONG_CPU_S:g} of 600 CPU-s", rewards, 500.0),
        Bar.report("d2sac: environment steps in that time", steps, n=len(long)),
        Bar.of_mean("d2sac: the same, beside the published 537", rewards - 537.0),
    ]


def _equal(equal: dict[Run, Outcome]) -> list[Bar]:
    """The reward when as much of each currency was used up as the most frugal run of a tuned learner used in all.

    Those at published sizes take hundreds of times fewer steps in that time: what they have at their end is shown.
    """
    tuned = [outcome for run, outcome in equal.items() if not run.learner.endswith("-published")]
    currencies = ("steps", "updates", "cpu_s")
    least = {currency: min(outcome.last[currency] for outcome in tuned) for currency in currencies}
    words = {"steps": "environment steps", "updates": "gradient steps", "cpu_s": "CPU-s"}
    bars = []
    for currency, amount in least.items():
        for name, masked in LEARNERS:
            mine = {run: outcome for run, outcome in equal.items() if (run.learner, run.masked) == (name, masked)}
            rewards = np.array([outcome.at(currency, amount) for outcome in mine.values()])
            bars.append(Bar.of_mean(f"{next(iter(mine)).name}: reward after {amount:,.0f} {words[currency]}", rewards))
    return bars


def _on_drawn(drawn: dict[Run, Outcome]) -> list[Bar]:
    bars = []
    for name, masked in ON_DRAWN:
        mine = {run: outcome for run, outcome in drawn.items() if (run.learner, run.masked) == (name, masked)}
        rewards = np.array([outcome.last["reward"] for outcome in mine.values()])
        bars.append(Bar.of_mean(f"held-out instances: {next(iter(mine)).name}, {EQUAL_CPU_S:g} CPU-s", rewards))
    return bars
