import math

from edgegen.dispatch.messages import Limits, Request, Split, Start
from edgegen.serve.store import MAX_STORY, Record, Store


def record(identifier: str, **fields) -> Record:
    request = Request(identifier, 0, "a red circle", "basic", "phone", 10.0, 1.0, 1.0, 7, **fields)
    return Record(request, "req_1", "planner", 64)


def test_the_oldest_that_has_ended_is_forgotten_and_the_running_never():
    store = Store(max_records=2)
    running, ended = record("running"), record("ended")
    ended.status = "finished"
    for entry in (running, ended, record("new")):
        store.add(entry)
    assert store.get("ended") is None
    assert [entry.id for entry in store.newest(10)] == ["new", "running"]


def test_pictures_are_bounded_in_bytes():
    store = Store(max_bytes=250)
    records = [record(f"{number}") for number in range(4)]
    for entry in records:
        store.add(entry)
        store.keep_picture(entry, b"x" * 100)
    assert [entry.png is None for entry in records] == [True, True, False, False]


def test_an_item_has_no_number_that_json_cannot_hold():
    entry = record("one", limits=Limits(deadline_s=math.inf))
    assert entry.item()["deadline_s"] is None
    assert entry.item()["met_deadline"] is None


def test_an_item_says_whether_its_deadline_was_met():
    entry = record("one", limits=Limits(deadline_s=1.0))
    entry.start = Start("one", "edge", "shapes-s", 4, 7, 1, 1.0, 1.0, 1.0, 0.9, Split(generate_s=0.5), "because")
    entry.actual = Split(upload_s=0.5, generate_s=0.75)
    item = entry.item()
    assert item["actual"]["total_s"] == 1.25
    assert item["met_deadline"] is False
    assert item["reason"] == "because"


def test_a_story_is_bounded():
    entry = record("one")
    for _ in range(MAX_STORY + 5):
        entry.tell(10.5, "again")
    assert len(entry.story) == MAX_STORY
    assert entry.story[0] == {"after_s": 0.5, "what": "again"}
