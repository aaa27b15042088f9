"""Changing the steps of what runs: the books, the journal and the virtual world, and orders that come too late."""

import dataclasses
import json

import pytest

from dispatch.fleets import FLEET, dispatcher, request
from dispatch.retargeting import GONE, QUALITY, Retargeting, change
from edgegen.core.errors import InputError
from edgegen.dispatch import replay
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.journal import Header, MemoryJournal, read, requests, story
from edgegen.dispatch.messages import Abandoned, Arrived, NodeLost, Progressed, Start
from edgegen.registry import load_policy

CATALOG = Catalog(FLEET)


@pytest.fixture
def simulate(monkeypatch):
    """Simulate with a dispatcher that changes steps as `wanted` says."""

    def run(wanted, asked, **others):
        real = replay.Dispatcher
        with monkeypatch.context() as patched:
            patched.setattr(replay, "Dispatcher", lambda *args, **kwargs: Retargeting(real(*args, **kwargs), wanted))
            return replay.simulate(CATALOG, load_policy("greedy-cost"), asked, **others)

    return run


def at(step, steps, identifier="r0"):
    """Want so many steps for a request once `step` are done."""
    return lambda other, done: steps if (other, done) == (identifier, step) else None


def never(identifier, done):
    """Want no change."""


def lonely(steps=16, **parts):
    return [request(0, at_s=1.0, nodes=("cloud",), steps=steps, **parts)]


@pytest.mark.parametrize(
    ("first", "done", "wanted", "made"),
    [
        (16, 0, 4, 4),
        (16, 1, 4, 4),
        (16, 4, 8, 8),
        (4, 2, 16, 16),
        (16, 14, 24, 24),
        (16, 4, 5, 16),  # the fifth has begun
        (16, 7, 3, 16),  # seven are done
        (16, 15, 24, 16),  # the last has begun
        (16, 16, 24, 16),  # only decoding is left
    ],
)
def test_a_change_takes_effect_unless_it_is_too_late(simulate, first, done, wanted, made):
    (plain,), (outcome,) = simulate(never, lonely(first)), simulate(at(done, wanted), lonely(first))
    step_s = plain.start.step_s
    assert outcome.start.steps == made
    assert outcome.actual.generate_s == pytest.approx(plain.start.fixed_s + made * step_s)
    assert outcome.ended_s - plain.ended_s == pytest.approx((made - first) * step_s)
    assert outcome.start.quality == (QUALITY if made == wanted else plain.start.quality)
    assert outcome.actual.total_s == pytest.approx(outcome.start.predicted.total_s)


def test_whoever_waits_behind_gains_what_a_change_saves(simulate):
    asked = [request(number, at_s=1.0, nodes=("cloud",), steps=16) for number in range(4)]
    plain, changed = simulate(never, asked), simulate(at(2, 8), asked)
    step_s = plain[0].start.step_s
    for before, after in zip(plain[1:], changed[1:], strict=True):
        assert before.ended_s - after.ended_s == pytest.approx(8 * step_s)


def test_a_change_of_what_is_gone_changes_nothing(simulate):
    asked = [*lonely(), request(1, at_s=1.0, nodes=("cloud",), steps=16)]
    outcomes = simulate(at(GONE, 4), asked, events=[(1.1, Abandoned("r0"))])  # the order crosses the cancellation
    assert [outcome.status for outcome in outcomes] == ["cancelled", "finished"]
    assert outcomes[1].start.steps == 16


def test_the_next_attempt_begins_with_its_own_steps(simulate):
    asked = [request(0, at_s=1.0, models=("large",), tiers=("edge", "cloud"), steps=16)]
    (outcome,) = simulate(at(2, 8), asked, events=[(1.17, NodeLost("cloud", "power cut"))])
    assert outcome.status == "finished"
    assert (outcome.start.attempt, outcome.start.node) == (2, "edge")
    assert outcome.start.steps == 8  # of its own second step; the cloud's went with the cloud
    assert outcome.actual.generate_s == pytest.approx(0.02 + 8 * 0.04)


def test_a_journal_tells_the_change_and_the_steps_that_were_made(simulate):
    journal = MemoryJournal(Header.of(FLEET, "greedy-cost", max_waiting=64, ahead=1))
    simulate(at(4, 8), lonely(), journal=journal)
    _, entries = read(journal.lines)
    (line,) = requests(entries)
    assert (line["status"], line["steps"]) == ("finished", 8)
    (told,) = (part for part in story(entries, "r0") if part.get("command", {}).get("kind") == "Retarget")
    assert told["command"]["reason"] == "It finishes with 8 steps."
    assert json.dumps(told)


# the books


@pytest.fixture
def books():
    """The books of a dispatcher that has started r0 on the cloud with 16 steps and has heard of four of them."""
    made = dispatcher()
    (start,) = (c for c in made.handle(Arrived(lonely()[0]), 1.0) if isinstance(c, Start))
    for step in range(1, 5):
        made.books.progress(Progressed("r0", step, 16), 1.2 + step * start.step_s)
    return made.books


def run_of(books):
    return books.nodes["cloud"].runs["r0"]


def test_a_change_is_booked_with_its_prediction(books):
    run, before_s = run_of(books), books.nodes["cloud"].backlog_s(1.24)
    start = run.start
    books.retarget("r0", change(start, 8))
    assert (run.start.steps, run.start.quality) == (8, QUALITY)
    assert run.start.predicted.generate_s == pytest.approx(start.predicted.generate_s - 8 * start.step_s)
    assert before_s - books.nodes["cloud"].backlog_s(1.24) == pytest.approx(8 * start.step_s)
    assert not books.progress(Progressed("r0", 7, 8), 1.3)
    assert books.progress(Progressed("r0", 8, 8), 1.31), "the node's compute is free"


@pytest.mark.parametrize(
    ("wanted", "reports", "steps"),
    [
        (8, [(5, 16)], 8),  # it crossed the order
        (8, [(5, 16), (6, 8)], 8),
        (8, [(5, 16), (8, 16)], 16),  # it has done as many and more to come: it did not obey
        (24, [(15, 16)], 24),  # may still obey
        (24, [(15, 16), (16, 16)], 16),
        (24, [(5, 24), (16, 24)], 24),
    ],
)
def test_the_books_believe_the_worker_once_it_cannot_obey_any_more(books, wanted, reports, steps):
    run = run_of(books)
    first = run.start
    books.retarget("r0", change(first, wanted))
    for step, told in reports:
        books.progress(Progressed("r0", step, told), 2.0)
    assert run.start.steps == steps
    assert run.start.quality == (first.quality if steps == 16 else QUALITY)
    assert run.generated == (reports[-1] == (steps, steps))


def test_of_two_changes_the_books_know_both(books):
    run = run_of(books)
    books.retarget("r0", change(run.start, 8))
    books.retarget("r0", change(run.start, 12))
    assert run.start.steps == 12
    assert not books.progress(Progressed("r0", 6, 8), 2.0)
    assert run.start.steps == 12  # the second order is still on its way
    assert books.progress(Progressed("r0", 8, 8), 2.1)  # and came too late
    assert run.start.steps == 8


def test_the_books_refuse_a_change_that_cannot_be(books):
    run = run_of(books)
    with pytest.raises(InputError, match="expected more than the 4 of 16 steps that r0 has done"):
        books.retarget("r0", change(run.start, 4))
    with pytest.raises(InputError, match="r0 runs on 'cloud', not on 'edge'"):
        books.retarget("r0", dataclasses.replace(change(run.start, 8), node="edge"))
    books.progress(Progressed("r0", 16, 16), 2.0)
    with pytest.raises(InputError, match="has not done all"):
        books.retarget("r0", change(run.start, 24))
    assert run.start.steps == 16
