"""Any order of events: nothing is lost, nothing runs where it may not, everything ends once, and replays are equal."""

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch.fleets import CATEGORIES, FLEET, STEPS, dispatcher, request
from edgegen.core.state import LOCAL
from edgegen.dispatch.audit import replay
from edgegen.dispatch.messages import (
    Abandoned,
    Arrived,
    Cancel,
    Failed,
    Finished,
    NodeJoined,
    NodeLost,
    Progressed,
    Reject,
    Retarget,
    Split,
    Start,
    Tick,
)
from edgegen.registry import load_policy

NODES = tuple(spec.name for spec in FLEET.nodes)
POLICIES = ("certified", "planner", "greedy-cost", "round-robin", "all-local", "all-edge", "fixed-steps:steps=4")

asks = st.fixed_dictionaries(
    {
        "origin": st.sampled_from(("phone", "tablet")),
        "category": st.sampled_from(CATEGORIES),
        "deadline_s": st.sampled_from((0.05, 0.5, 1.0, 3.0, math.inf)),
        "min_quality": st.sampled_from((0.0, 0.5, 0.9)),
        "energy_j": st.sampled_from((0.2, 2.0, math.inf)),
        "money_usd": st.sampled_from((1e-5, math.inf)),
        "allow_degrade": st.booleans(),
        "steps": st.sampled_from((None, None, *STEPS)),
        "models": st.sampled_from(((), (), ("large",), ("small", "large"))),
        "tiers": st.sampled_from(((), (), ("device", "edge"), ("edge", "cloud"))),
    }
)
actions = st.one_of(
    st.tuples(st.just("arrive"), asks),
    st.tuples(st.just("step"), st.integers(0, 20)),
    st.tuples(st.just("finish"), st.integers(0, 20)),
    st.tuples(st.just("fail"), st.integers(0, 20), st.booleans()),
    st.tuples(st.just("leave"), st.integers(0, 20)),
    st.tuples(st.just("lose"), st.sampled_from(NODES)),
    st.tuples(st.just("join"), st.sampled_from(NODES)),
    st.tuples(st.just("wait"), st.sampled_from((0.01, 0.3, 2.0))),
)


class World:
    """What a gateway would know, kept apart from the dispatcher, and checked after every event."""

    def __init__(self, policy: str):
        self.dispatcher = dispatcher(policy, max_waiting=6, ahead=1)
        self.now_s, self.count = 0.0, 0
        self.waiting: dict[str, object] = {}
        self.running: dict[str, Start] = {}
        self.requests: dict[str, object] = {}
        self.steps: dict[str, int] = {}
        self.planned: dict[str, int] = {}
        self.ended: dict[str, str] = {}
        self.alive = set(NODES)
        self.barred: dict[str, set[str]] = {}

    def tell(self, event) -> None:
        for command in self.dispatcher.handle(event, self.now_s):
            self.obey(command)
        self.check()

    def obey(self, command) -> None:
        match command:
            case Start():
                self.check_start(command)
                del self.waiting[command.id]
                self.running[command.id], self.steps[command.id] = command, 0
                self.planned[command.id] = command.steps
            case Reject(id):
                del self.waiting[id]
                self.end(id, "rejected")
            case Retarget():
                self.retarget(command)
            case Cancel(id, node):
                assert self.running.pop(id).node == node

    def retarget(self, change: Retarget) -> None:
        """Check the order, and obey as a worker does: what has begun, and what is in its last step, goes on as it is."""
        start, begun = self.running[change.id], self.steps[change.id] + 1
        assert (change.node, self.requests[change.id].wish.steps) == (start.node, None)
        assert self.steps[change.id] < change.steps <= self.planned[change.id]
        assert change.steps in STEPS
        assert change.quality >= self.requests[change.id].limits.min_quality - 1e-6
        if begun < change.steps and begun < start.steps:
            self.running[change.id] = dataclasses.replace(start, steps=change.steps)

    def check_start(self, start: Start) -> None:
        asked = self.requests[start.id]
        wish, catalog = asked.wish, self.dispatcher.catalog
        spec = catalog.nodes[start.node]
        assert start.node in self.alive
        assert start.node not in self.barred[start.id]
        assert start.attempt == len(self.barred[start.id]) + 1
        assert start.model in spec.speeds
        assert start.steps in STEPS
        assert catalog.node_row(start.node) != LOCAL or start.node == asked.origin
        assert wish.steps in (None, start.steps)
        assert not wish.models or start.model in wish.models
        assert not wish.tiers or spec.tier in wish.tiers
        assert 0 < start.compute_share <= 1
        assert all(math.isfinite(value) and value >= 0 for value in vars(start.predicted).values())
        assert start.reason.endswith(".")

    def check(self) -> None:
        assert set(self.dispatcher.waiting) == set(self.waiting)
        under_way = {run for book in self.dispatcher.books.nodes.values() for run in book.runs}
        assert under_way == set(self.running)
        assert not under_way & set(self.waiting)
        for book in self.dispatcher.books.nodes.values():
            assert book.alive or not book.runs
            assert sum(not run.generated for run in book.runs.values()) <= 2
            assert min(book.backlog_s(self.now_s), *book.still_open(self.now_s)[:2]) >= 0

    def end(self, request_id: str, how: str) -> None:
        assert request_id not in self.ended, "a request ended twice"
        self.ended[request_id] = how

    def do(self, action) -> None:
        self.now_s += 0.003
        match action:
            case ("arrive", parts):
                asked = request(self.count, at_s=self.now_s, **parts)
                self.count += 1
                self.requests[asked.id] = self.waiting[asked.id] = asked
                self.barred[asked.id] = set()
                self.tell(Arrived(asked))
            case ("lose", node):
                self.alive.discard(node)
                self.move_back([start for start in self.running.values() if start.node == node])
                self.tell(NodeLost(node, "test"))
            case ("join", node):
                self.alive.add(node)
                self.tell(NodeJoined(node))
            case ("wait", seconds):
                self.now_s += seconds
                self.tell(Tick())
            case ("leave", which):
                self.leave(which)
            case (kind, which, *more) if self.running:
                self.work(kind, list(self.running.values())[which % len(self.running)], *more)

    def move_back(self, lost: list[Start]) -> None:
        for start in lost:
            del self.running[start.id]
            self.waiting[start.id] = self.requests[start.id]
            self.barred[start.id].add(start.node)

    def leave(self, which: int) -> None:
        known = [*self.waiting, *self.running]
        if known:
            gone = known[which % len(known)]
            self.waiting.pop(gone, None)
            self.end(gone, "left")
            self.tell(Abandoned(gone))

    def work(self, kind: str, start: Start, retry: bool = True) -> None:
        if kind == "step" and self.steps[start.id] < start.steps:
            self.steps[start.id] += 1
            self.tell(Progressed(start.id, self.steps[start.id], start.steps))
        elif kind == "finish":
            del self.running[start.id]
            self.end(start.id, "finished")
            self.tell(Finished(start.id, Split(generate_s=0.1)))
        elif kind == "fail":
            self.move_back([start])
            self.tell(Failed(start.id, "test", retry))

    def finish_everything(self) -> None:
        """Time goes on and workers work: then every request must end, whatever happened before."""
        for node in NODES:
            self.do(("join", node))
        for _ in range(200):
            if not self.waiting and not self.running:
                return
            for start in list(self.running.values()):
                self.work("finish", start)
            self.do(("wait", 0.3))
        raise AssertionError(f"still waiting: {self.waiting}, still running: {self.running}")


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=25)
@given(st.lists(actions, max_size=40))
def test_whatever_happens_every_request_ends_exactly_once(policy, script):
    world = World(policy)
    for action in script:
        world.do(action)
    world.finish_everything()
    assert set(world.ended) == set(world.requests)
    audit = replay(world.dispatcher.journal.lines, load_policy)
    assert audit.same, audit.difference


@settings(max_examples=30)
@given(st.lists(asks, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_the_waiting_table_does_not_change_who_gets_what(parts, random):
    made = dispatcher("greedy-cost")
    rows = [made.catalog.row(request(number, **part)) for number, part in enumerate(parts)]
    load = made.books.load(0.0)
    order = list(range(len(rows)))
    random.shuffle(order)
    plain = decide(made, rows, load)
    mixed = decide(made, [rows[at] for at in order], load)
    assert [plain[at] for at in order] == mixed


def decide(made, rows, load) -> list:
    from edgegen.dispatch.choices import Table

    table = Table.of(made.catalog, rows, made.catalog.state(rows, 0.0, load))
    return made._decider.choose(table).choices
