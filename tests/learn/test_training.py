"""The driver: budgets, curves, and runs that go on from a checkpoint as if nothing had happened."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.core.errors import EdgegenError, InputError
from edgegen.learn import buffers, checkpoint, dqn, off_policy, records, rollout, training
from edgegen.sim import epochs, probes
from edgegen.sim.environment import Observation

KEY = jax.random.key(0)
PROBE = probes.probes()["credit"]


def learner_of(**parts):
    algorithm = dqn.DQN(**{"hidden": (4,), "sync": dqn.Every(5)} | parts)
    sizes = {"environments": 2, "steps": 2, "updates": 3, "batch": 4, "warm_up": 8, "n": 2}
    return off_policy.OffPolicy(algorithm, buffers.Prioritised(32), probes.GAMMA, **sizes)


LEARNER, TWO = learner_of(), rollout.repeat(PROBE.environment, 2)


def run(iterations=30, **options):
    usual = {"key": KEY, "budget": training.Budget(steps=8 + 4 * iterations), "chunk": 10}
    return training.train(LEARNER, TWO, **usual | options)


def weights(trained):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(trained.state.params)]


# ------------------------------------------------------------------------------------------------------------- budgets


@pytest.mark.parametrize(
    ("budget", "stopped", "iterations"),
    [
        (
            {"steps": 8 + 4 * 25 + 3},
            "steps",
            25,
        ),  # the last chunk is a short one; 3 steps are not enough for an iteration
        ({"updates": 36}, "updates", 12),
        ({"updates": 36, "steps": 20}, "steps", 3),
        ({"updates": 36, "cpu_s": 1e-9}, "cpu_s", 10),  # the chunk in which it runs out is finished
    ],
)
def test_training_stops_at_the_first_budget_that_runs_out(budget, stopped, iterations):
    trained = run(budget=training.Budget(**budget))
    last = trained.curve[-1]
    assert (trained.stopped, last.iterations) == (stopped, iterations)
    assert (last.steps, last.updates) == (8 + 4 * iterations, 3 * iterations)
    assert int(trained.state.params.updates) == last.updates


@pytest.mark.parametrize(
    ("budget", "sentence"),
    [
        ({}, "a budget needs an end"),
        ({"steps": -1}, "steps must be > 0, got -1"),
        ({"updates": float("nan")}, "updates must be > 0, got nan"),
        ({"steps": 11}, "does not allow for a single iteration"),
    ],
)
def test_a_budget_without_sense_is_refused(budget, sentence):
    with pytest.raises(InputError, match=sentence):
        run(budget=training.Budget(**budget))


def test_a_curve_counts_three_currencies_and_evaluates_now_and_then_and_at_the_end():
    seen, asked = [], []

    def evaluate(actor):
        asked.append(actor)
        return {"reward": 1.0}

    trained = run(50, evaluate=evaluate, evaluate_every=2, progress=seen.append)
    assert seen == trained.curve
    assert [row.iterations for row in seen] == [10, 20, 30, 40, 50]
    assert [row.steps for row in seen] == [48, 88, 128, 168, 208]
    assert [row.updates for row in seen] == [30, 60, 90, 120, 150]
    assert [row.evaluation for row in seen] == [None, {"reward": 1.0}, None, {"reward": 1.0}, {"reward": 1.0}]
    assert 0 < seen[0].cpu_s < seen[-1].cpu_s
    assert set(seen[0].metrics) == {"loss", "error", "value", "reward"}
    assert len(asked) == 3


def test_an_actor_is_evaluated_on_the_same_episodes_every_time():
    keys = jax.random.split(KEY, (1, 5))
    evaluate = training.evaluation_of(epochs.stack([PROBE.world]), PROBE.environment.codec, keys)
    best, worst = (evaluate(_Always(action)) for action in (1, 0))
    assert best["epochs"] == worst["epochs"] == 2
    assert best["reward"] == pytest.approx(-1.0)  # to the third situation, and there the second action costs 1
    assert worst["reward"] == pytest.approx(0.2)
    assert best["reward_sd"] == 0
    assert evaluate(_Always(1)) == best


class _Always(eqx.Module):
    action: int

    def __call__(self, observation: Observation, key):
        return jnp.int32(self.action)


def test_a_training_that_goes_astray_says_so():
    endless = eqx.tree_at(lambda two: two.world.earns, TWO, jnp.full_like(TWO.world.earns, jnp.inf))
    with pytest.raises(EdgegenError, match=r"went astray before step 48: .*loss is (nan|inf).*lower the learning rate"):
        training.train(LEARNER, endless, key=KEY, budget=training.Budget(updates=90), chunk=10)


# --------------------------------------------------------------------------------------------------------- checkpoints


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tmp_path):
    saving = training.Saving(tmp_path / "run.checkpoint", every=1)
    whole = run(30)
    half = run(20, saving=saving)
    assert weights(half) != weights(whole)
    resumed = run(30, saving=saving)
    assert weights(resumed) == weights(whole)
    assert eqx.tree_equal(resumed.state, whole.state)  # memory, environments and key included
    assert [dataclasses.replace(row, cpu_s=0) for row in resumed.curve] == [
        dataclasses.replace(row, cpu_s=0) for row in whole.curve
    ]
    assert resumed.curve[:2] == half.curve
    assert resumed.curve[2].cpu_s > half.curve[-1].cpu_s
    finished = run(30, saving=saving)  # nothing is left to do
    assert finished.curve == resumed.curve
    assert os.listdir(tmp_path) == ["run.checkpoint"]


KILLED = """
import sys, jax
jax.config.update("jax_enable_x64", True)
sys.path.insert(0, {tests!r})
from pathlib import Path
from learn import test_training as tests

def progress(row):
    print(row.iterations, flush=True)

tests.run(100_000, progress=progress, saving=tests.training.Saving(Path(sys.argv[1]), every=1))
"""


def test_a_run_that_was_killed_goes_on_to_the_same_weights(tmp_path):
    path = tmp_path / "run.checkpoint"
    script = KILLED.format(tests=str(Path(__file__).parents[1]))
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        while (line := process.stdout.readline()) and int(line) < 50:
            pass
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    reached = json.loads(path.read_bytes().split(b"\n", 1)[0])["curve"][-1]["iterations"]
    assert reached >= 50
    saving = training.Saving(path, every=1)
    assert weights(run(reached + 20, saving=saving)) == weights(run(reached + 20))


def test_a_checkpoint_says_what_it_is(tmp_path):
    run(10, saving=training.Saving(tmp_path / "a.checkpoint"))
    header = json.loads((tmp_path / "a.checkpoint").read_bytes().split(b"\n", 1)[0])
    assert (header["format"], header["version"]) == ("edgegen-checkpoint", 1)
    assert header["config"]["learner.algorithm.rate"] == 1e-3
    assert header["config"]["learner.memory"] == "Prioritised"
    assert header["config"]["environments.codec.weights.earned"] == "float64[2] all 1.0"


def test_a_checkpoint_of_another_training_is_refused_with_what_differs(tmp_path):
    saving = training.Saving(tmp_path / "a.checkpoint")
    run(10, saving=saving)
    other = learner_of(rate=0.5, chooser=dqn.double)
    sentence = (
        r"learner.algorithm.rate is 0.5, there 0.001; "
        r"learner.algorithm.chooser is edgegen.learn.dqn.double, there edgegen.learn.dqn.alone\. Go on with its settings"
    )
    with pytest.raises(InputError, match=sentence):
        training.train(other, TWO, key=KEY, budget=training.Budget(updates=90), saving=saving)
    elsewhere = rollout.repeat(probes.probes()["end"].environment, 2)
    with pytest.raises(InputError, match=r"environments.world.earns is float64\[2, 4, 3\] [0-9a-f]{16}, there float64"):
        training.train(LEARNER, elsewhere, key=KEY, budget=training.Budget(updates=90), saving=saving)
    with pytest.raises(InputError, match="key is "):
        run(20, key=jax.random.key(1), saving=saving)


def spoil(path, how):
    path.write_bytes(how(path.read_bytes()))


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (lambda data: data[:-9], "is cut off: .* bytes of arrays are there"),
        (lambda data: data[:-9] + b"x" * 9, "is damaged"),
        (
            lambda data: data.replace(b'"version":1', b'"version":9', 1),
            "version 9 of the format edgegen-checkpoint, this release",
        ),
        (
            lambda data: data.replace(b"edgegen-checkpoint", b"edgegen-agent", 1),
            "is not of the format edgegen-checkpoint, it says",
        ),
        (lambda data: b"\x80\x04" + data, "is not of the format edgegen-checkpoint"),
        (lambda data: b"", "is not of the format edgegen-checkpoint"),
    ],
)
def test_a_damaged_checkpoint_is_refused(how, sentence, tmp_path):
    path = tmp_path / "a.checkpoint"
    checkpoint.save(path, {}, {"a": jnp.arange(5)}, [])
    like = {"a": jnp.arange(5)}
    state, curve = checkpoint.load(path, {}, like)
    assert eqx.tree_equal(state, like)
    assert curve == []
    spoil(path, how)
    with pytest.raises(InputError, match=sentence):
        checkpoint.load(path, {}, like)


def test_settings_tell_every_number_by_its_path():
    told = records.settings(LEARNER)
    assert told[""] == "OffPolicy"
    assert told["algorithm.hidden.0"] == 4
    assert told["algorithm.worth"] == "Scalar"
    assert told["n"] == 2
    assert records.differences(told, told) == []
