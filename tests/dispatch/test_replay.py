"""The dispatcher in virtual time: predictions come true, nothing is lost, better policies come out better."""

import json

import numpy as np
import pytest

from dispatch.fleets import CATEGORIES, FLEET, INF, request
from edgegen.dispatch.audit import replay
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.journal import Header, MemoryJournal
from edgegen.dispatch.messages import Abandoned, NodeJoined, NodeLost
from edgegen.dispatch.replay import Outcome, simulate, summary
from edgegen.registry import load_policy, policy_names

CATALOG = Catalog(FLEET)


def arrivals(count: int, *, rate: float, seed: int = 0) -> list:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1 / rate, count))
    return [
        request(
            number,
            at_s=1.0 + float(at_s),
            origin=("phone", "tablet")[number % 2],
            category=CATEGORIES[number % 4],
            deadline_s=float(rng.uniform(0.3, 3.0)),
            min_quality=float(rng.choice([0.0, 0.5])),
            energy_j=float(rng.choice([INF, 2.0])),
        )
        for number, at_s in enumerate(times)
    ]


def run(policy: str, asked, **others) -> list[Outcome]:
    return simulate(CATALOG, load_policy(policy), asked, policy_name=policy, **others)


def test_on_an_idle_fleet_every_prediction_comes_true():
    lonely = [request(n, at_s=1 + 10.0 * n, category=CATEGORIES[n % 4], deadline_s=2.0) for n in range(8)]
    for outcome in run("planner", lonely):
        assert outcome.status == "finished"
        assert outcome.actual.total_s == pytest.approx(outcome.start.predicted.total_s, abs=1e-9)
        assert outcome.met_limits


@pytest.mark.parametrize("policy", policy_names())
def test_every_arrival_ends_exactly_once_and_the_journal_replays(policy):
    asked = arrivals(30, rate=15)
    journal = MemoryJournal(Header.of(FLEET, policy, max_waiting=8, ahead=1))
    outcomes = run(policy, asked, journal=journal, max_waiting=8)
    assert [outcome.request.id for outcome in outcomes] == [ask.id for ask in asked]
    assert all((outcome.actual is None) == (outcome.status != "finished") for outcome in outcomes)
    assert replay(journal.lines, load_policy).same


def test_under_load_predictions_at_the_start_stay_close():
    made = [outcome for outcome in run("greedy-cost", arrivals(60, rate=10)) if outcome.actual]
    errors = [outcome.actual.total_s - outcome.start.predicted.total_s for outcome in made]
    assert np.mean(np.abs(errors)) < 0.02


def test_the_parts_of_the_time_add_up_to_the_whole():
    for outcome in run("greedy-cost", arrivals(30, rate=10)):
        if outcome.actual:
            assert outcome.actual.total_s == pytest.approx(outcome.ended_s - outcome.request.arrived_s)


def test_the_same_arrivals_give_the_same_outcomes():
    assert run("planner", arrivals(25, rate=12)) == run("planner", arrivals(25, rate=12))


def test_a_node_works_on_one_picture_at_a_time():
    asked = [request(n, at_s=1.0, nodes=("cloud",), steps=16) for n in range(6)]
    ends = sorted(outcome.ended_s for outcome in run("greedy-cost", asked))
    assert min(np.diff(ends)) >= 0.18 - 1e-9


def test_the_planner_beats_every_fixed_number_of_steps_on_quality_in_time():
    asked = arrivals(60, rate=10)
    planner = summary(run("planner", asked))
    fixed = [summary(run(f"fixed-steps:steps={steps}", asked)) for steps in FLEET.steps]
    assert planner["quality_in_time"] > max(figures["quality_in_time"] for figures in fixed)
    assert planner["attainment"] >= 0.95


def test_a_node_that_is_lost_and_comes_back_costs_time_but_no_request():
    asked = arrivals(30, rate=10)
    events = [(2.0, NodeLost("cloud", "power cut")), (3.0, NodeJoined("cloud")), (2.5, NodeLost("edge", "power cut"))]
    outcomes = run("greedy-cost", asked, events=events)
    assert {outcome.status for outcome in outcomes} <= {"finished", "infeasible", "failed"}
    moved = [outcome for outcome in outcomes if outcome.start and outcome.start.attempt > 1]
    assert moved
    assert all(outcome.actual for outcome in moved)


def test_whoever_goes_away_is_counted_and_stops_the_work():
    asked = [request(n, at_s=1.0, nodes=("cloud",), steps=16) for n in range(4)]
    outcomes = run("greedy-cost", asked, events=[(1.1, Abandoned("r0")), (1.1, Abandoned("r3"))])
    assert [outcome.status for outcome in outcomes] == ["cancelled", "finished", "finished", "cancelled"]
    assert outcomes[1].ended_s < 1.1 + 0.05 + 0.2 + 0.2


def test_a_summary_of_nothing_is_not_an_error():
    figures = summary([])
    assert figures["attainment"] == 0
    assert figures["joules_per_good"] == INF


def test_figures_of_a_summary_are_those_of_the_outcomes():
    outcomes = run("greedy-cost", [request(0, at_s=1.0, deadline_s=2.0), request(1, at_s=9.0, deadline_s=0.01)])
    figures = summary(outcomes)
    assert (figures["requests"], figures["made"], figures["attainment"]) == (2, 1, 0.5)
    assert figures["p50_s"] == outcomes[0].actual.total_s
    assert figures["quality"] == outcomes[0].start.quality / 2
    assert json.dumps(figures)
