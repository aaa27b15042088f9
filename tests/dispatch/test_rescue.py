"""Pictures that are going to be late are shortened down to their floor or moved; what a lost node had done is not lost."""

import pytest

from dispatch.fleets import FLEET, dispatcher, request
from edgegen.dispatch.audit import replay
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.journal import Header, MemoryJournal, read
from edgegen.dispatch.messages import (
    Arrived,
    Failed,
    Kept,
    Loaded,
    Migrate,
    NodeJoined,
    NodeLost,
    Progressed,
    Reject,
    Released,
    Retarget,
    Start,
    Tick,
)
from edgegen.dispatch.replay import Machines, simulate
from edgegen.dispatch.slowness import Slowness
from edgegen.registry import load_policy

BITS = 4e5


def of(kind, commands):
    return [command for command in commands if isinstance(command, kind)]


def begun(steps_done: int, *, factor: float = 1.0, node="edge", policy="certified", deadline_s=3.0, kept=None, **parts):
    """A dispatcher whose node has done some of 16 steps of r0, each in `factor` times the time; and the moment."""
    made, others = dispatcher(policy), [spec.name for spec in FLEET.nodes[2:] if spec.name != node]
    for other in others:
        made.handle(NodeLost(other, "not up yet"), 0.0)
    parts = {"models": ("large",), "deadline_s": deadline_s, "weights": (1.0, 0.0, 0.0, 0.0), **parts}
    (start,) = of(Start, made.handle(Arrived(request(0, **parts)), 0.0))
    assert (start.node, start.steps) == (node, 16)
    for other in others:
        for load in made.handle(NodeJoined(other), 0.0):
            made.handle(Loaded(load.node, load.model, 0.1), 0.0)
    now_s = start.predicted.upload_s + factor * start.fixed_s / 2
    for step in range(1, steps_done + 1):
        now_s += factor * start.step_s
        made.handle(Progressed("r0", step, start.steps, kept_bits=BITS if step == kept else None), now_s)
    return made, start, now_s


def looks(made, now_s: float):
    return made.handle(Tick(), now_s + 0.01)


def test_what_is_in_time_is_left_alone():
    made, _, now_s = begun(6)
    assert looks(made, now_s) == []


def test_a_picture_on_a_machine_that_became_slow_is_shortened_though_nobody_waits():
    made, _, now_s = begun(4, factor=3.0, deadline_s=1.2, nodes=("edge",))
    (change,) = of(Retarget, looks(made, now_s))
    run = made.books.node_of("r0").runs["r0"]
    assert 4 < change.steps < 16
    assert "edge is late" in change.reason
    ends_s = made.books.nodes["edge"].ends_s(now_s + 0.01)["r0"]
    assert ends_s <= 1.2 * 1.02
    later = next(steps for steps in FLEET.steps if steps > change.steps)
    assert ends_s + (later - change.steps) * run.step_s > 1.2, "no more is taken away than necessary"


def test_it_is_never_shortened_below_the_quality_that_was_asked_for():
    floor = 0.92
    made, _, now_s = begun(4, factor=3.0, deadline_s=1.2, nodes=("edge",), min_quality=floor)
    changes = of(Retarget, looks(made, now_s))
    assert all(change.quality >= floor for change in changes)
    without, *_ = begun(4, factor=3.0, deadline_s=1.2, nodes=("edge",))
    (change,) = of(Retarget, looks(without, now_s))
    assert change.quality < floor, "or this test shows nothing"


def test_steps_that_were_asked_for_stay():
    made, _, now_s = begun(4, factor=3.0, deadline_s=1.2, nodes=("edge",), steps=16)
    assert not of(Retarget, looks(made, now_s))


def test_a_policy_that_does_not_change_its_mind_is_not_helped():
    made, _, now_s = begun(4, factor=3.0, deadline_s=1.2, policy="greedy-quality")
    assert looks(made, now_s) == []
    assert not made.watches


def test_what_cannot_be_saved_by_fewer_steps_moves_with_its_steps():
    made, start, now_s = begun(6, factor=6.0, deadline_s=2.1, min_quality=0.96)
    assert start.node == "edge"
    (move,) = of(Migrate, looks(made, now_s))
    assert (move.id, move.node, move.to) == ("r0", "edge", "cloud")
    released_s = now_s + 0.06
    (again,) = of(Start, made.handle(Released("r0", Kept("large", 7, 16, BITS)), released_s))
    assert (again.node, again.model, again.from_step, again.attempt) == ("cloud", "large", 7, 1)
    assert again.predicted.generate_s == pytest.approx(again.fixed_s + (again.steps - 7) * again.step_s)
    assert again.predicted.upload_s == pytest.approx((1e5 + BITS) / 10e6 + 0.05)
    run = made.books.node_of("r0").runs["r0"]
    assert run.work_s == pytest.approx(again.predicted.load_s + again.fixed_s + (again.steps - 7) * again.step_s)
    assert replay(made.journal.lines, load_policy).same


def test_it_is_asked_to_move_once():
    made, _, now_s = begun(6, factor=6.0, deadline_s=2.1, min_quality=0.96)
    assert of(Migrate, looks(made, now_s))
    assert not of(Migrate, looks(made, now_s + 0.3))


def test_a_worker_that_gives_back_without_a_checkpoint_lets_it_begin_anew():
    made, _, now_s = begun(6, factor=6.0, deadline_s=2.1, min_quality=0.96)
    assert of(Migrate, looks(made, now_s))
    (again,) = of(Start, made.handle(Released("r0"), now_s + 0.1))
    assert (again.node, again.from_step) == ("cloud", 0)


def test_what_a_lost_node_had_kept_goes_on_elsewhere():
    made, start, now_s = begun(9, kept=8, deadline_s=30.0)
    (again,) = of(Start, made.handle(NodeLost("edge", "gone"), now_s))
    assert (again.node, again.model, again.from_step, again.attempt) == ("cloud", "large", 8, 2)
    assert again.steps == start.steps
    assert again.quality == pytest.approx(start.quality)
    made.handle(Progressed("r0", 9, again.steps), now_s + 1.0)
    assert made.books.node_of("r0").runs["r0"].step == 9
    assert replay(made.journal.lines, load_policy).same


def test_where_no_other_node_has_the_model_it_begins_anew_with_another():
    made, _, now_s = begun(9, kept=8, models=(), nodes=("cloud", "phone"), node="cloud", deadline_s=30.0)
    (again,) = of(Start, made.handle(NodeLost("cloud", "gone"), now_s))
    assert (again.node, again.model, again.from_step) == ("phone", "small", 0)


def test_when_going_on_fails_too_it_is_given_up_and_never_twice():
    made, _, now_s = begun(9, kept=8, deadline_s=30.0)
    made.handle(NodeLost("edge", "gone"), now_s)
    (end,) = of(Reject, made.handle(Failed("r0", "a broken file", retry=True), now_s + 0.2))
    assert end.code == "failed"
    assert "attempt 2" in end.reason
    assert made.handle(Failed("r0", "again", retry=True), now_s + 0.3) == []


def test_the_state_of_a_continued_request_offers_only_its_model_and_steps_that_are_left():
    made = dispatcher("certified")
    catalog = made.catalog
    row = catalog.continued(catalog.row(request(0, deadline_s=30.0)), Kept("large", 4, 16, BITS))
    table = made._table([row], 0.0)
    nodes, models, steps = (set(found.tolist()) for found in table.options.possible[0].nonzero())
    assert {catalog.model_names[at] for at in models} == {"large"}
    assert {FLEET.steps[at] for at in steps} == {8, 16}
    fresh = made._table([catalog.row(request(0, deadline_s=30.0))], 0.0)
    option = table.best(0)
    saved_s = fresh.options.work_s[0][option] - table.options.work_s[0][option]
    assert saved_s == pytest.approx(4 * FLEET.nodes[option.node + 1].speeds["large"].step_s)
    assert nodes == {1, 2}


def test_what_goes_on_keeps_the_steps_that_were_asked_for():
    made = dispatcher("certified")
    wish = {"models": ("large",), "weights": (0.0, 1.0, 1.0, 0.0)}
    (free,) = of(Start, made.handle(Arrived(request(0, **wish), Kept("large", 4, 16, BITS)), 0.0))
    (asked,) = of(Start, made.handle(Arrived(request(1, steps=16, **wish), Kept("large", 4, 16, BITS)), 0.0))
    assert (free.from_step, free.steps) == (4, 8), "or this test shows nothing"
    assert (asked.from_step, asked.steps) == (4, 16)


def test_a_checkpoint_with_which_it_cannot_be_in_time_is_let_go():
    made = dispatcher("certified")
    kept = Kept("large", 8, 16, bits=1e9)  # takes 100 s to send
    (start,) = of(Start, made.handle(Arrived(request(0, deadline_s=2.0), kept), 0.0))
    assert start.from_step == 0
    (start,) = of(Start, made.handle(Arrived(request(1, deadline_s=2.0), Kept("large", 8, 16, BITS)), 0.0))
    assert start.from_step == 8


def throttled(node: str, since_s: float, factor: float, **others) -> Machines:
    return Machines(lambda name, now_s: factor if name == node and now_s >= since_s else 1.0, **others)


def asked(count: int, every_s: float, **parts):
    return [request(number, at_s=0.5 + every_s * number, **parts) for number in range(count)]


def in_time(outcomes) -> int:
    return sum(outcome.met_limits for outcome in outcomes)


def test_in_a_fleet_with_a_throttled_machine_more_are_in_time_than_without_learning(monkeypatch):
    arrivals = asked(60, 0.15, models=("large",), deadline_s=1.2, min_quality=0.85)
    machines = throttled("cloud", 3.0, 20.0)

    def kept():
        return in_time(simulate(Catalog(FLEET), load_policy("certified"), arrivals, machines=machines))

    with_learning = kept()
    with monkeypatch.context() as patched:
        patched.setattr(Slowness, "observe", lambda *given, **more: False)
        assert kept() + 5 <= with_learning


def test_pictures_move_in_virtual_time_and_the_journal_tells_of_every_step_of_the_way():
    journal = MemoryJournal(Header.of(FLEET, "certified", max_waiting=64, ahead=1))
    arrivals = asked(8, 1.2, models=("large",), steps=16, deadline_s=2.6)
    ended = simulate(
        Catalog(FLEET),
        load_policy("certified"),
        arrivals,
        policy_name="certified",
        journal=journal,
        machines=throttled("cloud", 3.01, 30.0),
    )
    moved = [c["id"] for entry in read(journal.lines)[1] for c in entry["commands"] if c["kind"] == "Migrate"]
    assert moved
    for outcome in ended:
        if outcome.request.id in moved and outcome.status == "finished":
            assert outcome.start.node == "edge"
            if outcome.start.from_step:
                assert outcome.actual.generate_s == pytest.approx(0.02 + (16 - outcome.start.from_step) * 0.04)
    assert any(outcome.start and outcome.start.from_step for outcome in ended)
    assert replay(journal.lines, load_policy).same


def test_with_checkpoints_a_lost_node_costs_less_time():
    lost_s = 0.5 + 0.06 + 0.01 + 12.5 * 0.01  # sent, read, and twelve steps and a half
    arrivals = [request(0, at_s=0.5, nodes=("edge", "cloud"), models=("large",), steps=16)]
    events = [(0.0, NodeLost("edge", "not up yet")), (0.6, NodeJoined("edge")), (lost_s, NodeLost("cloud", "gone"))]

    def took_s(keep_every):
        (outcome,) = simulate(
            Catalog(FLEET),
            load_policy("greedy-cost"),
            arrivals,
            events=events,
            machines=Machines(keep_every=keep_every),
        )
        assert (outcome.status, outcome.start.node) == ("finished", "edge")
        return outcome.actual.total_s

    assert took_s(0) - took_s(2) == pytest.approx(12 * 0.04 - 4e5 / 10e6)
    assert took_s(0) - took_s(5) == pytest.approx(10 * 0.04 - 4e5 / 10e6)
