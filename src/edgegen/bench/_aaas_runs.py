"""One training of `edgegen bench aaas`, in a process of its own so that its processor time is its own: one thread, 32 bits.

    python -m edgegen.bench._aaas_runs '{"learner": "ppo", "masked": false, "seed": 0, "cpu_s": 30, "instances": 0}'

Compilation is paid before the clock starts, and told apart. The last line of the output is JSON: see `Outcome`.
"""

import concurrent.futures
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
}
EPISODES = 32
POINTS = 20  # evaluations during a run


@dataclasses.dataclass(frozen=True)
class Run:
    """What is to be trained."""

    learner: str
    masked: bool
    seed: int
    cpu_s: float
    instances: int = 0  # drawn ones to train on; 0: the published one, in training and evaluation
    steps: float = 0.0  # environment steps; 0: no limit

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.learner}, masked" if self.masked else self.learner


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of it."""

    compile_s: float  # processor time of the first iterations, compilation included
    curve: list[dict[str, float]]  # steps, updates, cpu_s, reward of evaluations during the run and at its end

    @property
    def last(self) -> dict[str, float]:
        """The end of the run."""
        return self.curve[-1]

    def at(self, currency: str, amount: float) -> float:
        """Return the reward when so much was used up, linear between evaluations; the last one where it never was.

        NaN before the first evaluation: nothing is known of what was before.
        """
        spent = [row[currency] for row in self.curve]
        if amount < spent[0]:
            return float("nan")
        return float(np.interp(amount, spent, [row["reward"] for row in self.curve]))


def train_all(runs: Sequence[Run], progress: Callable[[str], None]) -> list[Outcome]:
    """Train side by side, one process per core, and return the outcomes in the order of the runs.

    **Raises** `subprocess.CalledProcessError` for a run that failed, with what it said.
    """
    began_s, done = time.monotonic(), 0

    def one(run: Run) -> Outcome:
        nonlocal done
        command = [sys.executable, "-m", __spec__.name, json.dumps(dataclasses.asdict(run))]
        answer = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ONE_THREAD})
        if answer.returncode:
            raise RuntimeError(f"{run} failed: {answer.stderr[-2000:]}")
        outcome, done = Outcome(**json.loads(answer.stdout.splitlines()[-1])), done + 1
        minutes = (time.monotonic() - began_s) / 60
        progress(
            f"{done} of {len(runs)} runs, {minutes:.0f} min: {run.name}, seed {run.seed}: {outcome.last['reward']:.0f}"
        )
        return outcome

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, runs))


def carry_out(run: Run) -> Outcome:
    """Train in this process."""
    import jax

    from edgegen.experiments import training
    from edgegen.learn.training import Budget, train

    learner, count = training.chosen(run.learner)
    place = training.on_providers(count, instances=run.instances, episodes=EPISODES, seed=run.seed, masked=run.masked)
    chunk = training.chunk(learner)
    key = jax.random.key(run.seed)
    first = Budget(steps=learner.steps_before + chunk * learner.steps_per_iteration)
    began_s = time.process_time()
    train(learner, place.environments, key=key, budget=first, chunk=chunk)
    compile_s = time.process_time() - began_s
    looks = _Looks(place.evaluate, run.cpu_s / POINTS) if run.instances == 0 else None
    budget = Budget(cpu_s=run.cpu_s, steps=run.steps or float("inf"))
    trained = train(learner, place.environments, key=key, budget=budget, chunk=chunk, evaluate=looks, evaluate_every=1)
    rows = [_plain(row, row.evaluation) for row in trained.curve if row.evaluation]
    final = _plain(trained.curve[-1], place.evaluate(trained.actor))
    return Outcome(compile_s=compile_s, curve=[*(row for row in rows if row["cpu_s"] < final["cpu_s"]), final])


class _Looks:
    """An evaluation that is only made every so many seconds of training; otherwise it says nothing."""

    def __init__(self, evaluate: Callable[[Any], Mapping[str, float]], every_s: float):
        self.evaluate, self.every_s = evaluate, every_s
        self.since_s, self.left_s = float("inf"), time.process_time()  # the first look is made at once

    def __call__(self, actor: Any) -> Mapping[str, float]:
        self.since_s += time.process_time() - self.left_s
        found: Mapping[str, float] = {}
        if self.since_s >= self.every_s:
            found, self.since_s = self.evaluate(actor), 0.0
        self.left_s = time.process_time()
        return found


def _plain(row: Any, evaluation: Mapping[str, float]) -> dict[str, float]:
    return {"steps": row.steps, "updates": row.updates, "cpu_s": row.cpu_s, "reward": evaluation["reward"]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dataclasses.asdict(carry_out(Run(**json.loads(sys.argv[1]))))) + "\n")
