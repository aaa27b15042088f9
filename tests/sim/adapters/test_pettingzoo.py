import jax
import numpy as np
import pytest
from pettingzoo.test import parallel_api_test

from edgegen.core.errors import InputError
from edgegen.experiments import environments
from edgegen.papers import industrial_marl
from edgegen.sim.adapters.parallel import ParallelEnv
from edgegen.sim.adapters.single import SingleEnv
from edgegen.sim.environment import Environment


@pytest.fixture(scope="module")
def devices():
    return environments.offloading_devices(devices=3, servers=2, slots=7)


def test_pettingzoo_finds_nothing_wrong(devices, capsys):
    parallel_api_test(devices, num_cycles=20)
    assert "Passed" in capsys.readouterr().out


def play(devices, seed):
    observations, infos = devices.reset(seed=seed)
    seen, rewards = [observations], []
    while devices.agents:
        actions = {agent: int(infos[agent]["action_mask"].argmax()) for agent in devices.agents}
        observations, reward, terminated, truncated, infos = devices.step(actions)
        seen.append(observations)
        rewards.append(reward)
        assert not any(terminated.values())
    assert all(truncated.values())
    return seen, rewards


def test_a_seed_gives_the_same_episode_of_as_many_slots_and_one_reward_for_all(devices):
    (first, rewards), (again, _), (other, _) = (play(devices, seed) for seed in (1, 1, 2))
    assert len(rewards) == 7
    assert all(len(set(reward.values())) == 1 for reward in rewards)
    for one, two in zip(first, again, strict=True):
        for agent, observation in one.items():
            np.testing.assert_array_equal(observation, two[agent])
    assert (first[0]["agent_0"] != other[0]["agent_0"]).any()


def test_the_state_is_what_all_see(devices):
    observations, _ = devices.reset(seed=3)
    np.testing.assert_array_equal(devices.state(), np.concatenate(list(observations.values())))


def test_mistakes_are_told(devices):
    devices.reset(seed=0)
    with pytest.raises(InputError, match="no action for agent_1, agent_2"):
        devices.step({"agent_0": 0})
    play(devices, 0)
    with pytest.raises(InputError, match="call reset first"):
        devices.step({})
    with pytest.raises(InputError, match="one agent decides here"):
        ParallelEnv(environments.provider_selection())
    world = industrial_marl.draw(jax.random.key(0), devices=3)
    with pytest.raises(InputError, match="3 agents decide here"):
        SingleEnv(Environment(world, industrial_marl.CODEC))
