"""Deep Q-networks: each part against what can be done by hand, and the learner around them."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conformance.compiling import quickly
from edgegen.core.errors import InputError
from edgegen.learn import buffers, dqn, off_policy, rollout
from edgegen.learn.batch import Batch
from edgegen.sim import probes

KEY = jax.random.key(0)
SMALL = {"environments": 4, "steps": 3, "updates": 2, "batch": 8, "warm_up": 16, "n": 2}


@pytest.mark.parametrize(
    ("reward", "discount", "expected"),
    [
        (0.0, 1.0, [0.1, 0.2, 0.3, 0.4]),  # nothing moves
        (0.5, 0.0, [0.0, 0.5, 0.5, 0.0]),  # an end: all of it at the reward, half way between two atoms
        (1.0, 1.0, [0.0, 0.1, 0.2, 0.7]),  # one atom on; what goes past the last one stays there
        (-0.25, 0.5, [0.0, 0.7125, 0.2875, 0.0]),  # to -1, -0.5, 0, 0.5 less a quarter, see below
    ],
)
def test_atoms_are_shared_out_between_their_neighbours(reward, discount, expected):
    worth = dqn.Categorical(low=-1.0, high=2.0, atoms=4)
    probability = jnp.array([[0.1, 0.2, 0.3, 0.4]])
    if discount == 0.5:  # atoms at -0.75, -0.25, 0.25, 0.75 lie .25/.75, .75/.25 between -1, 0 and 0, 1
        expected = [
            0.1 * 0.75 + 0.2 * 0.25,
            0.1 * 0.25 + 0.2 * 0.75 + 0.3 * 0.75 + 0.4 * 0.25,
            0.3 * 0.25 + 0.4 * 0.75,
            0,
        ]
    found = worth.project(probability, jnp.array([reward]), jnp.array([discount]))
    np.testing.assert_allclose(found[0], expected, atol=1e-12)


def test_a_projection_keeps_the_mean_where_nothing_is_cut_off():
    worth = dqn.Categorical()
    outputs = jax.random.normal(KEY, (64, 51))
    reward, discount = jnp.linspace(-1.0, 1.0, 64), jnp.full(64, 0.8)
    found = worth.project(jax.nn.softmax(outputs), reward, discount)
    np.testing.assert_allclose(found.sum(axis=-1), 1.0, rtol=1e-12)
    support = np.linspace(-10, 10, 51)
    np.testing.assert_allclose(found @ support, reward + discount * worth.mean(outputs), atol=1e-12)


def test_a_distribution_that_is_right_has_no_error_and_one_that_is_not_has():
    worth = dqn.Categorical(low=0.0, high=1.0, atoms=2)
    said = jnp.log(jnp.array([[0.25, 0.75], [0.5, 0.5]]))
    loss, error = worth.miss(said, jnp.zeros((2, 2)), jnp.array([0.75, 0.75]), jnp.zeros(2))
    np.testing.assert_allclose(error, [0.0, 0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.5)], atol=1e-12)
    np.testing.assert_allclose(loss, [-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)), np.log(2)], rtol=1e-12)


def batch_of(rows, actions=3):
    return Batch(
        observation=jax.random.normal(jax.random.key(1), (rows, 2)),
        allowed=jnp.ones((rows, actions), dtype=bool),
        action=jnp.arange(rows, dtype=jnp.int32) % actions,
        reward=jnp.arange(rows, dtype=float),
        next_observation=jax.random.normal(jax.random.key(2), (rows, 2)),
        next_allowed=jnp.array([[True, True, False]] * rows),
        discount=jnp.linspace(0.0, 0.9, rows),
    )


def params_of(algorithm, batch):
    """Parameters whose target is another network than the online one."""
    online, other = (algorithm.init_params(2, batch.allowed.shape[1], key=jax.random.key(seed)) for seed in (3, 4))
    return dataclasses.replace(online, target=other.online)


@pytest.mark.parametrize("chooser", [dqn.alone, dqn.double])
def test_the_next_action_is_chosen_among_those_allowed_by_the_network_that_should_choose(chooser):
    algorithm, batch = dqn.DQN(chooser=chooser, hidden=(16,)), batch_of(40)
    params = params_of(algorithm, batch)
    online, target = (
        np.asarray(algorithm.values(net, batch.next_observation)) for net in (params.online, params.target)
    )
    said = np.asarray(algorithm.values(params.online, batch.observation))
    choosing = {dqn.alone: target, dqn.double: online}[chooser][:, :2]  # the third is not allowed
    assert (choosing.argmax(axis=1) != [online, target][chooser is dqn.double][:, :2].argmax(axis=1)).any()
    rows = np.arange(40)
    wanted = np.asarray(batch.reward) + np.asarray(batch.discount) * target[rows, choosing.argmax(axis=1)]
    update = quickly(lambda params: algorithm.update(params, batch, jnp.ones(40), key=KEY))
    _, errors, metrics = update(params)
    np.testing.assert_allclose(errors, np.abs(said[rows, rows % 3] - wanted), rtol=1e-9)
    assert float(metrics["loss"]) == pytest.approx(float((errors**2).mean()), rel=1e-9)


def test_weights_decide_how_much_a_transition_counts():
    algorithm, batch = dqn.DQN(hidden=(16,)), batch_of(8)
    params = params_of(algorithm, batch)
    update = quickly(lambda batch, weights: algorithm.update(params, batch, weights, key=KEY)[0].online)
    without = jax.tree.map(lambda leaf: leaf.at[5].set(leaf[3]), batch)  # the sixth is another one
    silent = jnp.ones(8).at[5].set(0.0)
    for one, other in zip(
        jax.tree.leaves(update(batch, silent)), jax.tree.leaves(update(without, silent)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    first = (jax.tree.leaves(update(each, jnp.ones(8)))[0] for each in (batch, without))
    assert not np.allclose(*first)


def test_targets_follow_now_and_then_or_a_part_of_the_way():
    old, new = jnp.zeros(3), jnp.ones(3)
    now_and_then = dqn.Every(4)
    assert [float(now_and_then(old, new, jnp.int32(count))[0]) for count in range(1, 9)] == [0, 0, 0, 1, 0, 0, 0, 1]
    assert float(dqn.Softly(0.25)(old, new, jnp.int32(1))[0]) == 0.25


def test_what_duels_adds_up_to_the_worth_of_the_situation():
    network = dqn.duelling((2, 8), 3, 5, dqn.Certain(), KEY)
    outputs = network(jnp.array([0.3, -0.2]))
    hidden = network.torso.activation(network.torso(jnp.array([0.3, -0.2])))
    np.testing.assert_allclose(outputs.mean(axis=0), network.worth(hidden), atol=1e-12)
    assert outputs.shape == (3, 5)


def test_noise_is_drawn_for_every_noisy_layer_and_settles_at_the_means():
    network = dqn.duelling((2, 8), 3, 5, dqn.Noisy(0.5), KEY)
    draw = jax.jit(dqn.drawn)
    one, same, other = (draw(network, jax.random.key(seed)) for seed in (1, 1, 2))
    assert eqx.tree_equal(one, same)
    for layer in ("worth", "added"):
        assert not np.allclose(getattr(one, layer).weight, getattr(other, layer).weight)
        np.testing.assert_array_equal(getattr(dqn.settled(network), layer).weight, getattr(network, layer).mean.weight)
    assert not np.allclose(
        one.worth.offset - network.worth.mean.offset, one.added.offset[:5] - network.added.mean.offset[:5]
    )
    weights = jax.jit(jax.vmap(lambda key: dqn.drawn(network, key).added.weight))(jax.random.split(KEY, 2000))
    # The product of two roots of |normal| has the variance (E |normal|)^2 = 2 / pi.
    np.testing.assert_allclose(weights.std(axis=0), 0.5 / 8**0.5 * (2 / np.pi) ** 0.5, rtol=0.15)


def test_a_plain_network_is_the_same_drawn_or_settled():
    network = dqn.plain((2, 8), 3, 1, dqn.Certain(), KEY)
    assert eqx.tree_equal(network, dqn.drawn(network, KEY), dqn.settled(network))


# --------------------------------------------------------------------------------------------------------- the learner


PROBE = probes.probes()["mask-after"]


@pytest.fixture(scope="module")
def four():
    return rollout.repeat(PROBE.environment, 4)


def small(make, **changes):
    learner = make(memory=None, **SMALL | changes)
    memory = dataclasses.replace(learner.memory, capacity=64)
    return dataclasses.replace(learner, memory=memory, algorithm=dataclasses.replace(learner.algorithm, hidden=(8,)))


def test_seeds_and_settings_are_stacked_and_learn_as_they_would_alone(four):
    learner = small(dqn.prioritised)
    rates, keys = jnp.array([1e-3, 1e-2]), jax.random.split(KEY, 2)

    def trained(rate, key):
        one = dataclasses.replace(learner, algorithm=dataclasses.replace(learner.algorithm, rate=rate))
        state, metrics = jax.lax.scan(
            lambda state, _: one.iterate(four, state), one.init(four, key=key), None, length=4
        )
        return state.params, metrics

    together, metrics = quickly(jax.vmap(trained))(rates, keys)
    assert all(np.isfinite(column).all() and column.shape == (2, 4) for column in metrics.values())
    alone, _ = quickly(trained)(rates[1], keys[1])
    for one, both in zip(jax.tree.leaves(alone.online), jax.tree.leaves(together.online), strict=True):
        np.testing.assert_allclose(one, both[1], rtol=1e-6, atol=1e-9)
    assert int(alone.updates) == 4 * SMALL["updates"]


def test_masks_are_respected_in_warming_up_in_acting_and_by_the_actor(four):
    learner = small(dqn.dqn)
    learner = dataclasses.replace(learner, algorithm=dataclasses.replace(learner.algorithm, epsilon=0.5))

    @quickly
    def run(key):
        state = jax.lax.fori_loop(0, 4, lambda _, s: learner.iterate(four, s)[0], learner.init(four, key=key))
        only = [dataclasses.replace(PROBE.observation(0), allowed=jnp.arange(3) == action) for action in range(3)]
        return state.memory, [learner.actor(state)(seen, key) for seen in only]

    memory, actions = run(KEY)
    assert [int(action) for action in actions] == [0, 1, 2]
    assert int(memory.filled) == 60  # 16 at random and 4 x 12, less the last step of each environment
    assert set(np.asarray(memory.rows.action[:60])) == {0, 1}  # the third is never allowed
    assert set(np.asarray(memory.rows.action[:12])) == {0, 1}


def test_a_learner_says_how_many_steps_and_updates_it_takes(four):
    learner = small(dqn.dqn, warm_up=18)
    assert (learner.steps_before, learner.steps_per_iteration, learner.updates_per_iteration) == (20, 12, 2)
    state = jax.eval_shape(lambda: learner.init(four, key=KEY))
    assert state.memory.rows.reward.shape == (64,)
    assert state.recent.action.shape == (1, 4)  # the last steps wait for the next ones


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"warm_up": 7}, "warm_up must be at least n x environments = 8 steps"),
        ({"n": 0}, "n must be at least 1, got 0"),
    ],
)
def test_a_learner_that_could_not_learn_is_refused(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        small(dqn.dqn, **changes)


def test_other_environments_than_expected_are_refused(four):
    with pytest.raises(InputError, match="made for 8 environments, got 4"):
        small(dqn.dqn, environments=8).init(four, key=KEY)


def test_the_published_sizes_are_the_defaults():
    learner = dqn.rainbow()
    algorithm = learner.algorithm
    assert (learner.n, learner.gamma, learner.batch, learner.updates) == (3, 0.95, 512, 64)
    assert (algorithm.rate, algorithm.hidden, algorithm.epsilon, algorithm.sync.updates) == (1e-3, (256, 256), 0.1, 320)
    assert (algorithm.worth.atoms, algorithm.worth.low, algorithm.worth.high) == (51, -10, 10)
    assert isinstance(learner.memory, buffers.Prioritised)
    assert off_policy.OffPolicy is type(learner)
