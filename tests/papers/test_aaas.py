"""The choice of a provider: values, the plain simulation, Little's law, every plan of small cases, the claims."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.bench._sim_reference import most_free, serve
from edgegen.bench.sim import providers, tasks
from edgegen.core.decision import REJECT
from edgegen.papers import aaas
from edgegen.sim import epochs

INSTANCES = 24
COUNTS = {"assigned", "refused", "crashes", "crashed", "finished", "running"}
play = eqx.filter_jit(epochs.simulate)


@pytest.fixture(scope="module")
def worlds():
    return epochs.stack([aaas.draw(key) for key in jax.random.split(jax.random.key(11), INSTANCES)])


@pytest.fixture(scope="module")
def episodes(worlds):
    return epochs.draw_many(worlds, jax.random.split(jax.random.key(12), (INSTANCES, 1)))


@pytest.fixture(scope="module")
def runs(worlds, episodes):
    return epochs.play_many(worlds, aaas.crash_avoid, episodes)


def row(tree, *index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


# --------------------------------------------------------------------------------------------------------- values


def test_the_curve_starts_at_noise_rises_between_the_knees_and_stays():
    pool = aaas.published_pool()
    steps = np.arange(0, 300, 5.0)
    gains = np.asarray(jax.vmap(pool.gain)(jnp.asarray(steps)))
    knees = [np.asarray(part) for part in (pool.a_x, pool.a_y, pool.b_x, pool.b_y)]
    below, above = steps[:, None] <= knees[0], steps[:, None] >= knees[2]
    assert (gains[below] == 0).all()
    np.testing.assert_array_equal(gains[above], np.broadcast_to(knees[3] - knees[1], gains.shape)[above])
    rise = np.diff(gains, axis=0)
    assert (rise >= 0).all()
    steepest = (knees[3] - knees[1]) / (knees[2] - knees[0])
    assert (rise <= 5 * steepest + 1e-12).all()  # no jump
    assert pool.gain(jnp.float64(110))[0] == pytest.approx(0.4)  # half of the way from (10, 0) to (210, 0.8)


@pytest.mark.parametrize(("steps", "seconds"), [(100, 14_760), (110, 16_386), (250, 40_410)])
def test_service_times(steps, seconds):
    assert aaas.service_s(float(steps)) == seconds
    assert seconds == pytest.approx(60 * (0.001 * steps**2 + 2.5 * steps - 14))


def test_instances_are_drawn_from_the_published_ranges(worlds):
    wanted = {
        "capacity": range(400, 901, 100),
        "a_x": range(0, 91, 10),
        "a_y": range(10),
        "b_x": range(150, 241, 10),
        "b_y": range(10, 20),
    }
    for name, values in wanted.items():
        scale = 20 if name in ("a_y", "b_y") else 1
        assert set(np.round(scale * np.asarray(getattr(worlds, name)), 9).ravel()) == set(values), name


def test_the_published_instance_is_as_published():
    pool = aaas.published_pool()
    assert pool.capacity.shape == (aaas.PROVIDERS,)
    assert [float(column[6]) for column in (pool.a_x, pool.a_y, pool.b_x, pool.b_y, pool.capacity)] == [
        90,
        0.25,
        160,
        0.95,
        700,
    ]


def test_tasks_ask_for_the_published_numbers_of_steps_and_come_at_whole_seconds(runs):
    task, live = runs.events, np.asarray(runs.live)
    assert set(np.asarray(task.steps)[live]) == set(range(100, 251, 10))
    at_s = np.asarray(task.at_s)
    assert (at_s[..., 0] == 0).all()
    assert (at_s == np.floor(at_s)).all()
    assert (np.diff(at_s) >= 0).all()


def test_an_observation_has_42_numbers_up_to_1_and_does_not_show_the_curves(worlds, runs):
    pool, task = row(worlds, 0), row(runs.events, 0, 0, 3)
    seen = aaas.observe(pool.view(pool.start(), task))
    assert seen.shape == (42,)
    assert ((seen >= 0) & (seen <= 1)).all()
    assert float(seen[-2]) == float(task.steps) / 250
    other = dataclasses.replace(pool, a_x=pool.a_x + 5, a_y=pool.a_y / 2, b_x=pool.b_x + 5, b_y=pool.b_y / 2)
    np.testing.assert_array_equal(aaas.observe(other.view(other.start(), task)), seen)


# --------------------------------------------------------------------------------------- against the plain simulation


def best_that_fits(sites):
    """The prophet again, in plain Python."""

    def choose(number, steps, free):
        gains = [site.gain(steps) if steps <= free[place] else -1.0 for place, site in enumerate(sites)]
        return gains.index(max(gains))

    return choose


@pytest.mark.parametrize("name", ["random", "round-robin", "crash-avoid", "prophet"])
def test_a_plain_event_simulation_gives_every_task_the_same_reward(worlds, episodes, runs, name):
    run = play(row(worlds, 0), aaas.POLICIES[name], row(episodes, 0, 0))
    sites, served = providers(worlds, 0), tasks(runs, 0)
    replay = np.asarray(run.actions).tolist()
    choose = {"crash-avoid": most_free, "prophet": best_that_fits(sites)}.get(
        name, lambda number, steps, free: replay[number]
    )
    rewards, finished = serve(sites, served, choose)
    ours = np.asarray(epochs.reward(run.ledger, aaas.WEIGHTS))[: len(served)]
    crashed = np.array(rewards) < 0
    assert crashed.any() == (name in ("random", "round-robin"))
    np.testing.assert_array_equal(ours[~crashed], np.array(rewards)[~crashed])
    np.testing.assert_allclose(ours[crashed], np.array(rewards)[crashed], rtol=1e-12)  # sums in another order
    assert float(run.ledger["finished"].sum()) == finished


# ------------------------------------------------------------------------------------------------------ properties


def test_tasks_and_quality_are_conserved_and_nothing_is_refused(worlds, episodes):
    for name in ("random", "prophet-mended"):
        run = play(row(worlds, 1), aaas.POLICIES[name], row(episodes, 1, 0))
        total = {entry: float(values.sum()) for entry, values in run.ledger.items()}
        assert total["assigned"] == float(run.live.sum())
        assert total["assigned"] == total["finished"] + total["crashed"] + float(run.state.pools.running.sum())
        still = float(jnp.where(run.state.pools.running, run.state.pools.quality, 0).sum())
        assert total["quality"] == pytest.approx(total["finished_quality"] + total["killed_quality"] + still)
        assert total["refused"] == 0


def test_about_27_tasks_run_at_once_by_littles_law(worlds, episodes):
    sums = epochs.totals(worlds, aaas.prophet, episodes)
    assert float(sums["crashes"].sum()) == 0
    seen = float(sums["running"].sum() / sums["assigned"].sum())
    mean_service_s = float(np.mean([aaas.service_s(float(steps)) for steps in range(100, 251, 10)]))
    assert aaas.RATE_HZ * mean_service_s == pytest.approx(27.375)
    assert 26 < seen < 28  # arrivals see time averages; the first of an episode see less


def test_the_same_keys_give_the_same_bytes(worlds, episodes):
    again = epochs.draw_many(worlds, jax.random.split(jax.random.key(12), (INSTANCES, 1)))
    assert again.chance.gap.tobytes() == episodes.chance.gap.tobytes()
    first, second = (play(row(worlds, 0), aaas.at_random, row(given, 0, 0)) for given in (episodes, again))
    for name, entries in first.ledger.items():
        assert np.asarray(entries).tobytes() == np.asarray(second.ledger[name]).tobytes(), name


def test_one_more_instance_changes_nothing_for_the_others(worlds, episodes):
    few, many = (
        epochs.totals(row(worlds, slice(count)), aaas.at_random, row(episodes, slice(count)))
        for count in (2, INSTANCES)
    )
    for name, sums in few.items():
        # What happens is the same; sums of fractions may be added in another order.
        tolerance = 0 if name in COUNTS else 1e-13
        np.testing.assert_allclose(sums, many[name][:2], rtol=tolerance, err_msg=name)


def test_refusing_everything_earns_nothing(worlds, episodes):
    run = play(row(worlds, 0), lambda view, key: jnp.int32(REJECT), row(episodes, 0, 0))
    assert float(run.ledger["refused"].sum()) == float(run.live.sum())
    assert float(jnp.abs(epochs.reward(run.ledger, aaas.WEIGHTS)).sum()) == 0


# ---------------------------------------------------------------------------------------------- every plan of small cases

SITES, TASKS = 3, 6
PLANS = np.array(list(itertools.product(range(SITES), repeat=TASKS)), dtype=np.int32)


class Plan(eqx.Module):
    """A policy that does what is written down."""

    sites: jax.Array

    def __call__(self, view, key):
        return self.sites[view.number]


@eqx.filter_jit
def small_rewards(pool, episode):
    """Rewards of all plans, float[729], and of the policies by name."""

    def of(policy):
        return epochs.reward(epochs.simulate(pool, policy, episode).ledger, aaas.WEIGHTS).sum()

    return jax.vmap(lambda sites: of(Plan(sites)))(jnp.asarray(PLANS)), {
        name: of(p) for name, p in aaas.POLICIES.items()
    }


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
        rate_hz=jnp.float64(aaas.RATE_HZ),
        length=TASKS,
    )
    at_s = np.sort(rng.integers(0, 60_000, TASKS))
    chance = aaas.Chance(
        steps=jnp.asarray(10.0 * rng.integers(10, 26, TASKS)),
        gap=jnp.asarray(np.diff(at_s, append=60_000) * aaas.RATE_HZ),
    )
    return pool, epochs.Episode(chance=chance, key=jax.random.key(seed))


def test_no_policy_is_better_than_the_best_of_all_plans():
    short_sighted = 0
    for seed in range(40):
        every, policies = small_rewards(*small_case(seed))
        best = float(every.max())
        assert {name: float(value) for name, value in policies.items() if value > best + 1e-9} == {}
        short_sighted += float(policies["prophet-mended"]) < best - 1e-6
    assert short_sighted > 0  # the prophet knows the curves but does not look ahead: it is no bound


def test_with_ample_capacity_the_prophet_is_optimal():
    for seed in range(10):
        every, policies = small_rewards(*small_case(seed, capacity=2000.0))
        assert float(policies["prophet"]) == pytest.approx(float(every.max()), abs=1e-12)
        assert float(policies["prophet-mended"]) == pytest.approx(float(every.max()), abs=1e-12)


def test_the_mended_prophet_takes_the_cheapest_crash():
    pool, episode = small_case(3)
    now, task, _, _ = pool.advance(pool.start(), row(episode.chance, 0))
    view = pool.view(now, task)
    full = dataclasses.replace(view, fits=jnp.zeros(SITES, dtype=bool), crash_cost=jnp.array([6.0, 2.5, 4.0]))
    assert int(aaas.prophet_mended(full, None)) == 1
    assert int(aaas.prophet(full, None)) == 0  # as in the released code


# ------------------------------------------------------------------------------------------------------------ claims


def test_the_claims_hold():
    bars = aaas.claims(lambda line: None, instances=20)
    assert [f"{bar.bar}: {bar.value:g}, wanted {bar.goal}" for bar in bars if bar.ok is False] == []
    assert sum(bar.ok is True for bar in bars) == len(aaas.BANDS) + len(aaas.LOADS_HZ) * (len(aaas.ORDER) - 1)
