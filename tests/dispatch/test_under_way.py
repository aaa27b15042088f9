"""What the planner does about pictures in the making: fewer steps when others wait, never more than were planned."""

import math

import numpy as np
import pytest

from dispatch.fleets import FLEET, dispatcher, request
from edgegen.dispatch.audit import replay
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.journal import Header, MemoryJournal, read
from edgegen.dispatch.messages import Arrived, Finished, Progressed, Reject, Retarget, Split, Start
from edgegen.dispatch.replay import simulate
from edgegen.registry import load_policy


def busy_cloud(**parts):
    """A dispatcher whose cloud makes r0 with 16 steps, of which three are done."""
    made = dispatcher("certified")
    (start,) = (c for c in made.handle(Arrived(request(0, nodes=("cloud",), **parts)), 0.0) if isinstance(c, Start))
    for step in (1, 2, 3):
        made.handle(Progressed("r0", step, start.steps), 0.2 + 0.01 * step)
    return made, start


def changes(commands):
    return [command for command in commands if isinstance(command, Retarget)]


def urgent(number=1, left_s=0.32, **parts):
    return Arrived(request(number, at_s=0.231, nodes=("cloud",), deadline_s=left_s, **parts))


def test_a_running_picture_is_shortened_for_an_urgent_one():
    made, start = busy_cloud()
    commands = made.handle(urgent(), 0.231)
    (change,) = changes(commands)
    assert (change.id, change.node) == ("r0", "cloud")
    assert 5 <= change.steps < start.steps  # three are done and the fourth is under way
    assert change.quality < start.quality
    assert change.predicted.generate_s == pytest.approx(start.fixed_s + change.steps * start.step_s)
    assert "instead of 16 steps" in change.reason
    assert any(isinstance(command, Start) and command.id == "r1" for command in commands)
    assert made.books.node_of("r0").runs["r0"].start.steps == change.steps


def test_who_can_only_be_in_time_if_a_running_picture_gives_way_is_admitted():
    made, _ = busy_cloud()
    assert not any(isinstance(command, Reject) for command in made.handle(urgent(), 0.231))
    simple, _ = busy_cloud()
    simple._decider = type(simple._decider)(load_policy("planner"), "planner")
    assert any(isinstance(command, Reject) for command in simple.handle(urgent(), 0.231))


@pytest.mark.parametrize("wish", [{"steps": 16}, {"min_quality": 0.95}])
def test_what_was_asked_for_is_kept_where_a_running_picture_would_be_shortened(wish):
    made, start = busy_cloud(**wish)
    assert start.steps == 16
    assert not changes(made.handle(urgent(), 0.231))
    free, _ = busy_cloud()
    (change,) = changes(free.handle(urgent(), 0.231))
    assert change.quality < 0.95


def test_what_the_worker_says_is_believed_in_the_end():
    made, start = busy_cloud()
    (change,) = changes(made.handle(urgent(), 0.231))
    for step in range(4, start.steps + 1):  # the order came too late: it goes on as it began
        made.handle(Progressed("r0", step, start.steps), 0.2 + 0.01 * step)
    assert made.books.node_of("r0").runs["r0"].start.steps == start.steps != change.steps
    made.handle(Finished("r0", Split(generate_s=0.2)), 0.6)
    assert "r0" not in made.books


def crowd(seed: int, count: int = 60, rate: float = 12.0):
    rng = np.random.default_rng(seed)
    at_s = np.cumsum(rng.exponential(1 / rate, count))
    wishes = rng.choice([1, 2, 4], count)
    return [
        request(
            number,
            at_s=float(at_s[number]),
            origin="phone" if number % 2 else "tablet",
            deadline_s=float(rng.choice([0.4, 0.8, 2.0])),
            **({"steps": 8} if wishes[number] == 1 else {}),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_in_a_crowd_steps_only_fall_from_what_was_planned_and_the_journal_replays(seed):
    journal = MemoryJournal(Header.of(FLEET, "certified", max_waiting=64, ahead=1))
    asked = crowd(seed)
    ended = simulate(Catalog(FLEET), load_policy("certified"), asked, policy_name="certified", journal=journal)
    assert {outcome.status for outcome in ended} <= {"finished", "infeasible"}
    header, entries = read(journal.lines)
    assert header.policy == "certified"
    planned, changed = {}, 0
    wished = {one.id: one.wish.steps for one in asked}
    for entry in entries:
        for command in entry["commands"]:
            if command["kind"] == "Start":
                planned[command["id"]] = command["steps"]
            if command["kind"] == "Retarget":
                changed += 1
                assert command["steps"] <= planned[command["id"]]
                assert wished[command["id"]] is None
    assert changed > 0
    assert replay(journal.lines, load_policy).same


def test_in_a_crowd_more_are_in_time_than_under_the_first_planner():
    def kept(name):
        return sum(
            outcome.met_limits
            for seed in range(6)
            for outcome in simulate(Catalog(FLEET), load_policy(name), crowd(seed, rate=20.0), policy_name=name)
        )

    assert kept("certified") > kept("planner")


def test_books_of_open_runs_are_consistent():
    made, start = busy_cloud()
    book = made.books.nodes["cloud"]
    now_s = 0.231
    free_s, sent_s, found = book.still_open(now_s)
    ((run, begun),) = found
    assert (run.start.id, begun) == ("r0", 4)
    assert sent_s == 0.0
    left_s = start.fixed_s / 2 + (start.steps - begun) * start.step_s
    assert free_s + left_s == pytest.approx(book.backlog_s(now_s), abs=1e-9)
    squeezed_s, squeezed_sent_s = book.squeezed_s(now_s, FLEET.steps)
    assert free_s < squeezed_s < book.backlog_s(now_s)
    assert squeezed_sent_s < book.downlink_s(now_s) < math.inf


def test_a_run_that_its_worker_took_first_is_planned_from_where_it_is():
    made = dispatcher("certified")
    for number in (0, 1):
        made.handle(Arrived(request(number, nodes=("cloud",), steps=None)), 0.0)
    book = made.books.nodes["cloud"]
    (first, second) = book.runs.values()
    for step in range(1, 8):
        made.handle(Progressed("r1", step, second.start.steps), 0.07 + 0.01 * step)
    assert [run.start.id for run in book.in_turn()] == ["r1", "r0"]
    assert [(run.start.id, begun) for run, begun in book.still_open(0.145)[2]] == [("r1", 8), ("r0", 0)]
    left_s = second.start.fixed_s / 2 + (second.start.steps - 7) * second.start.step_s
    whole_s = first.start.fixed_s + first.start.steps * first.start.step_s
    assert book.backlog_s(0.14) == pytest.approx(left_s + whole_s)
    changed = changes(made.handle(Arrived(request(2, at_s=0.145, nodes=("cloud",), deadline_s=0.6)), 0.145))
    assert all(change.steps > 7 for change in changed if change.id == "r1")
