"""One story per behaviour of the dispatcher, on a fleet made of round numbers."""

import dataclasses

import numpy as np
import pytest

from dispatch.fleets import FLEET, dispatcher, request
from edgegen.core.decision import REJECT, Decision
from edgegen.core.errors import InputError, UnknownNameError
from edgegen.core.policy import HostPolicy
from edgegen.dispatch.dispatcher import HOLD_LIMIT_S, MAX_ATTEMPTS, STRANDED_LIMIT_S, Dispatcher
from edgegen.dispatch.messages import (
    Abandoned,
    Arrived,
    Cancel,
    Evict,
    Failed,
    Finished,
    Load,
    Loaded,
    NodeJoined,
    NodeLost,
    Progressed,
    Reject,
    Split,
    Start,
    Tick,
)
from edgegen.dispatch.waiting import PATIENCE


def always(node: int, model: int, steps: int) -> HostPolicy:
    """A policy that gives every request the same place."""

    def decide(state, key):
        del key
        ones = np.ones(state.task_count)
        rows = np.where(state.tasks.live, 1, 0)
        return Decision.hold(state).replace(
            node=np.where(rows, node, -1).astype(np.int32),
            model=(model * rows).astype(np.int32),
            steps=(steps * rows).astype(np.int32),
            uplink_share=ones / 100,
            downlink_share=ones / 100,
            compute_share=ones,
        )

    return HostPolicy(decide)


def starts(commands) -> list[Start]:
    return [command for command in commands if isinstance(command, Start)]


def only(commands):
    (command,) = commands
    return command


def run_through(made: Dispatcher, start: Start, now_s: float) -> list:
    """Finish a started request a second later; return the commands that follow."""
    after = made.handle(Progressed(start.id, start.steps, start.steps), now_s + 0.9)
    return after + made.handle(Finished(start.id, start.predicted), now_s + 1.0)


# ------------------------------------------------------------------------------------------------- admission and start


def test_a_request_is_started_at_once_on_an_idle_node_with_a_prediction_that_can_be_redone_by_hand():
    made = dispatcher(always(1, 1, 4))
    start = only(made.handle(Arrived(request(deadline_s=2.0)), 0.0))
    assert (start.node, start.model, start.steps, start.attempt) == ("edge", "large", 4, 1)
    assert start.predicted.upload_s == pytest.approx(1e5 / 10e6 + 0.01)
    assert start.predicted.generate_s == pytest.approx(0.02 + 4 * 0.04)
    assert start.predicted.download_s == pytest.approx(2e6 / 20e6 + 0.01)
    assert start.predicted.node_energy_j == pytest.approx(50 * 0.18)
    assert start.predicted.device_energy_j == pytest.approx(1.0 * start.predicted.upload_s)
    assert start.quality == pytest.approx(4 / 4.5)
    assert (start.step_s, start.fixed_s) == (0.04, 0.02)


def test_a_lower_clock_on_the_device_takes_longer_and_less_energy():
    def half_clock(state, key):
        found = always(0, 0, 4).decide(state, key=key)
        return found.replace(compute_share=np.full(state.task_count, 0.5))

    start = only(dispatcher(HostPolicy(half_clock)).handle(Arrived(request()), 0.0))
    assert (start.node, start.compute_share) == ("phone", 0.5)
    assert start.step_s == pytest.approx(0.1)
    assert start.predicted.generate_s == pytest.approx((0.01 + 4 * 0.05) / 0.5)
    assert start.predicted.device_energy_j == pytest.approx(4.0 * 0.25 * 0.21)
    assert start.predicted.upload_s == start.predicted.node_energy_j == start.predicted.money_usd == 0


def test_every_device_runs_its_own_requests_at_its_own_speed():
    made = dispatcher(always(0, 0, 4))
    phone = only(made.handle(Arrived(request(1, origin="phone")), 0.0))
    tablet = only(made.handle(Arrived(request(2, origin="tablet")), 0.0))
    assert (phone.node, tablet.node) == ("phone", "tablet")
    assert phone.predicted.queue_s == tablet.predicted.queue_s == 0
    assert (phone.step_s, tablet.step_s) == (0.05, 0.025)


def test_the_reason_names_the_choice_and_what_the_other_nodes_would_do():
    start = only(dispatcher(always(1, 1, 8)).handle(Arrived(request(deadline_s=0.5, min_quality=0.6)), 0.0))
    assert start.reason.startswith("edge with large at 8 steps: meets 0.5 s (predicted 0.47 s, quality 0.94)")
    assert "phone (small, " in start.reason
    assert "cloud (large, " in start.reason
    assert start.reason.endswith("Decided by given.")


def test_what_no_option_can_deliver_is_refused_at_once_with_the_closest_offer():
    refusal = only(dispatcher().handle(Arrived(request(deadline_s=0.03, min_quality=0.5)), 0.0))
    assert isinstance(refusal, Reject)
    assert refusal.code == "infeasible"
    assert refusal.offer is not None
    assert set(refusal.offer) == {"node", "model", "steps", "total_s", "quality", "energy_j"}
    assert "closest" in refusal.reason


def test_the_offer_can_be_had():
    made = dispatcher()
    offer = only(made.handle(Arrived(request(1, deadline_s=0.03)), 0.0)).offer
    second = request(2, deadline_s=offer["total_s"] * 1.001, nodes=(offer["node"],), models=(offer["model"],))
    assert starts(made.handle(Arrived(second), 0.0))


def test_whoever_allows_less_gets_the_closest_thing_instead_of_a_refusal():
    start = only(dispatcher().handle(Arrived(request(deadline_s=0.03, allow_degrade=True)), 0.0))
    assert isinstance(start, Start)
    assert "misses 0.03 s" in start.reason
    assert "closest that can run" in start.reason


def test_admission_counts_what_waits_ahead():
    made = dispatcher(always(0, 0, 16))
    for number in range(3):  # 0.81 s each on the phone; two are started, one waits
        made.handle(Arrived(request(number, local_only=True, deadline_s=5.0)), 0.0)
    # 0.81 s of its own; only what is at least as urgent counts as ahead: the two that were started, 1.62 s
    assert made.handle(Arrived(request(10, local_only=True, deadline_s=2.5, steps=16)), 0.0) == []
    # now there is that one, too, and no time for a fourth
    refusal = only(made.handle(Arrived(request(11, local_only=True, deadline_s=2.6, steps=16)), 0.0))
    assert refusal.code == "infeasible"


def test_past_the_bound_requests_are_refused_with_a_time_to_come_back():
    made = dispatcher(always(0, 0, 16), max_waiting=2)
    codes = [made.handle(Arrived(request(number)), 0.0) for number in range(5)]
    assert [len(starts(commands)) for commands in codes] == [1, 1, 0, 0, 0]
    refusal = only(codes[-1])
    assert refusal.code == "busy"
    assert refusal.retry_after_s >= 0.5
    assert made.waiting == ("r2", "r3")


def test_requests_that_name_what_does_not_exist_change_nothing():
    made = dispatcher()
    with pytest.raises(UnknownNameError, match="did you mean 'edge'"):
        made.handle(Arrived(request(nodes=("egde",))), 0.0)
    with pytest.raises(UnknownNameError, match="did you mean 'large'"):
        made.handle(Arrived(request(models=("larg",))), 0.0)
    with pytest.raises(UnknownNameError, match="device"):
        made.handle(Arrived(request(origin="edge")), 0.0)
    with pytest.raises(InputError, match="1, 2, 4, 8, 16, got 5"):
        made.handle(Arrived(request(steps=5)), 0.0)
    assert made.waiting == ()
    assert starts(made.handle(Arrived(request()), 0.0))


def test_two_requests_cannot_share_an_id():
    made = dispatcher()
    made.handle(Arrived(request()), 0.0)
    with pytest.raises(InputError, match="under way"):
        made.handle(Arrived(request()), 0.0)


@pytest.mark.parametrize(
    ("wish", "nodes"),
    [
        ({"tiers": ("cloud",)}, {"cloud"}),
        ({"tiers": ("device", "edge")}, {"phone", "edge"}),
        ({"nodes": ("edge", "phone")}, {"phone", "edge"}),
        ({"local_only": True}, {"phone"}),
        ({"models": ("large",)}, {"edge", "cloud"}),
        ({"models": ("small", "large")}, {"phone", "edge", "cloud"}),
    ],
)
def test_wishes_are_kept_by_every_choice_and_alternative(wish, nodes):
    answer = dispatcher().explain(request(**wish), 0.0)
    seen = {answer["decision"]["node"], *(other["node"] for other in answer["alternatives"])}
    assert seen == nodes


def test_wishes_that_contradict_each_other_are_named():
    made = dispatcher()
    with pytest.raises(InputError, match="no node fits"):
        made.handle(Arrived(request(local_only=True, tiers=("cloud",))), 0.0)
    with pytest.raises(InputError, match="none of the nodes phone can run large"):
        made.handle(Arrived(request(local_only=True, models=("large",))), 0.0)
    with pytest.raises(InputError, match="another device"):
        made.handle(Arrived(request(nodes=("tablet",))), 0.0)


# ---------------------------------------------------------------------------------------------------------- late binding


def test_at_most_one_more_than_ahead_are_started_and_the_others_stay_open_to_another_plan():
    made = dispatcher(always(2, 1, 16), ahead=1)
    given = [made.handle(Arrived(request(number)), 0.0) for number in range(4)]
    assert [len(starts(commands)) for commands in given] == [1, 1, 0, 0]
    assert made.waiting == ("r2", "r3")
    after = made.handle(Progressed("r0", 16, 16), 0.3)  # its steps are done, only the download is left
    assert only(starts(after)).id == "r2"


def test_the_more_urgent_one_is_started_first():
    made = dispatcher(always(2, 1, 16), ahead=0)
    made.handle(Arrived(request(0)), 0.0)
    made.handle(Arrived(request(1, deadline_s=9.0)), 0.0)
    made.handle(Arrived(request(2, deadline_s=4.0)), 0.0)
    assert only(starts(made.handle(Progressed("r0", 16, 16), 0.3))).id == "r2"


def test_a_full_downlink_holds_further_starts_back():
    made = dispatcher(always(1, 0, 1), ahead=0)
    made.handle(Arrived(request(0)), 0.0)
    made.handle(Arrived(request(1)), 0.0)
    made.handle(Arrived(request(2)), 0.0)
    assert starts(made.handle(Progressed("r0", 1, 1), 0.05))  # r0 is on the downlink, r1 starts
    assert not starts(made.handle(Progressed("r1", 1, 1), 0.07))  # both are on the downlink
    assert starts(made.handle(Finished("r0", Split()), 0.2))


def test_a_wait_for_the_downlink_is_predicted():
    made = dispatcher(always(1, 0, 1), ahead=1)
    first = only(made.handle(Arrived(request(0)), 0.0))
    second = only(made.handle(Arrived(request(1)), 0.0))
    assert second.predicted.total_s - first.predicted.total_s == pytest.approx(0.1)  # 2 Mbit at 20 Mbit/s


def test_the_prediction_includes_the_time_already_waited():
    made = dispatcher(always(2, 1, 16), ahead=0)
    made.handle(Arrived(request(0)), 0.0)
    made.handle(Arrived(request(1, at_s=0.1)), 0.1)
    start = only(starts(made.handle(Progressed("r0", 16, 16), 0.23)))
    assert start.predicted.queue_s >= 0.13
    assert start.predicted.total_s == pytest.approx(0.13 + 0.07 + 0.18 + 0.11 + 0.05 - 0.01, abs=0.06)


def test_progress_shortens_what_a_node_has_promised():
    made = dispatcher(always(2, 1, 16))
    made.handle(Arrived(request(0)), 0.0)
    before = made.snapshot(0.19)[3]["backlog_s"]
    made.handle(Progressed("r0", 12, 16), 0.19)
    after = made.snapshot(0.19)[3]
    assert after["backlog_s"] == pytest.approx(0.01 + 4 * 0.01)
    assert after["backlog_s"] < before
    assert after["running"] == [{"id": "r0", "model": "large", "step": 12, "steps": 16}]


def counted(policy: HostPolicy, seen: list[int]) -> HostPolicy:
    """The same policy, noting how many requests it is asked about."""

    def decide(state, key):
        seen.append(int(state.tasks.live.sum()))
        return policy.decide(state, key=key)

    return HostPolicy(decide)


def test_while_no_node_has_room_nobody_is_planned_but_who_comes_is_still_judged_by_all_that_waits():
    seen: list[int] = []
    made = dispatcher(counted(always(2, 1, 16), seen), ahead=0)
    for number in range(3):  # 0.18 s of work each, and 0.16 s on the way
        assert len(starts(made.handle(Arrived(request(number, nodes=("cloud",), steps=16)), 0.0))) == (number == 0)
    assert seen == [1]
    in_time = request(10, nodes=("cloud",), steps=16, deadline_s=1.0)
    assert made.handle(Arrived(in_time), 0.0) == []  # only what is at least as urgent counts: r0
    assert made.handle(Arrived(request(11, nodes=("cloud",), steps=16, deadline_s=1.1)), 0.0) == []  # and r10
    refusal = only(made.handle(Arrived(request(12, nodes=("cloud",), steps=16, deadline_s=0.5)), 0.0))
    assert refusal.code == "infeasible"
    assert seen == [1]


def test_whoever_is_not_planned_is_still_given_up_in_time():
    made = dispatcher(always(2, 1, 16), ahead=0)
    made.handle(Arrived(request(0, nodes=("cloud",))), 0.0)
    made.handle(Arrived(request(1, nodes=("cloud",), steps=16, deadline_s=1.0)), 0.0)
    gone = {}
    for now_s in np.arange(0.1, 1.2, 0.1):
        for command in made.handle(Tick(), float(now_s)):
            gone[command.id] = float(now_s)
    assert list(gone) == ["r1"]
    assert 0.4 < gone["r1"] < 1.0


def test_a_plan_is_about_the_most_urgent_and_the_others_keep_waiting():
    seen: list[int] = []
    made = dispatcher(counted(always(2, 1, 16), seen), ahead=0)
    for number in range(30):
        made.handle(Arrived(request(number, deadline_s=100.0 - number)), 0.0)
    assert max(seen) <= HostPolicy.plans_at_once
    assert len(made.waiting) == 29
    assert only(starts(made.handle(Progressed("r0", 16, 16), 0.3))).id == "r29"


def test_the_end_of_a_transfer_that_held_nobody_back_is_no_reason_for_a_plan():
    seen: list[int] = []
    made = dispatcher(counted(always(2, 1, 16), seen), ahead=0)
    for number in range(3):
        made.handle(Arrived(request(number)), 0.0)
    made.handle(Progressed("r0", 16, 16), 0.3)
    asked = len(seen)
    made.handle(Finished("r0", Split()), 0.4)
    assert len(seen) == asked


def test_nobody_is_overtaken_for_ever_while_its_plan_waits_for_a_node_that_is_late():
    def patient_with_the_first(state, key):
        """The most urgent is to wait for the cloud, everybody else goes to the edge."""
        found = always(1, 1, 1).decide(state, key=key)
        node, steps = found.node.copy(), found.steps.copy()
        first = int(np.argmin(np.where(state.tasks.live, state.tasks.deadline_s - state.tasks.age_s, np.inf)))
        node[first], steps[first] = 2, 16
        return found.replace(node=node, steps=steps)

    made = dispatcher(HostPolicy(patient_with_the_first), ahead=0)
    assert only(made.handle(Arrived(request(0, deadline_s=60.0)), 0.0)).node == "cloud"  # and it never ends
    assert made.handle(Arrived(request(1, at_s=0.1, deadline_s=60.0)), 0.1) == []
    others, now_s = [], 0.2
    while "r1" in made.waiting and now_s < 60.0:
        number = 2 + len(others)
        commands = made.handle(Arrived(request(number, at_s=now_s, deadline_s=60.0)), now_s)
        for start in starts(commands):
            if start.id != "r1":
                others.append(start.id)
            commands += run_through(made, start, now_s + 0.01)
        now_s += 2.0
    assert now_s < 60.0, f"r1 still waits after {len(others)} others were started"
    assert len(others) <= PATIENCE + 1
    assert made.books.nodes["cloud"].runs.keys() == {"r0"}


# ------------------------------------------------------------------------------------------------- failures and leaving


def test_a_failed_request_is_tried_elsewhere_and_never_again_where_it_failed():
    made = dispatcher()
    start, nodes = only(made.handle(Arrived(request()), 0.0)), []
    for attempt in range(2, MAX_ATTEMPTS + 1):
        nodes.append(start.node)
        start = only(starts(made.handle(Failed(start.id, "out of memory", retry=True), 0.1 * attempt)))
        assert start.attempt == attempt
        assert start.node not in nodes
    last = only(made.handle(Failed(start.id, "out of memory", retry=True), 1.0))
    assert (last.code, "attempt 3" in last.reason, "out of memory" in last.reason) == ("failed", True, True)


def test_three_attempts_are_enough_even_where_more_nodes_could_try():
    more = [dataclasses.replace(FLEET.nodes[2], name=f"edge-{number}") for number in range(4)]
    made = dispatcher(fleet=dataclasses.replace(FLEET, nodes=(*FLEET.nodes, *more)))
    commands = made.handle(Arrived(request()), 0.0)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert only(commands).attempt == attempt
        commands = made.handle(Failed("r0", "out of memory", retry=True), 0.1 * attempt)
    assert only(commands).code == "failed"


def test_what_would_fail_anywhere_is_not_tried_again():
    made = dispatcher()
    made.handle(Arrived(request()), 0.0)
    assert only(made.handle(Failed("r0", "bad prompt", retry=False), 0.1)).code == "failed"


def test_a_lost_node_gives_its_work_to_the_others():
    made = dispatcher(always(1, 1, 4))
    made.handle(Arrived(request(0)), 0.0)
    made.handle(Arrived(request(1)), 0.0)
    moved = starts(made.handle(NodeLost("edge", "exit code 9"), 0.1))
    assert {start.id for start in moved} == {"r0", "r1"}
    assert all(start.node != "edge" and start.attempt == 2 for start in moved)
    assert not made.snapshot(0.1)[2]["alive"]


def test_a_request_that_may_run_only_on_a_lost_node_fails_with_a_reason():
    made = dispatcher()
    made.handle(Arrived(request(nodes=("edge",))), 0.0)
    refusal = only(made.handle(NodeLost("edge", "exit code 9"), 0.1))
    assert refusal.code == "failed"
    assert "exit code 9" in refusal.reason
    assert only(made.handle(Arrived(request(1, nodes=("edge",))), 0.2)).code == "failed"


def test_a_waiting_request_waits_for_its_node_to_come_back_but_not_for_ever():
    made = dispatcher(ahead=0)
    for number in range(3):
        made.handle(Arrived(request(number, nodes=("edge",))), 0.0)
    made.handle(NodeLost("edge", "gone"), 0.1)
    assert made.waiting == ("r1", "r2")
    assert made.handle(Tick(), 0.1 + STRANDED_LIMIT_S / 2) == []
    back = made.handle(NodeJoined("edge"), 3.0)
    assert only(starts(back)).id == "r1"
    made.handle(NodeLost("edge", "gone again"), 3.1)
    given_up = only(made.handle(Tick(), 3.2 + STRANDED_LIMIT_S))
    assert (given_up.id, given_up.code) == ("r2", "failed")


def test_the_device_that_asks_may_be_gone_as_a_worker():
    made = dispatcher(always(0, 0, 4))
    made.handle(NodeLost("phone", "gone"), 0.0)
    assert only(made.handle(Arrived(request()), 0.0)).node != "phone"


def test_whoever_goes_away_is_cancelled_where_it_runs_or_forgotten_where_it_waits():
    made = dispatcher(always(2, 1, 16), ahead=0)
    made.handle(Arrived(request(0)), 0.0)
    made.handle(Arrived(request(1)), 0.0)
    assert made.handle(Abandoned("r1"), 0.1) == []
    assert made.waiting == ()
    assert made.handle(Abandoned("r0"), 0.1) == [Cancel("r0", "cloud")]
    assert made.handle(Abandoned("r0"), 0.2) == []


def test_news_about_a_request_that_is_no_longer_under_way_is_ignored():
    made = dispatcher()
    for event in (Progressed("x", 1, 2), Finished("x", Split()), Failed("x", "late", True), Abandoned("x")):
        assert made.handle(event, 0.0) == []


# --------------------------------------------------------------------------------------------- limits while one waits


def test_a_waiting_request_is_given_up_as_soon_as_it_is_certain_that_it_will_be_late():
    made = dispatcher(always(2, 1, 16), ahead=0)
    made.handle(Arrived(request(0)), 0.0)
    made.handle(Arrived(request(1, nodes=("cloud",), deadline_s=1.0, steps=16)), 0.0)
    assert made.handle(Tick(), 0.3) == []  # the cloud is slow today, r0 is not done
    refusal = only(made.handle(Tick(), 0.95))
    assert (refusal.id, refusal.code) == ("r1", "infeasible")
    assert "would need" in refusal.reason


def test_whoever_allows_less_is_started_late_rather_than_given_up():
    made = dispatcher(always(2, 1, 16), ahead=0)
    made.handle(Arrived(request(0)), 0.0)
    made.handle(Arrived(request(1, nodes=("cloud",), deadline_s=1.0, steps=16, allow_degrade=True)), 0.0)
    assert made.handle(Tick(), 0.95) == []
    start = only(starts(made.handle(Finished("r0", Split()), 1.5)))
    assert "misses 1 s" in start.reason


def test_a_policy_may_hold_a_request_only_for_a_while():
    def hold(state, key):
        del key
        return Decision.hold(state)

    made = dispatcher(HostPolicy(hold))
    first = only(made.handle(Arrived(request(0)), 0.0))  # nothing is under way: what should it wait for?
    assert "left it waiting" in first.reason
    assert made.handle(Arrived(request(1)), 0.0) == []
    assert made.handle(Tick(), HOLD_LIMIT_S / 2) == []
    assert "left it waiting" in only(made.handle(Tick(), HOLD_LIMIT_S + 0.1)).reason


def test_a_request_that_is_held_is_decided_again_at_the_next_event():
    seen: list[int] = []

    def hold(state, key):
        del key
        return Decision.hold(state)

    made = dispatcher(counted(HostPolicy(hold), seen))
    for number in range(2):
        made.handle(Arrived(request(number)), 0.0)
    asked = len(seen)
    steps = made.books.node_of("r0").runs["r0"].start.steps
    made.handle(Progressed("r0", steps, steps), 0.1)
    made.handle(Finished("r0", Split()), 0.2)
    assert len(seen) > asked


def test_a_policy_may_refuse_unless_less_is_allowed():
    def refuse(state, key):
        del key
        return Decision.hold(state).replace(node=np.where(state.tasks.live, REJECT, -1))

    made = dispatcher(HostPolicy(refuse))
    refusal = only(made.handle(Arrived(request(0)), 0.0))
    assert (refusal.code, refusal.offer is not None) == ("infeasible", True)
    assert isinstance(only(made.handle(Arrived(request(1, allow_degrade=True)), 0.0)), Start)


# ------------------------------------------------------------------------------------------------------- bad policies


def broken(state, key):
    raise RuntimeError("no idea")


def misshapen(state, key):
    return Decision.hold(state).replace(node=np.zeros(3, dtype=int))


def nonsense(state, key):
    return "the cloud"


def nowhere(state, key):
    return always(77, 0, 4).decide(state)


def wrong_model(state, key):
    return always(2, 0, 4).decide(state)  # the cloud has no small model


def not_a_clock(state, key):
    return always(0, 0, 4).decide(state).replace(compute_share=np.full(state.task_count, np.nan))


@pytest.mark.parametrize("function", [broken, misshapen, nonsense, nowhere, wrong_model, not_a_clock])
def test_a_policy_that_fails_never_stops_a_request(function):
    made = dispatcher(HostPolicy(function))
    start = only(made.handle(Arrived(request(deadline_s=2.0)), 0.0))
    assert start.predicted.total_s <= 2.0
    assert "given" in made.journal.lines[-1]
    assert '"note"' in made.journal.lines[-1]


def test_steps_that_are_not_offered_move_to_the_nearest_that_are():
    start = only(dispatcher(always(1, 1, 7)).handle(Arrived(request()), 0.0))
    assert (start.node, start.steps) == ("edge", 8)


def test_a_wish_that_the_state_cannot_express_is_kept_against_the_policy():
    fleet = dataclasses.replace(FLEET, models=(*FLEET.models, dataclasses.replace(FLEET.models[1], name="third")))
    speeds = {**FLEET.nodes[2].speeds, "third": FLEET.nodes[2].speeds["large"]}
    edge = dataclasses.replace(FLEET.nodes[2], speeds=speeds)
    fleet = dataclasses.replace(fleet, nodes=(*FLEET.nodes[:2], edge, FLEET.nodes[3]))
    made = dispatcher(always(1, 2, 4), fleet=fleet)
    assert only(made.handle(Arrived(request(0)), 0.0)).model == "third"
    assert only(made.handle(Arrived(request(1, models=("small", "large"))), 0.0)).model in ("small", "large")


# ---------------------------------------------------------------------------------------------------- models in memory


def test_a_node_loads_what_fits_when_it_joins_and_a_start_pays_for_what_is_not_loaded():
    made = dispatcher(always(1, 1, 4), loaded=False)
    assert made.handle(NodeJoined("edge"), 0.0) == []  # both are being loaded already
    start = only(made.handle(Arrived(request(0)), 0.0))
    assert start.predicted.load_s == 0.3
    made.handle(Progressed("r0", 1, 4), 0.5)
    assert made.snapshot(0.5)[2]["resident"] == ["large"]
    assert only(made.handle(Arrived(request(1)), 0.5)).predicted.load_s == 0


def test_a_model_makes_room_for_another_one():
    edge = dataclasses.replace(FLEET.nodes[2], memory_bytes=45e6)
    fleet = dataclasses.replace(FLEET, nodes=(*FLEET.nodes[:2], edge, FLEET.nodes[3]))
    made = dispatcher(always(1, 1, 4), fleet=fleet)
    assert made.snapshot(0.0)[2]["resident"] == ["small"]
    evicted, start = made.handle(Arrived(request()), 0.0)
    assert evicted == Evict("edge", "small")
    assert start.model == "large"


def test_a_policy_may_ask_for_other_models_in_memory():
    def swap(state, key):
        resident = state.nodes.resident.copy()
        resident[1] = [False, True]
        return always(0, 0, 1).decide(state).replace(resident=resident)

    edge = dataclasses.replace(FLEET.nodes[2], memory_bytes=45e6)
    fleet = dataclasses.replace(FLEET, nodes=(*FLEET.nodes[:2], edge, FLEET.nodes[3]))
    made = dispatcher(HostPolicy(swap), fleet=fleet)
    commands = made.handle(Arrived(request(0)), 0.0)
    assert commands[:2] == [Evict("edge", "small"), Load("edge", "large")]
    made.handle(Loaded("edge", "large", 0.3), 0.3)
    assert made.snapshot(0.3)[2]["resident"] == ["large"]


# ---------------------------------------------------------------------------------------------------------- explaining


def test_explaining_changes_nothing():
    made, twin = dispatcher("planner"), dispatcher("planner")
    made.explain(request(7, deadline_s=2.0), 0.0)
    assert made.waiting == ()
    assert made.handle(Arrived(request(0)), 0.0) == twin.handle(Arrived(request(0)), 0.0)
    assert made.journal.lines == twin.journal.lines


def test_an_explanation_has_the_decision_its_prediction_and_every_other_place():
    answer = dispatcher("planner").explain(request(deadline_s=0.6, min_quality=0.7), 0.0)
    assert set(answer) == {"policy", "decision", "predicted", "quality_estimate", "reason", "alternatives"}
    assert {"node", "tier", "model", "steps"} <= set(answer["decision"])
    assert answer["predicted"]["total_s"] <= 0.6
    for other in answer["alternatives"]:
        assert other["why_not"]
        assert set(other) == {"node", "model", "steps", "predicted", "quality_estimate", "feasible", "why_not"}
        assert other["feasible"] == ("would" not in other["why_not"])


def test_an_explanation_matches_what_then_happens():
    made = dispatcher("planner")
    answer = made.explain(request(0, deadline_s=1.0), 0.0)
    start = only(made.handle(Arrived(request(0, deadline_s=1.0)), 0.0))
    assert (answer["decision"]["node"], answer["decision"]["steps"]) == (start.node, start.steps)
    assert answer["predicted"]["total_s"] == pytest.approx(start.predicted.total_s)


def test_another_policy_may_be_asked_and_a_refusal_is_explained_too():
    made = dispatcher("planner")
    for number in range(6):
        made.handle(Arrived(request(number)), 0.0)
    other = made.explain(request(50), 0.0, policy=always(1, 1, 4), policy_name="mine")
    assert (other["policy"], other["decision"]["node"]) == ("mine", "edge")
    refused = made.explain(request(51, deadline_s=0.01), 0.0)
    assert refused["decision"] is None
    assert refused["offer"]["node"]


def test_nodes_show_their_queue_use_and_energy():
    made = dispatcher(always(2, 1, 16))
    for number in range(4):
        made.handle(Arrived(request(number)), 0.0)
    cloud = made.snapshot(0.0)[3]
    assert (cloud["queue"], cloud["running"], cloud["alive"], cloud["paced"]) == (4, [], True, False)
    made.handle(Progressed("r0", 16, 16), 0.3)
    made.handle(Finished("r0", Split(generate_s=0.18, node_energy_j=54.0)), 0.4)
    cloud = made.snapshot(0.4)[3]
    assert (cloud["finished"], cloud["energy_j"]) == (1, 54.0)
    assert cloud["utilisation"] == pytest.approx(0.18 / 0.4)
    assert made.snapshot(100.0)[3]["utilisation"] == 0
    phone = made.snapshot(0.4)[0]
    assert phone["link"] == {"uplink_bps": None, "downlink_bps": None, "rtt_s": 0.0}


def test_settings_are_checked():
    catalog = dispatcher().catalog
    with pytest.raises(InputError, match="max_waiting >= 1"):
        Dispatcher(catalog, always(0, 0, 1), max_waiting=0)
