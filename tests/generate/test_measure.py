"""Measuring a model: with a subject whose times, memory and quality are known, the profile says what is true."""

import dataclasses
import time

import numpy as np
import pytest

from edgegen.core.errors import InputError, WorkerError
from edgegen.core.profile import Profile
from edgegen.core.result import wilson
from edgegen.generate import measure as module
from edgegen.generate.measure import QUICK, Plan, measure
from edgegen.generate.meters import EnergyCounter, Spread, cold_start, rss_bytes, take_turns

FAKE = '''
"""A subject that sleeps 2 ms + 1 ms per picture in a step, holds 32 MB, and gets 0.2 more right per step."""
import time
from pathlib import Path
import numpy as np


class Fake:
    name, picture_px, sampler, guidance, passes_per_step = "fake", 8, "none", None, 1
    categories = ("basic", "complex")

    def __init__(self, folder):
        self.files = [Path(folder) / "model.onnx"]
        self.weights = np.ones(32_000_000, np.uint8)
        self.started = []

    def captions(self, category, count, seed):
        return [category] * count, [i / count for i in range(count)]

    def start(self, captions, steps, seeds):
        assert len(captions) == len(seeds)
        self.started.append((captions[0], steps, tuple(seeds)))
        return {"n": len(captions), "category": captions[0], "done": 0, "steps": steps}

    def step(self, batch):
        if batch["n"] < 10:  # judging need not be slow
            time.sleep(0.002 + 0.001 * batch["n"])
        batch["done"] += 1
        assert batch["done"] <= batch["steps"]

    def finish(self, batch):
        level = 0.2 * min(batch["done"], 4) / (1 if batch["category"] == "basic" else 2)
        return np.full((batch["n"], 8, 8, 3), round(100 * level), np.uint8)

    def shares(self, pictures, truths):
        return [picture[0, 0, 0] / 100 > truth + 1e-9 for picture, truth in zip(pictures, truths, strict=True)]

    def outside_of_steps(self, caption):
        time.sleep(0.003)

    def warm_up(self):
        batch = self.start(["basic"], 1, [0])
        self.step(batch)
        self.finish(batch)


def open_fake(model):
    if model == "broken":
        raise ValueError("these weights are broken")
    return Fake(model)
'''

PLAN = Plan(steps=(1, 2, 4, 8), batches=(1, 2, 4), captions_per_category=40, repeats=5, cold_starts=2)


@pytest.fixture
def opener(tmp_path, monkeypatch):
    """Open the fake subject; fresh processes find it by name too."""
    (tmp_path / "fake_subject.py").write_text(FAKE)
    (tmp_path / "model.onnx").write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(module.EnergyCounter, "find", staticmethod(lambda: None))
    import fake_subject

    return fake_subject.open_fake


def test_the_profile_says_what_is_true_of_the_subject(tmp_path, opener):
    seen = []
    profile = measure(
        str(tmp_path),
        device_name="bench",
        power_w=4.0,
        plan=PLAN,
        progress=lambda *news: seen.append(news),
        opener=opener,
    )
    # sleeping takes at least as long as asked for, and on a busy machine longer
    for point in profile.step_points:
        assert 0.002 + 0.001 * point.batch <= point.step_s < 0.05
        assert point.low_s <= point.step_s <= point.high_s
        assert point.n == PLAN.repeats
    assert profile.step_s_at(4) > profile.step_s_at(1)
    assert 0.003 <= profile.fixed_s < 0.05
    assert 30e6 < profile.memory_bytes < 60e6
    assert 0 < profile.load_s < 5
    assert profile.quality["basic"].y == (0.2, 0.4, 0.8, 0.8)
    assert profile.quality["complex"].y == (0.1, 0.2, 0.4, 0.4)
    first = profile.quality_points["basic"][0]
    assert (first.steps, first.quality, first.n) == (1, 0.2, 40)
    assert (first.low, first.high) == pytest.approx(wilson(8, 40), abs=1e-5)
    assert profile.step_j() == pytest.approx(4.0 * profile.step_s_at())
    assert profile.energy_method == "declared"
    assert "estimate" in profile.provenance.assumed["power_w"]
    assert profile.provenance.load_average is not None
    assert profile.provenance.n == 40
    assert "sha256:" in profile.provenance.revision
    # asleep is not busy: less than 90 % of the wall time was ours, and the profile says so
    assert any("the machine was busy" in caution for caution in profile.provenance.cautions)
    assert seen[0] == ("load", 1, 1)
    assert ("time", 5, 5) in seen
    assert seen[-1] == ("quality", 2 * 4 * 40, 2 * 4 * 40)
    assert Profile.load(profile.save(tmp_path / "fake.json")) == profile


def test_every_step_count_sees_the_same_captions_and_noise(tmp_path, opener):
    kept = []

    def keep(model):
        kept.append(opener(model))
        return kept[-1]

    subject = keep(str(tmp_path))
    module._judge(subject, PLAN, lambda done, total: None)
    per_steps = {
        steps: [(category, seeds) for category, count, seeds in subject.started if count == steps]
        for steps in PLAN.steps
    }
    assert all(started == per_steps[1] for started in per_steps.values())
    assert sorted(seed for category, seeds in per_steps[1] if category == "basic" for seed in seeds) == list(range(40))


def test_the_same_seed_gives_the_same_quality(tmp_path, opener):
    subject = opener(str(tmp_path))
    first, second = (module._judge(subject, PLAN, lambda done, total: None) for _ in range(2))
    assert first == second


def test_without_stated_watts_the_round_number_is_marked(tmp_path, opener):
    plan = dataclasses.replace(PLAN, steps=(1, 2), captions_per_category=4, repeats=2, cold_starts=1)
    profile = measure(str(tmp_path), plan=plan, opener=opener)
    assert profile.power_w == module.DECLARED_CORE_W
    assert "no energy counter can be read here" in profile.provenance.assumed["power_w"]
    assert profile.quality_fits == {"basic": (), "complex": ()}
    assert profile.device


def test_counters_are_used_where_they_can_be_read(tmp_path, opener, monkeypatch):
    counter = EnergyCounter(())
    monkeypatch.setattr(module.EnergyCounter, "find", staticmethod(lambda: counter))
    monkeypatch.setattr(EnergyCounter, "power_w", lambda self, work, at_least_s: 17.0 if work().any() else 0)
    watts = module._watts(opener(str(tmp_path)), declared_w=4.0)
    assert (watts.power_w, watts.method, watts.assumed) == (17.0, "measured", None)
    assert "other processes included" in watts.scope


def test_a_model_that_fails_to_load_says_why(opener):
    with pytest.raises(WorkerError, match="loading broken failed in a fresh process: ValueError: these weights"):
        cold_start("broken", opener, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": ()}, "steps must be counts >= 1"),
        ({"steps": (4, 2)}, r"rising order, got \[4, 2\]"),
        ({"batches": (0, 1)}, "batches must be counts >= 1"),
        ({"batches": (1,)}, "at least two sizes"),
        ({"clock": "sun"}, "clock must be one of wall, processor, got 'sun'"),
        ({"repeats": 98}, "repeats must be at most 97"),
        ({"repeats": 0}, "repeats must be >= 1, got 0"),
        ({"captions_per_category": 0}, "captions_per_category must be >= 1"),
    ],
)
def test_an_impossible_plan_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(QUICK, **changes)


def test_impossible_watts_are_refused(opener):
    with pytest.raises(InputError, match="power_w must be > 0 watts, got -1"):
        measure("any", power_w=-1, opener=opener)


def counters(root, values, ranges=10_000_000):
    for number, value in enumerate(values):
        folder = root / f"intel-rapl:{number}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "energy_uj").write_text(f"{value}\n")
        (folder / "max_energy_range_uj").write_text(f"{ranges}\n")
    (root / "intel-rapl:0:0").mkdir(exist_ok=True)  # a part of package 0, already counted in it


def test_energy_counters_are_summed_over_packages_and_survive_going_round(tmp_path):
    counters(tmp_path, [9_000_000, 1_000_000])
    counter = EnergyCounter.find(tmp_path)
    assert counter is not None
    before = counter.read_uj()
    counters(tmp_path, [1_000_000, 4_000_000])
    assert counter.spent_j(before, counter.read_uj()) == pytest.approx(2 + 3)


def test_power_is_the_energy_of_the_work_over_its_time(tmp_path, monkeypatch):
    counters(tmp_path, [0])
    counter = EnergyCounter.find(tmp_path)
    clock = iter(np.arange(0, 100, 0.5))
    monkeypatch.setattr("edgegen.generate.meters.time.perf_counter", lambda: next(clock))
    done = []

    def work():
        done.append(1)
        counters(tmp_path, [4_000_000 * len(done)])

    # clock readings: start 0, checks at 0.5, 1.0, 1.5 and 2.0 (stop), end 2.5; three works of 4 J
    assert counter.power_w(work, 2.0) == pytest.approx(3 * 4 / 2.5)


def test_no_counters_and_unreadable_counters_are_none(tmp_path):
    assert EnergyCounter.find(tmp_path / "nothing") is None
    counters(tmp_path, [5])
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert EnergyCounter.find(tmp_path) is None


def test_works_take_turns_after_one_unmeasured_call():
    order = []
    times = take_turns({1: lambda: order.append("a"), 2: lambda: order.append("b")}, 3)
    assert "".join(order) == "ab" + "ab" * 3
    assert times.spreads[1].n == 3
    assert 0 <= times.own_share <= 1


def test_the_processor_clock_does_not_count_waiting():
    def wait_and_work():
        time.sleep(0.02)
        sum(range(200_000))

    wall = take_turns({1: wait_and_work}, 5).spreads[1].median_s
    own = take_turns({1: wait_and_work}, 5, clock="processor").spreads[1].median_s
    assert own > 0
    assert wall - own > 0.015


def test_the_profile_says_which_clock_it_was(tmp_path, opener):
    plan = dataclasses.replace(PLAN, steps=(1,), captions_per_category=2, cold_starts=1, clock="processor")
    profile = measure(str(tmp_path), plan=plan, opener=opener)
    assert "processor times" in profile.provenance.formulas["step_s"]
    assert any("processor times" in caution for caution in profile.provenance.cautions)
    assert profile.step_s_at() < 0.003  # the fake sleeps for its steps


def test_a_spread_is_median_and_quartiles():
    assert Spread.of([5.0, 1.0, 2.0, 3.0, 4.0]) == Spread(3.0, 2.0, 4.0, 5)


def test_resident_memory_grows_with_what_is_held():
    before = rss_bytes()
    held = np.ones(40_000_000, np.uint8)
    assert rss_bytes() - before > 0.8 * held.nbytes
