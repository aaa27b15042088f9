"""The journal: what is written can be read, told and replayed, also after a crash."""

import json
import math

import pytest

from dispatch.fleets import FLEET, dispatcher, request
from edgegen.core.errors import InputError
from edgegen.dispatch.audit import replay
from edgegen.dispatch.fleet import Fleet
from edgegen.dispatch.journal import FileJournal, Header, MemoryJournal, ids, read, requests, story
from edgegen.dispatch.messages import (
    Abandoned,
    Arrived,
    Failed,
    Finished,
    Limits,
    Load,
    NodeLost,
    Progressed,
    Reject,
    Retarget,
    Split,
    Start,
    Tick,
    Wish,
)
from edgegen.dispatch.records import command_from, event_from, from_plain, named, to_plain
from edgegen.registry import load_policy


def lived() -> MemoryJournal:
    """A short life with a bit of everything."""
    made = dispatcher("planner")
    made.handle(Arrived(request(0, deadline_s=2.0)), 0.1)
    made.handle(Arrived(request(1, deadline_s=0.01)), 0.2)
    made.handle(Progressed("r0", 1, 16), 0.3)
    made.handle(Arrived(request(2, nodes=("edge",), models=("small",))), 0.35)
    made.handle(NodeLost("edge", "exit code 9"), 0.4)
    made.handle(Arrived(request(3, origin="tablet")), 0.5)
    made.handle(Tick(), 0.6)
    for name in ("r0", "r3"):
        if name in made.books:
            made.handle(Finished(name, Split(generate_s=0.2)), 0.9)
    return made.journal


def busy(policy) -> MemoryJournal:
    """Many requests at once, planned by a policy."""
    made = dispatcher(policy, name="certified")
    for number in range(24):
        origin = "phone" if number % 3 else "tablet"
        made.handle(Arrived(request(number, origin=origin, deadline_s=0.5 + 0.1 * number)), 0.001 * number)
    made.handle(Tick(), 0.2)
    return made.journal


@pytest.mark.parametrize("budget_s", [math.inf, 1e-9])
def test_certificates_are_journalled_and_a_cut_decision_replays_to_the_same_bytes(budget_s):
    journal = busy(load_policy("certified").within(budget_s))
    _, entries = read(journal.lines)
    certificates = [entry["certificate"] for entry in entries if "certificate" in entry]
    assert len(certificates) >= 20
    assert all(one["bound"] <= one["objective"] for one in certificates)
    assert any(one["cut"] for one in certificates) == (budget_s < 1)
    assert replay(journal.lines, load_policy).same


MESSAGES = [
    Arrived(request(5, min_quality=0.5, tiers=("edge",), weights=(1.0, 0.5, 0.0, 0.0))),
    Progressed("a", 1, 2),
    Finished("a", Split(0.1, 0.2)),
    Failed("a", "no memory", True),
    Abandoned("a"),
    NodeLost("edge", "gone"),
    Tick(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_events_survive_json(message):
    assert event_from(json.loads(json.dumps(named(message), allow_nan=False))) == message


@pytest.mark.parametrize(
    "message",
    [
        Start("a", "edge", "large", 4, 7, 1, 1.0, 1.0, 0.5, 0.9, Split(0.1), "because", 0.1, 0.2),
        Retarget("a", "edge", 8, 0.75, Split(0.1, queue_s=0.2), "two others wait."),
        Reject("a", "infeasible", "too fast", offer={"node": "edge"}),
        Load("edge", "large"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_commands_survive_json(message):
    assert command_from(json.loads(json.dumps(named(message)))) == message


def test_an_unknown_kind_of_message_is_refused():
    with pytest.raises(InputError, match="expected a message of kind Arrived"):
        event_from({"kind": "Exploded"})


def test_infinity_survives():
    assert from_plain(json.loads(json.dumps(to_plain({"a": math.inf, "b": [1.5, "x"]})))) == {
        "a": math.inf,
        "b": [1.5, "x"],
    }
    limits = event_from(named(Arrived(request(0)))).request.limits
    assert limits == Limits()
    assert event_from(named(Arrived(request(0)))).request.wish == Wish()


def test_a_fleet_survives_the_header():
    header = Header.of(FLEET, "planner", max_waiting=8, ahead=1)
    assert Header.from_dict(json.loads(json.dumps(header.to_dict(), allow_nan=False))) == header
    assert Fleet.from_dict(FLEET.to_dict()) == FLEET


def test_a_recorded_life_replays_to_the_same_bytes():
    found = replay(lived().lines, load_policy)
    assert found.same
    assert found.decisions == 3  # r1 is refused without asking; nothing else waits at the other events


def test_a_journal_file_replays_and_an_older_one_is_set_aside(tmp_path):
    path = tmp_path / "runs" / "journal.jsonl"
    for _ in range(3):
        writer = FileJournal(path, Header.of(FLEET, "planner", max_waiting=64, ahead=1), fsync=True)
        for text in lived().lines[1:]:
            writer.write(json.loads(text))
        writer.close()
    assert len(list(path.parent.iterdir())) == 3
    assert replay(path, load_policy).same


def test_the_first_difference_is_shown():
    lines = lived().lines
    at = next(n for n, text in enumerate(lines) if '"kind":"Start"' in text)
    lines[at] = lines[at].replace('"node":"', '"node":"not-')
    found = replay(lines, load_policy)
    assert not found.same
    assert found.seq == json.loads(lines[at])["seq"]
    assert '-   "node": "not-' in found.difference


def test_a_state_that_differs_in_one_bit_is_noticed():
    lines = lived().lines
    at = next(n for n, text in enumerate(lines) if '"kind":"Arrived"' in text)
    entry = json.loads(lines[at])
    entry["event"]["request"]["input_bits"] += 1e-9
    lines[at] = json.dumps(entry, separators=(",", ":"))
    found = replay(lines, load_policy)
    assert found.seq == entry["seq"]
    assert '"state"' in found.difference


def test_another_policy_is_a_difference():
    lines = lived().lines
    lines[0] = lines[0].replace('"policy":"planner"', '"policy":"fixed-steps:steps=1"')
    assert not replay(lines, load_policy).same


def test_a_torn_last_line_is_ignored_but_a_torn_middle_is_not():
    lines = lived().lines
    whole = read(lines)[1]
    assert read([*lines[:-1], lines[-1][:20]])[1] == whole[:-1]
    with pytest.raises(InputError, match="line 3 of the journal"):
        read([*lines[:2], lines[2][:20], *lines[3:]])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "empty"),
        (['{"seq":1}'], "begins with a header"),
        (['{"kind":"header","version":99}'], "version 99"),
        (["[1]"], "line 1"),
    ],
)
def test_what_is_not_a_journal_is_named(lines, message):
    with pytest.raises(InputError, match=message):
        read(lines)


def test_a_missing_journal_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.jsonl"):
        read(tmp_path / "nothing.jsonl")


def test_a_line_of_a_megabyte_is_refused(tmp_path):
    journal = FileJournal(tmp_path / "j.jsonl", Header.of(FLEET, "planner", max_waiting=64, ahead=1))
    with pytest.raises(InputError, match="limit"):
        journal.write({"prompt": "x" * (1 << 20)})
    journal.close()


def test_the_story_of_a_request_has_its_arrival_decision_start_and_end():
    _, entries = read(lived().lines)
    told = story(entries, "r0")
    kinds = [part.get("event", part.get("command", {"kind": "decided"}))["kind"] for part in told]
    assert kinds[:3] == ["Arrived", "decided", "Start"]
    assert kinds[-1] == "Finished"
    assert all(part["now_s"] >= 0.1 for part in told)
    assert story(entries, "nobody") == []


def test_a_journal_lists_its_requests_and_how_they_ended():
    _, entries = read(lived().lines)
    assert ids(entries) == ["r0", "r1", "r2", "r3"]
    ended = {entry["id"]: entry["status"] for entry in requests(entries)}
    assert ended == {"r0": "finished", "r1": "refused", "r2": "failed", "r3": "finished"}
