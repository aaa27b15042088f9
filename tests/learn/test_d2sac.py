"""D2SAC: its losses and their gradients against NumPy by hand, its update, and how it acts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conformance.compiling import quickly
from edgegen.learn import actor_critic as ac
from edgegen.learn.batch import Batch
from edgegen.learn.d2sac import D2SAC
from edgegen.learn.diffusion_head import variance_preserving

D, K, ROWS = 4, 3, 6
SMALL = D2SAC(hidden=(8, 6))


def batch(key, rows=ROWS, allowed=None):
    keys = jax.random.split(key, 5)
    allowed = jnp.ones((rows, K), bool) if allowed is None else allowed
    return Batch(
        observation=jax.random.uniform(keys[0], (rows, D)),
        allowed=allowed,
        action=jax.random.randint(keys[1], (rows,), 0, K, dtype=jnp.int32),
        reward=jax.random.normal(keys[2], (rows,)),
        next_observation=jax.random.uniform(keys[3], (rows, D)),
        next_allowed=allowed,
        discount=jnp.where(jax.random.uniform(keys[4], (rows,)) < 0.3, 0.0, 0.857),
    )


@pytest.fixture(scope="module")
def params():
    """Parameters whose targets differ from what they follow."""
    draw = quickly(lambda seed: SMALL.init_params(D, K, key=jax.random.key(seed)))
    drawn, other = draw(0), draw(1)
    return dataclasses.replace(drawn, target_actor=other.actor, target_critics=other.critics)


act = quickly(lambda *given, key: SMALL.act(*given, key=key))
greedy = quickly(lambda *given: SMALL.greedy(*given))
target = quickly(lambda *given: SMALL.target(*given))


@quickly
def update(params, batch, key):
    return SMALL.update(params, batch, jnp.ones_like(batch.reward), key=key)


# ------------------------------------------------------------------------------------------------ by hand, in NumPy


def softplus(x):
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def mish(x):
    return x * np.tanh(softplus(x))


def matrix(layer):
    weight = np.asarray(layer.weight)
    return (weight.T if layer.narrows else weight), np.asarray(layer.offset)


def perceptron(net, x):
    for layer in net.layers[:-1]:
        weight, offset = matrix(layer)
        x = mish(x @ weight + offset)
    weight, offset = matrix(net.layers[-1])
    return x @ weight + offset


def softmax(x):
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


def probabilities(head, state, noise):
    """The source's chain: one first layer over [x, time, state], x0 from the noise found, then the posterior."""
    t = np.arange(1, 6)
    betas = 1.0 - np.exp(-0.1 / 5 - (2 * t - 1) * (10.0 - 0.1) / (2 * 25))
    alphas = 1.0 - betas
    left = np.cumprod(alphas)
    before = np.concatenate([[1.0], left[:-1]])
    weight = np.concatenate([head.of_noisy, head.of_time, head.of_features.weight])
    frequencies = np.exp(-np.arange(8) * np.log(10_000.0) / 7.0)
    x, fresh = noise[0], list(noise[1:])
    for i in reversed(range(5)):
        clock = perceptron(head.clock, np.concatenate([np.sin(i * frequencies), np.cos(i * frequencies)]))
        seen = np.concatenate([x, np.tile(clock, (len(x), 1)), state], axis=1)
        found = np.tanh(perceptron(head.rest, mish(seen @ weight + np.asarray(head.of_features.offset))))
        x0 = x / np.sqrt(left[i]) - np.sqrt(1.0 / left[i] - 1.0) * found
        x = (betas[i] * np.sqrt(before[i]) * x0 + (1.0 - before[i]) * np.sqrt(alphas[i]) * x) / (1.0 - left[i])
        if i > 0:
            x = x + np.sqrt(betas[i] * (1.0 - before[i]) / (1.0 - left[i])) * fresh.pop(0)
    return softmax(x)


def target_by_hand(params, some, noise):
    pi = probabilities(params.target_actor, np.asarray(some.next_observation), noise)
    held = np.minimum(*(perceptron(net, np.asarray(some.next_observation)) for net in params.target_critics))
    return np.asarray(some.reward) + np.asarray(some.discount) * np.sum(pi * held, axis=1)


def critic_loss_by_hand(critics, some, target):
    said = [perceptron(net, np.asarray(some.observation))[np.arange(ROWS), some.action] for net in critics]
    return sum(np.mean((one - target) ** 2) for one in said)


def actor_loss_by_hand(actor, held, some, noise, alpha=0.05):
    pi = probabilities(actor, np.asarray(some.observation), noise)
    return -np.mean(np.sum(pi * held - alpha * pi * np.log(pi), axis=1))


def nudged(tree, reach, by):
    """The tree with one number changed: `reach` gives (leaf of the tree, index)."""
    leaves, shape = jax.tree.flatten(tree)
    leaf, index = reach
    leaves[leaf] = jnp.asarray(leaves[leaf]).at[index].add(by)
    return jax.tree.unflatten(shape, leaves)


def some_numbers(tree, count):
    rng = np.random.default_rng(3)
    leaves = jax.tree.leaves(tree)
    for leaf in rng.permutation(len(leaves))[:count]:
        yield int(leaf), tuple(int(rng.integers(size)) for size in leaves[leaf].shape)


def test_gradients_are_the_slopes_of_the_losses_by_hand(params):
    some = batch(jax.random.key(2))
    noise = np.asarray(params.actor.noise(jax.random.key(3), ROWS))
    held, aim, by = np.asarray(ac.least(params.critics, some.observation)), np.linspace(-1.0, 1.0, ROWS), 1e-6

    def by_hand(function, tree, reach):
        return (function(nudged(tree, reach, by)) - function(nudged(tree, reach, -by))) / (2.0 * by)

    slopes, _ = quickly(jax.grad(lambda *given: SMALL.actor_loss(*given), has_aux=True))(
        params.actor, held, some, noise
    )
    for leaf, index in some_numbers(params.actor, 8):
        want = by_hand(lambda actor: actor_loss_by_hand(actor, held, some, noise), params.actor, (leaf, index))
        assert float(jax.tree.leaves(slopes)[leaf][index]) == pytest.approx(want, rel=1e-5, abs=1e-8)
    slopes, _ = quickly(jax.grad(ac.critic_loss, has_aux=True))(params.critics, some, jnp.asarray(aim), jnp.ones(ROWS))
    for leaf, index in some_numbers(params.critics, 6):
        want = by_hand(lambda critics: critic_loss_by_hand(critics, some, aim), params.critics, (leaf, index))
        assert float(jax.tree.leaves(slopes)[leaf][index]) == pytest.approx(want, rel=1e-5, abs=1e-8)


# ------------------------------------------------------------------------------------------------------- the update


def test_losses_are_those_by_hand_and_the_actor_is_judged_by_the_new_critics(params):
    some, key = batch(jax.random.key(2)), jax.random.key(5)
    after, missed, metrics = update(params, some, key)
    noise, next_noise = (np.asarray(params.actor.noise(one, ROWS)) for one in jax.random.split(key))
    aim = target_by_hand(params, some, next_noise)
    np.testing.assert_allclose(target(params, some, next_noise), aim, atol=1e-9)
    said = [perceptron(net, np.asarray(some.observation))[np.arange(ROWS), some.action] for net in params.critics]
    np.testing.assert_allclose(missed, np.mean([np.abs(one - aim) for one in said], axis=0), atol=1e-9)
    held = np.minimum(*(perceptron(net, np.asarray(some.observation)) for net in after.critics))
    wanted = {
        "critic_loss": critic_loss_by_hand(params.critics, some, aim),
        "actor_loss": actor_loss_by_hand(params.actor, held, some, noise),
        "value": aim.mean(),
    }
    for name, loss in wanted.items():
        assert float(metrics[name]) == pytest.approx(loss, abs=1e-9), name


def test_targets_go_tau_of_the_way_to_the_new_parameters(params):
    after, _, _ = update(params, batch(jax.random.key(2)), jax.random.key(5))
    for old, new, online in (
        (params.target_actor, after.target_actor, after.actor),
        (params.target_critics, after.target_critics, after.critics),
    ):
        for before, now, ahead in zip(*(jax.tree.leaves(tree) for tree in (old, new, online)), strict=True):
            np.testing.assert_allclose(now - before, 0.005 * (ahead - before), atol=1e-14)


def test_updates_with_several_rates_at_once_are_those_with_each_rate():
    some, rates, short = batch(jax.random.key(2)), jnp.array([1e-4, 1e-3, 1e-2]), variance_preserving(1)
    params = D2SAC(hidden=(8, 6), schedule=short).init_params(D, K, key=jax.random.key(0))

    def updated(rate):
        algorithm = D2SAC(hidden=(8, 6), schedule=short, actor_rate=rate, critic_rate=3.0 * rate)
        return algorithm.update(params, some, jnp.ones(ROWS), key=jax.random.key(5))[0]

    together, single = quickly(jax.vmap(updated))(rates), quickly(updated)
    for row, rate in enumerate(rates):
        for one, other in zip(*map(jax.tree.leaves, (together, single(rate))), strict=True):
            np.testing.assert_allclose(one[row], other, atol=1e-6)
    assert not np.allclose(together.actor.of_noisy[0], together.actor.of_noisy[2], atol=1e-3)


# ------------------------------------------------------------------------------------------------------------ acting


def test_masked_actions_are_never_taken_and_do_not_count_in_the_target(params):
    rows = 400
    allowed = jnp.broadcast_to(jnp.array([True, False, True]), (rows, K))
    seen = jax.random.uniform(jax.random.key(7), (rows, D))
    assert set(act(params, seen, allowed, key=jax.random.key(8)).tolist()) == {0, 2}
    assert 1 not in greedy(params, seen, allowed)
    some = batch(jax.random.key(2), allowed=allowed[:ROWS])
    noise = params.actor.noise(jax.random.key(4), ROWS)

    def target_where_action_1_is_worth(value):
        last = len(jax.tree.leaves(params.target_critics[0])) - 1  # the offsets of the values
        critics = tuple(nudged(net, (last, (1,)), value) for net in params.target_critics)
        return target(dataclasses.replace(params, target_critics=critics), some, noise)

    np.testing.assert_allclose(*(target_where_action_1_is_worth(value) for value in (0.0, 100.0)), atol=1e-12)


def test_acting_explores_and_greedy_acting_does_not(params):
    seen, allowed = jnp.ones((400, D)), jnp.ones((400, K), bool)
    assert len(set(act(params, seen, allowed, key=jax.random.key(8)).tolist())) == K
    assert len(set(greedy(params, seen, allowed).tolist())) == 1


def test_greedy_acting_takes_the_action_that_is_most_probable_over_draws_of_the_noise(params):
    seen, allowed = jax.random.uniform(jax.random.key(7), (400, D)), jnp.ones((400, K), bool)
    noise = np.asarray(params.actor.noise(jax.random.key(0), SMALL.draws))
    share = np.mean(
        [
            probabilities(params.actor, np.asarray(seen), np.tile(noise[:, draw, None], (1, 400, 1)))
            for draw in range(SMALL.draws)
        ],
        axis=0,
    )
    np.testing.assert_array_equal(greedy(params, seen, allowed), share.argmax(axis=1))


def test_what_is_deployed_is_enough_to_act_and_holds_no_critics(params):
    small = SMALL.deployed(params)
    seen, allowed = jax.random.uniform(jax.random.key(7), (400, D)), jnp.ones((400, K), bool)
    assert (greedy(small, seen, allowed) == greedy(params, seen, allowed)).all()
    assert len(jax.tree.leaves(small)) == len(jax.tree.leaves(params.actor))
