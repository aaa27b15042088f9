"""Federated rounds in one process: the same numbers as by hand, late and broken sites counted, budgets, resumed runs."""

import itertools
import math

import numpy as np
import pytest

pytest.importorskip("flwr", reason="pip install -e .[federated]")

from edgegen.core.errors import ConfigError, InputError, WorkerError
from edgegen.tune.federation.in_process import run_in_process
from edgegen.tune.federation.learners import AbstractLearner, Fitted
from edgegen.tune.federation.rounds import Around, await_sites
from edgegen.tune.federation.settings import FederatedSettings, PrivacySection
from tune import toys

SITES = 4


def run(settings: FederatedSettings, *, sites: int = SITES, alpha: float = 1.0, learners=None, **rest):
    everyone = learners or toys.learners(sites, alpha)
    return run_in_process(everyone.__getitem__, sites, settings, toys.start(), **rest)


def loss(arrays, sites: int = SITES) -> float:
    return toys.everything(sites).loss(arrays)


def assert_same(first, second, tolerance: float = 0.0) -> None:
    assert list(first) == list(second)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=0, atol=tolerance)


@pytest.mark.parametrize("alpha", [100.0, 1.0, 0.1])
def test_in_process_equals_federated_averaging_by_hand(alpha):
    done = run(FederatedSettings(rounds=3, steps=7), alpha=alpha)
    assert done.ended == "rounds"
    assert_same(done.arrays, toys.averaged(SITES, 3, 7, alpha), 1e-6)


def test_one_site_is_plain_training():
    done = run(FederatedSettings(rounds=3, steps=20), sites=1)
    plain = toys.learners(1)[0].fit(toys.start(), round=1, steps=60).arrays
    assert_same(done.arrays, plain, 1e-6)


def test_a_round_writes_down_who_took_part_and_what_it_brought():
    around = Around(judge=lambda arrays: {"whole": loss(arrays)})
    done = run(FederatedSettings(rounds=2, steps=7, evaluate="sites"), around=around)
    first = done.history[0]
    assert (first.number, first.asked, first.answered, first.late, first.failed) == (1, SITES, SITES, 0, 0)
    assert set(first.sites) == {"0", "1", "2", "3"}
    by_hand = toys.averaged(SITES, 1, 7)
    sites = toys.learners(SITES)
    assert first.quality["whole"] == pytest.approx(loss(by_hand), abs=1e-5)
    weights = [len(site.y) for site in sites]
    assert first.quality["quality"] == pytest.approx(
        np.average([-site.loss(by_hand) for site in sites], weights=weights), abs=1e-5
    )
    assert first.sites["2"]["quality"] == pytest.approx(-sites[2].loss(by_hand), abs=1e-5)
    assert first.sites["2"]["examples"] == weights[2]


def test_progress_is_told_after_each_site():
    told = []
    run(FederatedSettings(rounds=2, steps=1), on_site=lambda site, message: told.append(site))
    assert told == [0, 1, 2, 3] * 2


def test_warnings_reach_who_runs():
    told = []
    privacy = PrivacySection(kind="client", noise=9.0)
    run(FederatedSettings(rounds=1, steps=1, weights="equal", privacy=privacy), around=Around(on_warning=told.append))
    assert len(told) == 1
    assert "need at least" in told[0]


# --------------------------------------------------------------------------------------------------------- who is asked


def test_a_fraction_of_the_sites_is_asked_drawn_from_the_seed():
    def asked(seed: int) -> list[set[str]]:
        done = run(FederatedSettings(rounds=6, steps=1, fraction=0.5, seed=seed), sites=6)
        assert all(record.asked == 3 for record in done.history)
        return [set(record.sites) for record in done.history]

    assert asked(1) == asked(1)
    assert asked(1) != asked(2)
    assert set().union(*asked(1)) == {str(site) for site in range(6)}


def test_who_answers_after_the_deadline_is_counted_and_not_waited_for():
    def slow(site, message):
        return 60.0 if site == 2 else 0.0

    done = run(FederatedSettings(rounds=2, steps=7, deadline_s=30.0), delay_s=slow)
    assert [(record.answered, record.late, record.failed) for record in done.history] == [(3, 1, 0)] * 2
    assert set(done.history[0].sites) == {"0", "1", "3"}


def test_without_a_deadline_the_slow_are_waited_for():
    done = run(FederatedSettings(rounds=1, steps=7), delay_s=lambda site, message: 60.0)
    assert (done.history[0].answered, done.history[0].late) == (4, 0)


def test_a_round_in_which_nobody_answers_leaves_the_arrays_as_they_are():
    done = run(FederatedSettings(rounds=1, steps=7), delay_s=lambda site, message: math.inf)
    assert not done.history[0].changed
    assert done.history[0].late == SITES
    assert_same(done.arrays, toys.start())


class Broken(AbstractLearner):
    def __init__(self, answer):
        self.answer = answer

    def fit(self, arrays, *, round, steps):  # noqa: A002
        return self.answer(arrays)

    def evaluate(self, arrays):
        raise OSError("the disk is full")


def crash(arrays):
    raise OSError("the disk is full")


BROKEN = {
    "an error": crash,
    "numbers that are not finite": lambda arrays: Fitted({n: v * np.nan for n, v in arrays.items()}, 10.0),
    "arrays of other shapes": lambda arrays: Fitted({n: np.zeros(3) for n in arrays}, 10.0),
    "arrays of other names": lambda arrays: Fitted({"w": arrays["w"]}, 10.0),
    "other metrics": lambda arrays: Fitted({n: v * np.inf for n, v in arrays.items()}, 10.0, {"else": 1.0}),
    "no examples": lambda arrays: Fitted(arrays, 0.0),
    "a weight that is no number": lambda arrays: Fitted(arrays, math.nan),
    "an infinite weight": lambda arrays: Fitted(arrays, math.inf),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("bits", [32, 8])
def test_what_a_broken_site_sends_changes_nothing(kind, bits):
    good = toys.learners(SITES)
    settings = FederatedSettings(rounds=1, steps=7, bits=bits)
    done = run(settings, sites=SITES + 1, learners=[*good, Broken(BROKEN[kind])])
    assert (done.history[0].answered, done.history[0].failed) == (SITES, 1)
    assert_same(done.arrays, run(settings).arrays)


def test_too_few_sites_are_an_error_that_says_what_to_do():
    with pytest.raises(WorkerError, match=r"4 sites came within 0.01 s, and a round needs 9"):
        run(FederatedSettings(min_sites=9), around=Around(wait_s=0.01))


class Thinning:
    """A grid whose sites leave and come back: how many are there, at each look."""

    def __init__(self, looks):
        self.looks = iter(looks)

    def get_node_ids(self):
        return list(range(next(self.looks)))


def test_sites_are_waited_for_until_as_many_are_there_as_wanted():
    assert await_sites(Thinning([1, 2, 3]), 3, 1, 60.0) == [0, 1, 2]


def test_after_the_wait_the_needed_number_is_enough():
    assert await_sites(Thinning([2, 2]), 3, 2, 0.0) == [0, 1]
    with pytest.raises(WorkerError, match="1 sites came within 0 s, and a round needs 2"):
        await_sites(Thinning([1, 1]), 3, 2, 0.0)


# ------------------------------------------------------------------------------------------------------------- budgets


def test_the_run_ends_when_quality_has_levelled_off():
    around = Around(judge=lambda arrays: {"quality": -loss(arrays)})
    settings = FederatedSettings(rounds=200, steps=20, plateau=0.01)
    done = run(settings, around=around)
    assert done.ended == "plateau"
    values = [-record.quality["quality"] for record in done.history]
    small = [1 - after / before < 0.01 for before, after in itertools.pairwise(values)]
    assert small.index(True) + 2 == len(small)  # the first small gain and one more
    assert small[-2:] == [True, True]
    assert len(done.history) < 200


def test_the_byte_budget_is_never_overdrawn():
    one = run(FederatedSettings(rounds=1, steps=1)).history[0].wire_bytes
    done = run(FederatedSettings(rounds=50, steps=1, max_bytes=3.5 * one))
    assert done.ended == "bytes"
    assert len(done.history) == 3
    assert sum(record.wire_bytes for record in done.history) <= 3.5 * one


def test_the_privacy_budget_is_never_overdrawn():
    privacy = PrivacySection(kind="example", noise=1.0, max_epsilon=2.0)
    around = Around(epsilon=lambda rounds: 0.7 * rounds)
    done = run(FederatedSettings(rounds=50, steps=1, privacy=privacy), around=around)
    assert done.ended == "epsilon"
    assert [record.epsilon for record in done.history] == pytest.approx([0.7, 1.4])


def test_a_privacy_budget_needs_an_accountant():
    privacy = PrivacySection(kind="example", noise=1.0, max_epsilon=2.0)
    with pytest.raises(InputError, match="accountant"):
        run(FederatedSettings(privacy=privacy))


# ------------------------------------------------------------------------------------------------------------- resuming


class Killed(BaseException):
    """Stands for a kill: nothing in the program catches it."""


def kill_in(number: int):
    def kill(progress):
        if len(progress.history) == number:
            raise Killed

    return kill


@pytest.mark.parametrize(
    "settings",
    [
        FederatedSettings(rounds=4, steps=7),
        FederatedSettings(rounds=4, steps=7, bits=8, fraction=0.5, aggregator="median", malicious=0),
    ],
)
def test_a_killed_server_goes_on_and_gives_the_same_result(tmp_path, settings):
    whole = run(settings, folder=str(tmp_path / "whole"))
    with pytest.raises(Killed):
        run(settings, folder=str(tmp_path / "cut"), around=Around(on_round=kill_in(2)))
    calls = []
    around = Around(on_round=lambda progress: calls.append(len(progress.history)))
    resumed = run(settings, folder=str(tmp_path / "cut"), around=around)
    assert calls == [3, 4]
    assert_same(resumed.arrays, whole.arrays)
    for first, second in zip(resumed.history, whole.history, strict=True):
        assert first.sites == second.sites
        assert first.metrics == second.metrics
        assert first.up_payload_bytes == second.up_payload_bytes


def test_a_kill_while_writing_leaves_the_round_before(tmp_path, monkeypatch):
    import edgegen.tune.federation.records as records

    settings = FederatedSettings(rounds=3, steps=7)
    whole = run(settings)
    replace, done = records.os.replace, []

    def kill_before(source, target):
        done.append(target)
        if len(done) == 4:  # two files a round: the history of the second round is never put in place
            raise Killed
        replace(source, target)

    monkeypatch.setattr(records.os, "replace", kill_before)
    with pytest.raises(Killed):
        run(settings, folder=str(tmp_path))
    monkeypatch.setattr(records.os, "replace", replace)
    assert_same(run(settings, folder=str(tmp_path)).arrays, whole.arrays)


def test_a_finished_run_is_not_run_again_and_may_be_prolonged(tmp_path):
    short = FederatedSettings(rounds=2, steps=7)
    run(short, folder=str(tmp_path))
    again = run(short, folder=str(tmp_path), learners=[None] * SITES)  # nobody is asked
    assert again.ended == "rounds"
    longer = run(FederatedSettings(rounds=3, steps=7), folder=str(tmp_path))
    assert_same(longer.arrays, run(FederatedSettings(rounds=3, steps=7)).arrays)


def test_a_folder_of_another_run_is_refused(tmp_path):
    run(FederatedSettings(rounds=1, steps=7), folder=str(tmp_path))
    with pytest.raises(InputError, match="other settings \\(steps\\)"):
        run(FederatedSettings(rounds=1, steps=8), folder=str(tmp_path))


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "history.json").write_text("{")
    with pytest.raises(InputError, match="does not hold a run"):
        run(FederatedSettings(rounds=1), folder=str(tmp_path))


# ------------------------------------------------------------------------------------------------------------- combining


def test_the_new_arrays_can_be_made_of_single_updates():
    """As mode 'fedex' does, whose residual needs every site's factors; here the largest b of all."""

    def combine(before, mean, fitted):
        assert set(before) == {"w", "b"}
        return {"w": mean["w"], "b": np.max([answer.arrays["b"] for answer in fitted])}

    done = run(FederatedSettings(rounds=1, steps=7, mode="fedex"), around=Around(combine=combine))
    fitted = [learner.fit(toys.start(), round=1, steps=7) for learner in toys.learners(SITES)]
    assert done.arrays["b"] == max(answer.arrays["b"] for answer in fitted)


def test_mode_fedex_needs_what_combines():
    with pytest.raises(InputError, match="combine"):
        run(FederatedSettings(mode="fedex"))


def test_arrays_that_no_site_sends_stay():
    class Half(AbstractLearner):
        def fit(self, arrays, *, round, steps):  # noqa: A002
            return Fitted({"b": arrays["b"] + 1}, 5.0)

        def evaluate(self, arrays):
            return {}

    done = run(FederatedSettings(rounds=2), learners=[Half()] * SITES)
    assert done.arrays["b"] == 2
    np.testing.assert_array_equal(done.arrays["w"], toys.start()["w"])


def test_sites_that_cannot_bear_so_many_bad_ones_are_refused():
    with pytest.raises(ConfigError, match="at least 7 sites"):
        run(FederatedSettings(aggregator="bulyan", malicious=1))
