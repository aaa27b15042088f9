"""Learners and policies of other projects, and ours in their loops."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.experiments import environments
from edgegen.papers import aaas
from edgegen.sim import epochs, evaluation
from edgegen.sim.adapters import strangers
from edgegen.sim.adapters.single import SingleEnv

RATE_HZ = 1e-4


def most_free(seen, key):
    """`crash_avoid` again, from what a learner sees."""
    features = seen.features[:40].reshape(20, 2)
    return (features[:, 0] * features[:, 1]).argmax().astype(jnp.int32)


@pytest.fixture(scope="module")
def environment():
    return environments.provider_selection(instance=1, rate_hz=RATE_HZ)


class MostFree:
    """The same as a predictor in NumPy."""

    calls = 0

    def predict(self, observation, deterministic=False):
        self.calls += 1
        features = np.asarray(observation)[..., :40].reshape(-1, 20, 2)
        return (features[..., 0] * features[..., 1]).argmax(axis=-1), None


def test_a_predictor_of_others_is_a_policy_in_our_simulator(environment):
    worlds = epochs.stack([environment.world])
    predictor = MostFree()
    policies = {
        "theirs": strangers.policy(predictor, environment.codec, deterministic=True),
        "ours": environment.codec.policy(most_free),
    }
    keys = jax.random.split(jax.random.key(0), (1, 3))
    found = evaluation.evaluate(worlds, policies, keys, weights=aaas.WEIGHTS)
    np.testing.assert_allclose(found["theirs"]["reward"], found["ours"]["reward"])
    assert found["theirs"]["reward"].shape == (1, 3)
    assert predictor.calls <= environment.world.length + 2  # for all episodes at once


def test_an_actor_of_ours_plays_in_their_loop(environment):
    env, guest = SingleEnv(environment), strangers.Guest(most_free, actions=20)
    observation, _ = env.reset(seed=8)
    ended, theirs = False, MostFree()
    while not ended:
        action, _ = guest.predict(observation)
        assert action == theirs.predict(observation)[0][0]
        observation, _, terminated, truncated, info = env.step(action)
        assert info["ledger"]["crashes"] == 0
        ended = terminated or truncated
    assert guest.predict(np.stack([observation] * 3))[0].shape == (3,)


def test_a_guest_keeps_to_the_mask_it_is_given():
    def first_allowed(seen, key):
        return seen.allowed.argmax().astype(jnp.int32)

    guest = strangers.Guest(first_allowed, actions=4)
    assert guest.predict(np.zeros(2), action_masks=np.array([0, 0, 1, 1]))[0] == 2
    assert guest.predict(np.zeros(2))[0] == 0


@pytest.mark.torch
def test_stable_baselines_trains_here_plays_in_our_simulator_and_we_in_its_evaluation(environment):
    stable = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.env_checker import check_env
    from stable_baselines3.common.evaluation import evaluate_policy

    env = gymnasium.make("edgegen/ProviderSelection-v0", instance=1, rate_hz=RATE_HZ)
    check_env(env.unwrapped)
    learner = stable.DQN(
        "MlpPolicy",
        env,
        seed=0,
        learning_starts=100,
        train_freq=4,
        learning_rate=1e-3,
        policy_kwargs={"net_arch": [32]},
        device="cpu",
    )
    before = [weights.detach().clone() for weights in learner.policy.parameters()]
    learner.learn(1500)
    after = list(learner.policy.parameters())
    assert any((one != other.detach()).any() for one, other in zip(before, after, strict=True))
    worlds = epochs.stack([environment.world])
    policy = strangers.policy(learner, environment.codec, deterministic=True)
    keys = jax.random.split(jax.random.key(0), (1, 2))
    found = evaluation.evaluate(worlds, {"dqn": policy}, keys, weights=aaas.WEIGHTS)
    assert np.isfinite(found["dqn"]["reward"]).all()
    assert (found["dqn"]["assigned"] == found["dqn"]["epochs"]).all()
    rewards, lengths = evaluate_policy(
        strangers.Guest(most_free, actions=20), learner.get_env(), n_eval_episodes=2, return_episode_rewards=True
    )
    assert min(lengths) > 50
    assert min(rewards) > 0
