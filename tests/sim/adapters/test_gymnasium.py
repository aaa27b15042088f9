"""Environments for Gymnasium: its own checker, and the same numbers as `Environment.step`."""

import subprocess
import sys

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from edgegen.core.errors import InputError
from edgegen.experiments import environments
from edgegen.papers import aaas
from edgegen.sim import epochs
from edgegen.sim.adapters.single import SingleEnv
from edgegen.sim.adapters.vector import VectorEnv
from edgegen.sim.environment import Environment

NAME = "edgegen/MaskedProviderSelection-v0"
RATE_HZ = 3e-5  # about 30 tasks per episode


@pytest.fixture(scope="module")
def environment():
    return environments.masked_provider_selection(instance=3, rate_hz=RATE_HZ)


@pytest.fixture(scope="module")
def single(environment):
    return SingleEnv(environment, limits=(0.0, 1.0))


@pytest.fixture(scope="module")
def vector(environment):
    return VectorEnv(environment, num_envs=3, limits=(0.0, 1.0))


def test_gymnasium_finds_nothing_wrong():
    check_env(gymnasium.make(NAME, instance=3, rate_hz=RATE_HZ).unwrapped)


def test_the_environment_has_a_name_for_one_and_for_many():
    one = gymnasium.make(f"edgegen.experiments.environments:{NAME}", rate_hz=RATE_HZ)
    many = gymnasium.make_vec(NAME, num_envs=2, rate_hz=RATE_HZ)
    assert one.observation_space == many.single_observation_space
    assert one.observation_space.shape == (42,)
    assert (many.num_envs, many.action_space.shape) == (2, (2,))


def test_every_number_is_that_of_the_environment_itself(environment, single):
    """The keys are split as the adapter does it; nothing else is repeated here."""
    going, now = jax.random.split(jax.random.key(5))
    moment, seen = environment.reset(now)
    observation, info = single.reset(seed=5)
    step, ended = eqx.filter_jit(environment.step), 0
    for number in range(60):
        np.testing.assert_array_equal(observation, np.asarray(seen.features, np.float32))
        np.testing.assert_array_equal(info["action_mask"], seen.allowed)
        action = (7 * number) % 20
        going, now = jax.random.split(going)
        moment, came = step(moment, jnp.int32(action), now)
        observation, reward, terminated, truncated, info = single.step(action)
        np.testing.assert_array_equal(observation, np.asarray(came.final.features, np.float32))
        np.testing.assert_array_equal(single.action_masks(), came.final.allowed)
        assert reward == pytest.approx(float(came.reward))  # compiled twice, a sum may be rounded in two ways
        assert (terminated, truncated) == (bool(came.terminated), bool(came.truncated))
        assert info["ledger"] == pytest.approx({name: float(entry) for name, entry in came.ledger.items()})
        if came.ended:
            ended += 1
            break
        seen = came.observation
    assert ended == 1
    assert truncated
    assert not terminated


def test_many_environments_are_single_ones_side_by_side(environment, single, vector):
    observations, infos = vector.reset(seed=20)
    rows = []
    for _ in range(12):
        actions = infos["action_mask"].argmax(axis=1)
        *came, infos = vector.step(actions)
        rows.append((actions, came))
    for row in range(3):
        seen, _ = single.reset(seed=20 + row)
        np.testing.assert_array_equal(seen, observations[row])
        for actions, came in rows:
            for one, many in zip(single.step(actions[row])[:4], came, strict=True):
                np.testing.assert_allclose(one, many[row], rtol=1e-12)


def test_where_an_episode_ends_the_next_one_begins_and_the_last_observation_is_told(vector):
    vector.reset(seed=1)
    ended = np.zeros(3, int)
    for _ in range(120):
        observations, _, terminated, truncated, infos = vector.step(np.array([0, 5, 9]))
        assert not terminated.any()
        assert ("final_obs" in infos) == truncated.any()
        for row in np.flatnonzero(truncated):
            assert infos["_final_obs"][row]
            assert vector.single_observation_space.contains(infos["final_obs"][row])
            assert (observations[row][1:40:2] == 1).all()  # nothing runs in a new episode
        ended += truncated
    assert (ended > 1).all()


def test_without_a_seed_every_episode_is_another_one_and_with_it_the_same(single, vector):
    for env in (single, vector):
        first, _ = env.reset(seed=4)
        others = [env.reset()[0] for _ in range(4)]
        again, _ = env.reset(seed=4)
        np.testing.assert_array_equal(first, again)
        assert len(np.unique([first, *others], axis=0)) > 1


def test_stacked_instances_are_stepped_with_their_own_numbers():
    worlds = [aaas.draw(jax.random.key(number), rate_hz=RATE_HZ) for number in range(2)]
    many = VectorEnv(Environment(epochs.stack(worlds), aaas.CODEC))
    seen, _ = many.reset(seed=[9, 9])
    np.testing.assert_allclose(seen[:, 0:40:2] * 900, [world.capacity for world in worlds], rtol=1e-6)
    assert (many.step(np.array([1, 1]))[0][0] != many.step(np.array([1, 1]))[0][1]).any()


def test_a_rule_that_looks_at_everything_can_be_asked(environment, single, vector):
    rule, rules = single.chooser(aaas.prophet), vector.chooser(aaas.prophet)
    single.reset(seed=30)
    vector.reset(seed=30)
    for _ in range(10):
        action, actions = rule(), rules()
        assert action == actions[0]
        assert single.action_masks()[action]
        _, reward, *_ = single.step(action)
        _, rewards, *_ = vector.step(actions)
        assert reward == pytest.approx(rewards[0])


def test_what_is_no_action_is_refused_with_a_word(environment, single):
    single.reset(seed=0)
    with pytest.raises(InputError, match="actions are 0 to 19, got"):
        single.step(20)
    with pytest.raises(InputError, match="call reset first"):
        SingleEnv(environment).step(0)
    with pytest.raises(InputError, match="expected 3 seeds, got 2"):
        VectorEnv(environment, num_envs=3).reset(seed=[1, 2])
    with pytest.raises(InputError, match="at least one environment"):
        VectorEnv(environment, num_envs=0)


def test_the_simulator_and_the_papers_do_without_gymnasium():
    script = "import sys, edgegen.papers.aaas, edgegen.sim.adapters.machine, edgegen.sim.adapters.strangers"
    script += "\nprint([name for name in ('gymnasium', 'pettingzoo') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
