"""A model comes while requests are under way: nothing is disturbed, new requests may have it, and the journal replays."""

import dataclasses
import json

import numpy as np
import pytest

from dispatch.fleets import CATEGORIES, FLEET, LARGE, SMALL, STEPS, curve, dispatcher, request
from edgegen.core.errors import InputError, UnknownNameError
from edgegen.core.state import ANY
from edgegen.dispatch.audit import replay
from edgegen.dispatch.catalog import Catalog, NothingDrawsError
from edgegen.dispatch.fleet import Fleet, ModelSpec, Speed
from edgegen.dispatch.journal import read
from edgegen.dispatch.messages import (
    Arrived,
    Finished,
    Kept,
    Load,
    Loaded,
    ModelAdded,
    NodeLost,
    Progressed,
    Reject,
    Split,
    Start,
    Tick,
)
from edgegen.dispatch.records import event_from, named
from edgegen.dispatch.replay import simulate
from edgegen.registry import load_policy

FIVE = (*CATEGORIES, "novel")
NOVEL = tuple(0.9 * k / (k + 1) for k in STEPS)
NEW = ModelSpec("new", (*curve(0.9), NOVEL), 5e6)
ADDED = ModelAdded(NEW, {"edge": Speed(0.012, 0.01, 0.2), "phone": Speed(0.06, 0.01, 0.2)}, FIVE)
PLAIN = ModelAdded(ModelSpec("new", curve(0.9), 5e6), {"edge": Speed(0.012, 0.01, 0.2)}, CATEGORIES)
POLICIES = ("greedy-cost", "planner", "certified")


def starts(commands) -> dict[str, Start]:
    return {command.id: command for command in commands if isinstance(command, Start)}


def test_the_event_survives_json():
    for event in (ADDED, PLAIN):
        assert event_from(json.loads(json.dumps(named(event), allow_nan=False))) == event
    endless = dataclasses.replace(ADDED, spec=dataclasses.replace(NEW, memory_bytes=float("inf")))
    assert event_from(json.loads(json.dumps(named(endless), allow_nan=False))) == endless


def test_a_fleet_takes_a_model_behind_its_others():
    fleet = FLEET.with_model(ADDED.spec, ADDED.speeds, ADDED.categories)
    assert [model.name for model in fleet.models] == ["small", "large", "new"]
    assert fleet.models[:2] == FLEET.models, "the others are as they were"
    assert [node.name for node in fleet.nodes if "new" in node.speeds] == ["phone", "edge"]
    assert Fleet.from_dict(json.loads(json.dumps(fleet.to_dict(), allow_nan=True))) == fleet
    with pytest.raises(InputError, match="there is a model named 'new' already"):
        fleet.with_model(ADDED.spec, ADDED.speeds)
    with pytest.raises(UnknownNameError, match="no node named 'edgy'"):
        FLEET.with_model(NEW, {"edgy": Speed(1, 1, 1)}, FIVE)
    with pytest.raises(InputError, match="must begin with basic"):
        FLEET.with_model(NEW, {}, ("novel", *CATEGORIES))


@pytest.mark.parametrize("policy", POLICIES)
def test_who_names_it_gets_it_and_who_does_not_may(policy):
    made = dispatcher(policy)
    assert Load("edge", "new") in made.handle(ADDED, 0.1)
    made.handle(Loaded("edge", "new", 0.2), 0.3)
    asked = starts(made.handle(Arrived(request(1, models=("new",))), 0.4))
    assert asked["r1"].model == "new"
    assert asked["r1"].node in ADDED.speeds
    drawn = starts(made.handle(Arrived(request(2, category="novel", deadline_s=5.0)), 0.5))
    assert drawn["r2"].model == "new"
    assert drawn["r2"].quality in NOVEL
    assert replay(made.journal.lines, load_policy).same


def test_a_prompt_that_nothing_draws_is_refused_with_a_sentence():
    made = dispatcher()
    with pytest.raises(NothingDrawsError, match="nothing here can draw a prompt of the category 'novel'") as told:
        made.handle(Arrived(request(1, category="novel")), 0.1)
    assert told.value.param == "prompt"
    made.handle(ADDED, 0.2)
    assert starts(made.handle(Arrived(request(1, category="novel")), 0.3)) or made.waiting
    with pytest.raises(InputError, match=r"small and large cannot draw .* 'novel'.*models that can: new"):
        made.handle(Arrived(request(2, category="novel", models=("small", "large"))), 0.4)
    answer = made.explain(request(3, category="novel", models=("small", "new")), 0.5)
    assert answer["decision"]["model"] == "new"


def test_what_lacks_a_usual_category_is_not_asked_for_it():
    only = ModelAdded(ModelSpec("new", ((), (), (), (), NOVEL), 5e6), ADDED.speeds, FIVE)
    made = dispatcher()
    made.handle(only, 0.1)
    with pytest.raises(InputError, match="new cannot draw a prompt of the category 'basic'"):
        made.handle(Arrived(request(1, models=("new",))), 0.2)
    for number, category in enumerate(CATEGORIES, start=2):
        answer = made.explain(request(number, category=category), 0.3)
        assert answer["decision"]["model"] != "new"
        assert all(other["model"] != "new" for other in answer["alternatives"])
    assert replay(made.journal.lines, load_policy).same


@pytest.mark.parametrize("policy", POLICIES)
def test_what_runs_goes_on_as_if_nothing_had_happened(policy):
    """Two models become three, so that the tables of models grow from two rows to four."""
    outcomes = []
    for event in (Tick(), PLAIN):
        made = dispatcher(policy, ahead=0)
        for number in range(3):
            made.handle(Arrived(request(number, models=("large",))), 0.01 * number)
        begun = {name: run.start for book in made.books.nodes.values() for name, run in book.runs.items()}
        assert begun
        made.handle(event, 0.05)
        kept = {name: run.start for book in made.books.nodes.values() for name, run in book.runs.items()}
        assert kept == begun
        moment = 0.1
        for name, start in begun.items():
            ended = starts(
                made.handle(Progressed(name, start.steps, start.steps), moment)
                + made.handle(Finished(name, Split(generate_s=0.2)), moment + 0.1)
            )
            outcomes.append({key: (one.node, one.model, one.steps) for key, one in ended.items()})
            moment += 0.2
        assert replay(made.journal.lines, load_policy).same
    half = len(outcomes) // 2
    assert outcomes[:half] == outcomes[half:], "those who wait for a model of before get it, as before"
    assert any(outcomes)


def test_who_waits_may_have_the_new_model_and_what_is_excluded_stays_so():
    made = dispatcher(ahead=0)
    for number in range(6):
        made.handle(Arrived(request(number, tiers=("edge",))), 0.01 * number)
    waiting = made.waiting
    assert waiting
    old = {entry.row.request.id: entry.row for entry in made._waiting.values()}
    made.handle(PLAIN, 0.1)
    new = made.catalog.models["new"]
    for name, row in old.items():
        carried = made.catalog.carried_over(row)
        fresh = made.catalog.row(row.request)
        assert (carried.permitted == fresh.permitted).all()
        assert (carried.ints == fresh.ints).all()
        assert carried.plain == fresh.plain
        assert carried.permitted[made.catalog.node_row("edge"), new]
        assert name in made._waiting
    lost = made.catalog.carried_over(Catalog(FLEET).without(next(iter(old.values())), "edge"))
    assert not lost.permitted.any(), "what a request was taken away from stays closed to it"


def test_who_goes_on_from_a_checkpoint_keeps_its_model():
    catalog = Catalog(FLEET)
    row = catalog.continued(catalog.row(request(1)), Kept("small", 3, 8, 100.0))
    grown = Catalog(FLEET.with_model(ADDED.spec, ADDED.speeds, ADDED.categories))
    carried = grown.carried_over(row)
    assert carried.permitted.shape == (grown.node_count, grown.model_count)
    assert {int(at) for at in np.flatnonzero(carried.permitted.any(axis=0))} == {grown.models["small"]}
    assert carried.anew is not None
    assert carried.anew.permitted[:, grown.models["new"]].any()
    assert carried.anew.ints[3] == ANY
    assert grown.state([carried, carried.anew], 0.0, dispatcher(fleet=grown.fleet).books.load(0.0)).tasks.live[:2].all()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_crowd_replays_across_the_change(policy):
    made = dispatcher(policy)
    for number in range(30):
        at_s = 0.02 * number
        if number == 8:
            made.handle(PLAIN, at_s)
        if number == 15:
            third = ModelAdded(ModelSpec("third", (*curve(0.7), NOVEL), 1e6), {"cloud": Speed(0.005, 0.01, 0.1)}, FIVE)
            made.handle(third, at_s)
        if number == 20:
            made.handle(NodeLost("edge", "exit code 9"), at_s)
        wish = {"category": "novel"} if number > 15 and number % 3 == 0 else {}
        made.handle(
            Arrived(request(number, deadline_s=1.0 + 0.1 * number, origin=("phone", "tablet")[number % 2], **wish)),
            at_s,
        )
        for name, run in [next(iter(book.runs.items())) for book in made.books.nodes.values() if book.runs]:
            made.handle(Progressed(name, run.start.steps, run.start.steps), at_s + 0.01)
            made.handle(Finished(name, Split(generate_s=0.01)), at_s + 0.015)
    header, entries = read(made.journal.lines)
    assert [entry["event"]["spec"]["name"] for entry in entries if entry["event"]["kind"] == "ModelAdded"] == [
        "new",
        "third",
    ]
    assert header.fleet == FLEET
    ran = {command["model"] for entry in entries for command in entry["commands"] if command["kind"] == "Start"}
    assert "third" in ran
    assert replay(made.journal.lines, load_policy).same


def test_a_node_loads_it_at_once_only_where_there_is_room():
    tight = dataclasses.replace(FLEET.nodes[2], memory_bytes=SMALL.memory_bytes + LARGE.memory_bytes)
    made = dispatcher(fleet=dataclasses.replace(FLEET, nodes=(*FLEET.nodes[:2], tight, FLEET.nodes[3])))
    assert [one for one in made.handle(ADDED, 0.1) if isinstance(one, Load)] == [Load("phone", "new")]
    asked = made.handle(Arrived(request(1, models=("new",), nodes=("edge",))), 0.2)
    assert starts(asked)["r1"].predicted.load_s == pytest.approx(0.2), "it is loaded when it is asked for"


def test_in_virtual_time_a_model_comes_in_the_middle():
    arrivals = [request(number, at_s=0.2 * number, models=("new",) if number > 5 else ()) for number in range(12)]
    ended = simulate(Catalog(FLEET), load_policy("planner"), arrivals, events=[(1.1, ADDED)])
    assert [outcome.status for outcome in ended] == ["finished"] * 12
    assert {outcome.start.model for outcome in ended[6:]} == {"new"}
    assert "new" not in {outcome.start.model for outcome in ended[:5]}


def test_an_unknown_model_stays_unknown():
    made = dispatcher()
    with pytest.raises(UnknownNameError, match="no model named 'new'"):
        made.handle(Arrived(request(1, models=("new",))), 0.1)
    assert not [one for one in made.handle(Tick(), 0.2) if isinstance(one, Reject)]
