"""Machines that are not as fast as their profiles say: noticed within a few pictures, and only then."""

import math

import numpy as np
import pytest

from dispatch.fleets import FLEET, dispatcher, request
from edgegen.dispatch.audit import replay
from edgegen.dispatch.messages import Arrived, Finished, Progressed, Split, Start
from edgegen.dispatch.slowness import LEVEL, Slowness
from edgegen.registry import load_policy


def taught(factors, *, step_s=0.02, steps=1) -> Slowness:
    slowness = Slowness()
    for factor in factors:
        slowness.observe(steps * step_s, steps * step_s * factor, steps=steps)
    return slowness


def test_a_machine_that_keeps_to_its_profile_keeps_its_numbers():
    rng = np.random.default_rng(0)
    slowness = Slowness()
    for factor in np.exp(rng.normal(0.0, 0.08, 2000)):
        assert not slowness.observe(0.02, 0.02 * factor, steps=1)
    assert slowness.factor == 1.0


def test_one_hiccup_changes_nothing():
    assert taught([1.0] * 20 + [25.0]).factor == 1.0
    assert taught([25.0]).factor == 1.0


@pytest.mark.parametrize("factor", [0.2, 4.0, 40.0])
def test_what_is_far_off_twice_in_a_row_is_believed_at_once(factor):
    assert taught([1.0] * 20 + [factor] * 2).factor == pytest.approx(factor, rel=0.1)
    assert 0.9 < taught([1.0] * 20 + [factor, 1.0, factor, 1.0]).factor < 1.11


@pytest.mark.parametrize("factor", [0.4, 1.5, 3.0])
def test_a_lasting_change_is_found_within_three_pictures_of_eight_steps_and_forgotten_as_fast(factor):
    slowness = taught([1.0] * 40 + [factor] * 24)
    assert slowness.factor == pytest.approx(factor, rel=0.15)
    back = taught([1.0] * 40 + [factor] * 24 + [1.0] * 24)
    assert back.factor == pytest.approx(1.0, abs=0.15)


def test_several_steps_told_at_once_teach_as_much_as_the_same_told_one_by_one():
    one_by_one, at_once = taught([1.3] * 8), taught([1.3], steps=8)
    assert at_once.average == pytest.approx(one_by_one.average)


def test_times_that_say_more_about_messages_than_about_machines_are_left_out():
    assert taught([50.0] * 100, step_s=1e-4).factor == 1.0


def test_the_factor_does_not_swing_between_two_levels():
    rng = np.random.default_rng(1)
    slowness = taught([LEVEL**2.5] * 60)
    changes = sum(
        slowness.observe(0.02, 0.02 * factor, steps=1)
        for factor in np.exp(rng.normal(2.5 * math.log(LEVEL), 0.05, 500))
    )
    assert changes <= 2


def make(made, number: int, at_s: float, factor: float, **parts) -> tuple[Start, float]:
    """Make a picture on a machine that takes `factor` times as long as it should; return its start and its end."""
    commands = made.handle(Arrived(request(number, at_s=at_s, **parts)), at_s)
    (start,) = (command for command in commands if isinstance(command, Start))
    now_s = at_s + start.predicted.upload_s + factor * start.fixed_s / 2
    for step in range(1, start.steps + 1):
        now_s += factor * start.step_s
        made.handle(Progressed(start.id, step, start.steps), now_s)
    now_s += factor * start.fixed_s / 2 + start.predicted.download_s
    made.handle(Finished(start.id, Split(generate_s=factor * (start.fixed_s + start.steps * start.step_s))), now_s)
    return start, now_s


@pytest.mark.parametrize("node", ["edge", "phone"])
def test_predictions_follow_a_throttled_machine_and_the_journal_replays(node):
    made, at_s = dispatcher("greedy-cost"), 1.0
    predicted = []
    for number in range(5):
        start, at_s = make(made, number, at_s, 3.0, nodes=(node,), models=("small",), steps=8)
        predicted.append((start.predicted.generate_s, start.compute_share))
        pace_s = start.step_s * start.compute_share
        assert pace_s == pytest.approx(FLEET_STEP[node]), (
            "a paced worker is given the declared pace, whatever is predicted"
        )
    wrong = [seconds * share / (3.0 * (0.01 + 8 * FLEET_STEP[node])) for seconds, share in predicted]
    assert wrong[0] == pytest.approx(1 / 3)
    assert wrong[3] == pytest.approx(1.0, rel=0.15)
    assert made.snapshot(at_s)[[spec.name for spec in FLEET.nodes].index(node)]["slowness"] > 2.5
    assert replay(made.journal.lines, load_policy).same


FLEET_STEP = {spec.name: spec.speeds["small"].step_s for spec in FLEET.nodes if "small" in spec.speeds}


def test_a_throttled_machine_loses_its_work_to_others_and_is_planned_with_when_it_has_recovered():
    made, at_s, places = dispatcher("greedy-cost"), 1.0, []
    wish = {"models": ("large",), "steps": 8, "weights": (0.0, 1.0, 0.0, 0.0)}
    for number in range(4):
        _, at_s = make(made, number, at_s, 12.0, **{**wish, "nodes": ("cloud",)})
    start, at_s = make(made, 10, at_s, 1.0, **wish)
    places.append(start.node)
    for number in range(20, 28):
        _, at_s = make(made, number, at_s, 1.0, **{**wish, "nodes": ("cloud",)})
    start, at_s = make(made, 30, at_s, 1.0, **wish)
    places.append(start.node)
    assert places == ["edge", "cloud"]
