"""Prices on room: never a needless crash, optimal where there is room, above the prophet on average, with and without curves."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.papers import aaas
from edgegen.papers import provider_prices as own
from edgegen.sim import epochs

SITES, TASKS = 3, 6
PLANS = np.array(list(itertools.product(range(SITES), repeat=TASKS)), dtype=np.int32)
RIVALS = {"static-rank": aaas.static_rank, "prophet": aaas.prophet}


# ------------------------------------------------------------------------------------------------ every plan of small cases


class Plan(eqx.Module):
    """A policy that does what is written down."""

    sites: jax.Array

    def __call__(self, view, key):
        return self.sites[view.number]


@eqx.filter_jit
def small_rewards(pool, episode):
    """Rewards of all plans, float[729], of the prophet, and of our policies by name."""

    def of(world, policy):
        return epochs.reward(epochs.simulate(world, policy, episode).ledger, aaas.WEIGHTS).sum()

    ours = {name: of(prepare(pool), policy) for name, (prepare, policy) in own.POLICIES.items()}
    return jax.vmap(lambda sites: of(pool, Plan(sites)))(jnp.asarray(PLANS)), of(pool, aaas.prophet), ours


def small_case(seed, capacity=None):
    rng = np.random.default_rng(seed)
    pool = aaas.Providers(
        capacity=jnp.asarray(
            rng.choice([200.0, 250.0, 300.0], SITES) if capacity is None else np.full(SITES, capacity)
        ),
        a_x=jnp.asarray(10.0 * rng.integers(0, 10, SITES)),
        a_y=jnp.asarray(0.05 * rng.integers(0, 10, SITES)),
        b_x=jnp.asarray(10.0 * rng.integers(15, 25, SITES)),
        b_y=jnp.asarray(0.05 * rng.integers(10, 20, SITES)),
        rate_hz=jnp.float64(2e-4),
        length=TASKS,
    )
    gaps = np.append(np.diff(np.sort(rng.integers(0, 60_000, TASKS))), 0.0)  # the first comes at time 0
    chance = aaas.Chance(steps=jnp.asarray(10.0 * rng.integers(10, 26, TASKS)), gap=jnp.asarray(gaps * 2e-4))
    return pool, epochs.Episode(chance=chance, key=jax.random.key(seed))


def test_neither_policy_is_better_than_the_best_of_all_plans():
    below = 0
    for seed in range(40):
        every, _, ours = small_rewards(*small_case(seed))
        best = float(every.max())
        assert {name: float(reward) for name, reward in ours.items() if reward > best + 1e-9} == {}
        below += float(ours["prices"]) < best - 1e-6
    assert 0 < below < 40


def test_where_there_is_room_for_everything_prices_do_as_the_prophet_which_is_optimal():
    for seed in range(10):
        every, prophet, ours = small_rewards(*small_case(seed, capacity=20_000.0))
        assert float(ours["prices"]) == pytest.approx(float(every.max()), abs=1e-12)
        assert float(prophet) == pytest.approx(float(every.max()), abs=1e-12)


# ---------------------------------------------------------------------------------------------------------- decisions


@pytest.fixture(scope="module")
def full():
    """Eight instances at the highest load, stacked."""
    return epochs.stack([aaas.draw(key, rate_hz=2e-3) for key in jax.random.split(jax.random.key(21), 8)])


def views(world, seed, many=200):
    """Views of a half random occupation."""
    rng = np.random.default_rng(seed)
    task = aaas.Task(number=jnp.int32(0), at_s=jnp.float64(0), steps=jnp.float64(100))
    view = world.view(world.start(), task)
    for _ in range(many):
        steps, free = jnp.float64(10.0 * rng.integers(10, 26)), jnp.asarray(10.0 * rng.integers(0, 30, aaas.PROVIDERS))
        free = jnp.where(rng.random() < 0.3, jnp.minimum(free, 120.0), free)
        yield dataclasses.replace(
            view,
            steps=steps,
            free=free,
            fits=steps <= free,
            gain=world.gain(steps),
            crash_cost=jnp.asarray(rng.uniform(2, 9, aaas.PROVIDERS)),
        )


def test_no_provider_is_crashed_when_the_task_fits_somewhere_else_the_cheapest():
    world = aaas.draw(jax.random.key(3))
    choose, prices = eqx.filter_jit(own.choose), own.priced(world).memory.note
    fitting = []
    for view in views(world, 0):
        chosen = choose(view, view.gain, 10 * prices)  # so high that everything costs more than it gains
        fitting.append(bool(view.fits.any()))
        assert bool(view.fits[chosen]) if fitting[-1] else int(chosen) == int(view.crash_cost.argmin())
    assert 0 < sum(fitting) < len(fitting)


def test_when_little_can_be_started_a_task_goes_where_least_is_lost():
    world = aaas.draw(jax.random.key(3))
    view = next(iter(views(world, 1, many=1)))
    free = jnp.zeros(aaas.PROVIDERS).at[4].set(350.0).at[7].set(120.0)
    view = dataclasses.replace(view, steps=jnp.float64(100), free=free, fits=free >= 100)
    same = jnp.full(aaas.PROVIDERS, 0.5)
    assert int(own.choose(view, same, 0 * same)) == 7  # room for small tasks only; at 4, a large one would still fit


def test_what_the_learner_does_depends_on_scores_not_on_curves(full):
    world = jax.tree.map(lambda leaf: leaf[0], full)
    recalled = own.learning(world).view(
        own.learning(world).start(), aaas.Task(jnp.int32(0), jnp.float64(0), jnp.float64(150))
    )
    other = dataclasses.replace(recalled.view, gain=recalled.view.gain[::-1], mean_gain=recalled.view.mean_gain[::-1])
    same = dataclasses.replace(recalled, view=other)
    assert int(own.prices_learned(recalled, None)) == int(own.prices_learned(same, None))


def test_after_an_episode_the_scores_are_those_of_the_curves_and_the_belief_is_near_them(full):
    episodes = epochs.draw_many(full, jax.random.split(jax.random.key(22), (8, 1)))
    run = epochs.play_many(eqx.filter_vmap(own.learning)(full), own.prices_learned, episodes)
    gains = np.asarray(jax.vmap(lambda world: jax.vmap(world.gain, out_axes=1)(jnp.asarray(own.STEPS)))(full))
    learnt = jax.tree.map(lambda leaf: np.asarray(leaf[:, 0]), run.state.memory)
    seen = learnt.count > 0
    np.testing.assert_allclose(learnt.total[seen], (learnt.count * gains)[seen])
    assert learnt.count.sum() == float((run.ledger["assigned"] - run.ledger["crashes"]).sum())
    off = np.abs(learnt.belief.mean - gains)
    assert (off <= 3 * learnt.belief.spread + 3 * own.CURVES.blur).mean() > 0.99
    assert off[learnt.count.sum(axis=-1) >= 5].max() < 0.1
    assert float(run.ledger["refused"].sum()) == 0


# ------------------------------------------------------------------------------------------------------------ rewards


SAMPLE = {"instances": 60, "seed": 5000}


def test_known_curves_earn_more_than_the_prophet_and_unknown_ones_almost_as_much():
    found = own.rewards(aaas.RATE_HZ, RIVALS, **SAMPLE)

    def surely_above(better, worse, part=1.0):
        more = found[better] - part * found[worse]
        return more.mean() > 1.96 * more.std(ddof=1) / np.sqrt(len(more))

    assert surely_above("prices", "prophet")
    assert surely_above("prices-learned", "prophet", part=0.97)
    assert surely_above("prices-learned", "static-rank")
    assert surely_above("bound", "prices")


def test_the_claims_hold():
    bars = own.claims(lambda line: None, loads_hz=[aaas.RATE_HZ], **SAMPLE)
    assert [f"{bar.bar}: {bar.value:g}, wanted {bar.goal}" for bar in bars if bar.ok is False] == []
    assert sum(bar.ok is True for bar in bars) == 2
