"""What on-policy learners share: advantages against a plain loop, draws, careful steps, the mean that is deployed."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conformance.compiling import quickly
from edgegen.core.errors import InputError
from edgegen.learn import actor_critic, architectures, descent, on_policy, rollout
from edgegen.sim import probes
from edgegen.sim.environment import Observation

STEPS, ROWS = 12, 5
PROBES = probes.probes()


def happened(seed=0):
    """Rewards and ends of both kinds, and what a critic holds, in random order."""
    rng = np.random.default_rng(seed)
    terminated = rng.random((STEPS, ROWS)) < 0.2
    truncated = (rng.random((STEPS, ROWS)) < 0.2) & ~terminated
    assert terminated.any()
    assert truncated.any()
    reward, held, next_held = rng.normal(size=(3, STEPS, ROWS))
    step = SimpleNamespace(reward=reward, terminated=terminated, truncated=truncated, ended=terminated | truncated)
    return step, held, next_held


def one_by_one(step, held, next_held, gamma, lam, scale):
    """The definition: discounted surprises from each step on, up to the end of its episode or of the rollout."""
    found = np.zeros((STEPS, ROWS))
    for row in range(ROWS):
        for first in range(STEPS):
            for at in range(first, STEPS):
                future = 0.0 if step.terminated[at, row] else gamma * next_held[at, row]
                surprise = scale * step.reward[at, row] + future - held[at, row]
                found[first, row] += (gamma * lam) ** (at - first) * surprise
                if step.terminated[at, row] or step.truncated[at, row]:
                    break
    return found


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_advantages_are_those_of_the_definition_with_ends_and_horizons_apart(lam):
    step, held, next_held = happened()
    arrays = SimpleNamespace(**{name: jnp.asarray(column) for name, column in vars(step).items()})
    horizon = on_policy.Horizon(gamma=0.9, lam=lam, scale=0.5)
    found = on_policy.advantages(arrays, jnp.asarray(held), jnp.asarray(next_held), horizon)
    np.testing.assert_allclose(found, one_by_one(step, held, next_held, 0.9, lam, 0.5), atol=1e-12)


def test_advantages_are_standardised_over_the_whole_rollout():
    column = on_policy.standard(jnp.asarray(happened()[1]))
    assert float(column.mean()) == pytest.approx(0.0, abs=1e-12)
    assert float(column.std()) == pytest.approx(1.0, abs=1e-6)


# ----------------------------------------------------------------------------------------------------------- decisions


@pytest.fixture(scope="module")
def collected():
    """A rollout in the probe whose episodes end in a horizon or in an end, after the same observation."""
    environments = rollout.repeat(PROBES["horizon"].environment, 8)
    plan, horizon = architectures.Apart((4,)), on_policy.Horizon(0.5, 0.0, 1.0, on_policy.as_they_are)

    @quickly
    def run(key):
        state = on_policy.begin(plan, environments, expected=8, key=key)
        place, decisions, metrics = on_policy.collect(
            state.network, environments, state.place, length=16, horizon=horizon, key=key
        )
        del place
        return state.network, decisions, metrics

    return run(jax.random.key(0))


def test_a_horizon_has_a_future_and_an_end_has_none(collected):
    network, decisions, metrics = collected
    held = float(network(PROBES["horizon"].world.features[0])[1])
    decisions, leaving = jax.tree.map(np.asarray, decisions), np.asarray(decisions.action) == 1
    going_on = ~leaving
    assert going_on.any()
    assert leaving.any()
    np.testing.assert_allclose(decisions.worth[going_on], 1.0 + 0.5 * held)  # cut by the horizon after every step
    np.testing.assert_allclose(decisions.worth[leaving], 1.5)  # an end
    np.testing.assert_allclose(decisions.advantage, decisions.worth - held)
    assert float(metrics["reward"]) == pytest.approx(np.where(leaving, 1.5, 1.0).mean())


def test_what_is_kept_of_a_decision_is_how_likely_it_was(collected):
    network, decisions, _ = collected
    again = quickly(lambda: on_policy.of(on_policy.look(network, decisions.observation)[0].log, decisions.action))()
    np.testing.assert_allclose(decisions.log_probability, again, atol=1e-12)


# --------------------------------------------------------------------------------------------------------------- draws


def test_actions_are_drawn_as_often_as_they_are_probable():
    choice = actor_critic.choice(jnp.array([0.5, -1.0, 2.0, 0.0]), jnp.array([True, False, True, True]))
    rows = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (20_000, 4)), choice)
    share = np.bincount(quickly(on_policy.draw)(rows, jax.random.key(0)), minlength=4) / 20_000
    np.testing.assert_allclose(share, choice.probability, atol=0.01)


def test_an_action_that_is_not_allowed_is_never_drawn_however_the_sums_are_rounded():
    @quickly
    def draws(key):
        keys = jax.random.split(key, 4)
        allowed = jax.random.bernoulli(keys[0], 0.3, (20_000, 20)).at[:, 7].set(True)
        logits = jax.random.normal(keys[1], allowed.shape, jnp.float32) * jnp.float32(4.0)
        edge = actor_critic.Choice(probability=jnp.array([0.0, 0.5, 0.5 - 1e-9, 0.0]), log=jnp.zeros(4))
        edges = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (1000, 4)), edge)
        return allowed, on_policy.draw(actor_critic.choice(logits, allowed), keys[2]), on_policy.draw(edges, keys[3])

    allowed, drawn, at_the_edge = map(np.asarray, draws(jax.random.key(1)))
    assert allowed[np.arange(len(drawn)), drawn].all()
    assert set(at_the_edge) == {1, 2}


# --------------------------------------------------------------------------------------------------------------- steps


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Stands for a network."""

    x: jnp.ndarray


jax.tree_util.register_dataclass(Numbers, ["x"], [])


@pytest.mark.parametrize(("slope", "scale"), [([0.3, 0.4], 1.0), ([30.0, 40.0], 0.01)])
def test_a_gradient_that_is_too_long_is_shortened_and_keeps_its_direction(slope, scale):
    step = on_policy.Descent(rate=0.1, steepest=0.5)
    start, slope = Numbers(jnp.zeros(2)), Numbers(jnp.asarray(slope))
    _, kept = step.step(start, slope, descent.moments(start), jnp.int32(0))
    _, plain = descent.descend(descent.adam(), start, Numbers(slope.x * scale), descent.moments(start), rate=0.1)
    for one, other in zip(jax.tree.leaves(kept), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8)


def test_the_rate_falls_with_the_root_of_the_updates_and_not_at_all_by_default():
    start, slope = Numbers(jnp.zeros(1)), Numbers(jnp.ones(1))

    def moved(updates, **settings):
        step = on_policy.Descent(rate=0.1, **settings)
        return -float(step.step(start, slope, descent.moments(start), jnp.int32(updates))[0].x[0])

    assert moved(0, steady=100.0) == pytest.approx(0.1, rel=1e-6)
    assert moved(300, steady=100.0) == pytest.approx(0.05, rel=1e-6)
    assert moved(10**6) == pytest.approx(0.1, rel=1e-6)


@pytest.mark.parametrize(("part", "expected"), [(0.0, 5.0), (1.0, 3.0)])
def test_what_is_deployed_is_the_last_network_or_a_mean_of_them(part, expected):
    state = on_policy.Training(None, Numbers(jnp.zeros(1)), None, jnp.int32(0), jnp.int32(0), None, None)
    for number in range(1, 6):
        state = dataclasses.replace(state, network=Numbers(jnp.full(1, float(number))))
        state = on_policy.finish(state, descent.Averaging(part))
    assert float(state.mean.x[0]) == pytest.approx(expected)
    assert int(state.iterations) == 5


def test_another_number_of_environments_is_refused():
    environments = rollout.repeat(PROBES["value"].environment, 3)
    with pytest.raises(InputError, match="made for 4 environments, got 3"):
        on_policy.begin(architectures.Apart((4,)), environments, expected=4, key=jax.random.key(0))


def test_the_greedy_actor_takes_the_best_that_is_allowed(collected):
    network, decisions, _ = collected
    one = jax.tree.map(lambda leaf: leaf[0, 0], decisions.observation)
    ranking = np.argsort(-np.asarray(network(one.features)[0]))
    for best in (0, 1):
        allowed = jnp.ones(3, bool).at[ranking[:best]].set(False)
        assert int(on_policy.Greedy(network)(Observation(one.features, allowed), jax.random.key(0))) == ranking[best]
