"""Secure aggregation: the mean is right, a lost site does not end it, and nobody's update can be seen."""

import math

import numpy as np
import pytest

pytest.importorskip("flwr", reason="pip install -e .[federated]")

from flwr.common import bytes_to_ndarray
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage

import edgegen.tune.federation.in_process as in_process
from edgegen.tune.federation.in_process import run_in_process
from edgegen.tune.federation.learners import AbstractLearner, Fitted
from edgegen.tune.federation.settings import FederatedSettings, SecureSection
from tune import toys

NUMBERS = 1000


class Fixed(AbstractLearner):
    """Adds a known update of 1 000 numbers."""

    def __init__(self, site: int, weight: float):
        rng = np.random.default_rng(site)
        self.update = {"a": rng.normal(size=NUMBERS - 1).astype(np.float32) / 5, "b": np.float32(rng.normal() / 5)}
        self.weight = weight

    def fit(self, arrays, *, round, steps):  # noqa: A002
        moved = {name: np.asarray(arrays[name] + self.update[name]) for name in arrays}
        return Fitted(moved, self.weight, {"loss": self.weight})

    def evaluate(self, arrays):
        return {"quality": 1.0}


SITES = [Fixed(site, 100.0 * (site + 1)) for site in range(5)]
START = {"a": np.linspace(-30, 30, NUMBERS - 1, dtype=np.float32), "b": np.asarray(7, np.float32)}
SECURE = SecureSection(shares=3, threshold=2)


def expected(sites, weights=None):
    weights = weights or [site.weight for site in sites]
    return {
        name: START[name] + np.average([site.update[name] for site in sites], axis=0, weights=weights) for name in START
    }


def run(sites=SITES, **rest):
    settings = FederatedSettings(**{"rounds": 1, "secure": SECURE, **rest.pop("settings", {})})
    return run_in_process(sites.__getitem__, len(sites), settings, START, **rest)


def largest_error(arrays, wanted) -> float:
    return max(float(np.abs(arrays[name] - wanted[name]).max()) for name in wanted)


def stage(message) -> str | None:
    records = message.content.config_records
    return records[RECORD_KEY_CONFIGS].get(Key.STAGE) if RECORD_KEY_CONFIGS in records else None


def test_the_secure_mean_is_the_weighted_mean():
    done = run()
    assert largest_error(done.arrays, expected(SITES)) < 1e-5
    record = done.history[0]
    assert (record.asked, record.answered, record.late, record.failed, record.changed) == (5, 5, 0, 0, True)
    assert record.sites["3"]["examples"] == 400
    assert record.metrics["loss"] == pytest.approx(sum(w * w for w in range(1, 6)) * 1e4 / 1500)
    assert record.metrics["cut"] == 0


def test_equal_voices_are_equal_under_secure_aggregation():
    done = run(settings={"weights": "equal"})
    assert largest_error(done.arrays, expected(SITES, [1.0] * 5)) < 1e-5


@pytest.mark.parametrize("lost_in", [Stage.COLLECT_MASKED_VECTORS, Stage.UNMASK])
def test_a_site_that_is_lost_after_its_keys_were_shared_does_not_end_the_round(lost_in):
    def lost(site, message):
        return math.inf if site == 1 and stage(message) == lost_in else 0.0

    done = run(delay_s=lost)
    # Who is lost before sending is not in the sum; who is lost after it is.
    summed = [site for site in SITES if site is not SITES[1] or lost_in == Stage.UNMASK]
    assert largest_error(done.arrays, expected(summed)) < 1e-5
    assert (done.history[0].answered, done.history[0].late) == (len(summed), 1)


@pytest.mark.parametrize("lost_in", [Stage.SETUP, Stage.SHARE_KEYS])
def test_a_site_that_is_lost_before_its_keys_were_shared_is_left_out_in_a_second_attempt(lost_in):
    def lost(site, message):
        return math.inf if site == 1 and stage(message) == lost_in else 0.0

    done = run(delay_s=lost)
    assert largest_error(done.arrays, expected([site for site in SITES if site is not SITES[1]])) < 1e-5
    assert (done.history[0].answered, done.history[0].late) == (4, 1)


def test_too_many_lost_sites_leave_the_arrays_as_they_are():
    done = run(delay_s=lambda site, message: math.inf if site != 0 else 0.0)
    assert not done.history[0].changed
    assert largest_error(done.arrays, START) == 0


def test_a_late_site_is_lost_at_the_deadline():
    def slow(site, message):
        return 60.0 if site == 1 and stage(message) == Stage.COLLECT_MASKED_VECTORS else 0.0

    done = run(settings={"deadline_s": 30.0}, delay_s=slow)
    assert largest_error(done.arrays, expected([site for site in SITES if site is not SITES[1]])) < 1e-5
    assert done.history[0].late == 1


def test_what_the_server_sees_of_a_site_tells_nothing_of_its_update(monkeypatch):
    seen, carried = {}, in_process.carried

    def watch(message, name):
        if message.has_content() and name.endswith("-reply"):
            record = message.content.config_records.get(RECORD_KEY_CONFIGS, {})
            assert not any(record_.values() for record_ in message.content.array_records.values())
            if Key.MASKED_PARAMETERS in record:
                _, *parts = [bytes_to_ndarray(part) for part in record[Key.MASKED_PARAMETERS]]
                seen[message.metadata.src_node_id - 1] = np.concatenate([part.ravel() for part in parts])
        return carried(message, name)

    monkeypatch.setattr(in_process, "carried", watch)
    run()
    assert sorted(seen) == [0, 1, 2, 3, 4]
    for site, masked in seen.items():
        true = np.concatenate([np.ravel(values) for values in SITES[site].update.values()])
        assert masked.shape == true.shape
        assert abs(np.corrcoef(masked, true)[0, 1]) < 0.1
    # The check would notice an update that is only cut into whole numbers.
    assert np.corrcoef(np.floor((true + 1) * 2**21), true)[0, 1] > 0.99


def test_numbers_outside_the_range_are_cut_and_counted():
    narrow = SecureSection(clip=0.01, max_weight=500)
    done = run(settings={"secure": narrow})
    assert done.history[0].sites["4"]["cut"] > 0.9  # weight 500 of 500: updates of 0.2 do not fit 0.01
    assert largest_error(done.arrays, expected(SITES)) > 0.1


def test_a_site_with_more_examples_than_the_sum_has_room_for_fails_alone():
    sites = [*SITES[:4], Fixed(4, 1001.0)]
    done = run(sites)
    assert (done.history[0].answered, done.history[0].failed) == (4, 1)
    assert largest_error(done.arrays, expected(sites[:4])) < 1e-5


def test_secure_rounds_learn_and_weigh_what_they_send():
    def rounds(secure):
        settings = FederatedSettings(rounds=3, steps=20, secure=secure, evaluate="sites")
        return run_in_process(toys.learners(4).__getitem__, 4, settings, toys.start())

    hidden, open_ = rounds(SecureSection(max_weight=200)), rounds(None)
    for name in open_.arrays:
        np.testing.assert_allclose(hidden.arrays[name], open_.arrays[name], atol=3e-5)
    assert hidden.history[0].up_payload_bytes == 4 * 8 * (toys.NUMBERS + 2)  # whole numbers of 64 bits, and the weight
    assert hidden.history[0].up_bytes > open_.history[0].up_bytes
