"""Every aggregator and every property, from one list; and one bad site of five, which only the robust ones bear."""

import gc

import numpy as np
import pytest

pytest.importorskip("flwr", reason="pip install -e .[federated]")

from flwr.app import ArrayRecord

from edgegen.tune.federation.exchange import PlainExchange
from edgegen.tune.federation.in_process import run_in_process, task_identity
from edgegen.tune.federation.learners import AbstractLearner, Fitted
from edgegen.tune.federation.settings import FederatedSettings, PrivacySection
from tune import toys

SITES = 7  # the least that all of them work with, one bad one among them
RULES = {
    "fedavg": FederatedSettings(),
    "fedavg of equal voices": FederatedSettings(weights="equal"),
    "median": FederatedSettings(aggregator="median"),
    "trimmed-mean": FederatedSettings(aggregator="trimmed-mean"),
    "krum": FederatedSettings(aggregator="krum"),
    "multi-krum": FederatedSettings(aggregator="multi-krum"),
    "bulyan": FederatedSettings(aggregator="bulyan"),
}


@pytest.fixture(autouse=True, scope="module")
def small_heap():
    """Flower's Bulyan collects garbage once per update; in a process with much in it that is a second each."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


every_rule = pytest.mark.parametrize("settings", RULES.values(), ids=RULES)


def aggregate(settings, updates, weights=None):
    """Return what the rule makes of updates, one row per site."""
    rows = [Fitted({"a": row[:2], "b": row[2:].reshape(1, -1)}, 1.0) for row in np.asarray(updates, np.float32)]
    if weights is not None:
        rows = [Fitted(row.arrays, float(weight)) for row, weight in zip(rows, weights, strict=True)]
    if settings.weights == "equal":
        rows = [Fitted(row.arrays, 1.0) for row in rows]
    seen = {name: np.zeros_like(values) for name, values in rows[0].arrays.items()}
    with task_identity():
        mean, _ = PlainExchange(settings)._aggregate(list(enumerate(rows)), seen, 1)
    assert mean is not None
    return np.concatenate([values.ravel() for values in mean.values()])


@pytest.fixture
def updates():
    return np.random.default_rng(4).normal(size=(SITES, 5))


@every_rule
def test_the_order_of_the_sites_does_not_matter(settings, updates):
    order = np.random.default_rng(5).permutation(SITES)
    weights = np.arange(1, SITES + 1)
    np.testing.assert_allclose(
        aggregate(settings, updates[order], weights[order]), aggregate(settings, updates, weights), atol=1e-6
    )


@every_rule
def test_equal_updates_stay_as_they_are(settings, updates):
    np.testing.assert_allclose(aggregate(settings, [updates[0]] * SITES), updates[0], atol=1e-6)


@every_rule
def test_a_shift_of_all_shifts_the_result(settings, updates):
    moved = aggregate(settings, updates + 3.0)
    np.testing.assert_allclose(moved, aggregate(settings, updates) + 3.0, atol=1e-5)


@every_rule
def test_a_scale_of_all_scales_the_result(settings, updates):
    np.testing.assert_allclose(aggregate(settings, -2.0 * updates), -2.0 * aggregate(settings, updates), atol=1e-5)


@every_rule
def test_each_number_stays_between_the_smallest_and_the_largest(settings, updates):
    found = aggregate(settings, updates)
    assert (found >= updates.min(axis=0) - 1e-6).all()
    assert (found <= updates.max(axis=0) + 1e-6).all()


@every_rule
def test_one_of_seven_far_away_moves_only_the_mean(settings, updates):
    far = updates.copy()
    far[3] = 1e4
    good = np.delete(updates, 3, axis=0)
    found = aggregate(settings, far)
    inside = (found >= good.min(axis=0) - 1e-6).all() and (found <= good.max(axis=0) + 1e-6).all()
    assert inside == (settings.aggregator != "fedavg")


def test_examples_weigh_the_mean_and_equal_voices_do_not(updates):
    weights = np.arange(1.0, SITES + 1)
    np.testing.assert_allclose(
        aggregate(RULES["fedavg"], updates, weights), np.average(updates, axis=0, weights=weights), atol=1e-6
    )
    np.testing.assert_allclose(
        aggregate(RULES["fedavg of equal voices"], updates, weights), updates.mean(axis=0), atol=1e-6
    )


# ------------------------------------------------------------------------------------------------- one poisoned of five


class Poisoned(AbstractLearner):
    """Sends minus ten times what it learnt."""

    def __init__(self, good: AbstractLearner):
        self.good = good

    def fit(self, arrays, *, round, steps):  # noqa: A002
        answer = self.good.fit(arrays, round=round, steps=steps)
        worse = {name: arrays[name] - 10 * (values - arrays[name]) for name, values in answer.arrays.items()}
        return Fitted(worse, answer.weight, answer.metrics)

    def evaluate(self, arrays):
        return self.good.evaluate(arrays)


def loss_with_one_poisoned(aggregator: str) -> float:
    everyone = toys.learners(5, alpha=100.0)
    everyone[2] = Poisoned(everyone[2])
    settings = FederatedSettings(rounds=5, steps=40, aggregator=aggregator)
    done = run_in_process(everyone.__getitem__, 5, settings, toys.start())
    return toys.everything(5).loss(done.arrays)


def clean_loss() -> float:
    settings = FederatedSettings(rounds=5, steps=40)
    done = run_in_process(toys.learners(5, alpha=100.0).__getitem__, 5, settings, toys.start())
    return toys.everything(5).loss(done.arrays)


@pytest.mark.parametrize("aggregator", ["median", "trimmed-mean", "krum", "multi-krum"])
def test_robust_rules_stay_within_a_fifth_with_one_of_five_poisoned(aggregator):
    assert loss_with_one_poisoned(aggregator) <= 1.2 * clean_loss()


def test_the_plain_mean_breaks_with_one_of_five_poisoned():
    assert loss_with_one_poisoned("fedavg") > 100 * clean_loss()


def test_bulyan_bears_one_of_seven():
    everyone = toys.learners(7, alpha=100.0)
    everyone[2] = Poisoned(everyone[2])
    settings = FederatedSettings(rounds=5, steps=40, aggregator="bulyan")
    done = run_in_process(everyone.__getitem__, 7, settings, toys.start())
    clean = run_in_process(toys.learners(7, 100.0).__getitem__, 7, FederatedSettings(rounds=5, steps=40), toys.start())
    assert toys.everything(7).loss(done.arrays) <= 1.2 * toys.everything(7).loss(clean.arrays)


@pytest.mark.parametrize(("aggregator", "sites"), [("median", 3), ("krum", 5), ("bulyan", 7)])
def test_a_rule_is_not_applied_to_fewer_answers_than_it_needs(aggregator, sites):
    settings = FederatedSettings(rounds=1, steps=7, aggregator=aggregator, deadline_s=30)
    done = run_in_process(
        toys.learners(sites).__getitem__,
        sites,
        settings,
        toys.start(),
        delay_s=lambda site, message: 60.0 * (site == 0),
    )
    assert (done.history[0].late, done.history[0].changed) == (1, False)


# --------------------------------------------------------------------------------------------------- noise for a site


def private(noise: float, clip: float) -> FederatedSettings:
    return FederatedSettings(weights="equal", privacy=PrivacySection(kind="client", noise=noise, clip=clip))


def test_an_update_is_cut_to_the_clip_norm_over_all_its_arrays():
    far = np.full((4, 5), 100.0)
    moved = aggregate(private(1e-9, 1.0), far)
    assert np.linalg.norm(moved) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(moved, far[0] / np.linalg.norm(far[0]), atol=1e-5)


@pytest.mark.parametrize("sites", [2, 8])
def test_the_noise_in_the_mean_is_that_of_those_who_answered(sites):
    numbers = 100_000
    moved = aggregate(private(0.5, 2.0), np.zeros((sites, numbers)))
    assert moved.std() == pytest.approx(0.5 * 2.0 / sites, rel=0.03)
    assert abs(moved.mean()) < 4 * 0.5 * 2.0 / sites / np.sqrt(numbers)


def test_arrays_of_a_strategy_are_flowers_own_records():
    with task_identity():
        mean, _ = PlainExchange(FederatedSettings())._aggregate([(0, Fitted({"a": np.ones(2)}, 1.0))], {}, 1)
    assert not isinstance(mean, ArrayRecord)
    assert {name: values.dtype for name, values in mean.items()} == {"a": np.float32}
