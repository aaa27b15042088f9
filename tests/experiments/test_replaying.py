"""Traces in virtual time: the same requests for all, bounds that nobody exceeds, a capacity that is one."""

import dataclasses

import numpy as np
import pytest

from dispatch.fleets import FLEET, request
from edgegen.assemble import build_fleet
from edgegen.config import default_config
from edgegen.core.errors import InputError
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.journal import FileJournal, Header
from edgegen.dispatch.replay import simulate, summary
from edgegen.experiments.arrivals import Mix
from edgegen.experiments.foresight import ORACLE, best_possible
from edgegen.experiments.replaying import Replay, entries, find_capacity, run, traffic
from edgegen.registry import load_policy

CONFIG = default_config()
CATALOG = Catalog(build_fleet(CONFIG))
SMALL = Catalog(FLEET)
RULES = ("all-light", "all-heavy", "least-loaded", "earliest-deadline-first", "threshold-cascade", "batch-denoising")


def rows(policies, *, rate_hz=12.0, seconds=6.0, seeds=(0,), **others):
    demand = traffic("poisson", CONFIG, rate_hz=rate_hz, seconds=seconds, **others)
    return list(Replay(CATALOG, demand, policies, seeds).rows())


def test_every_policy_gets_the_same_requests_and_ends_all_of_them():
    found = rows(RULES)
    assert len({row["requests"] for row in found}) == 1
    assert all(row["made"] + round(row["refused"] * row["requests"]) == row["requests"] for row in found)


@pytest.mark.parametrize("rate_hz", [4.0, 40.0])
def test_nobody_exceeds_who_sees_the_future(rate_hz):
    bound, *others = rows([ORACLE, "certified", *RULES], rate_hz=rate_hz, seconds=4.0)
    for figure in ("attainment", "quality_in_time"):
        assert max(row[figure] for row in others) <= bound[figure] + 1e-9


def test_the_bound_is_reached_where_it_can_be_computed_by_hand():
    # The cloud needs 0.02 + 16 x 0.01 s for the best picture, and four come at once with time for two.
    link_s = 0.1 + 1e5 / 10e6 + 2e6 / 20e6
    asked = [request(n, nodes=("cloud",), steps=16, deadline_s=2 * 0.18 + link_s + 1e-3) for n in range(4)]
    found = best_possible(SMALL, asked)
    assert 0.5 <= found["attainment"] <= 0.52
    patient = [request(n, nodes=("cloud",), steps=16, deadline_s=100.0) for n in range(4)]
    assert best_possible(SMALL, patient)["attainment"] == pytest.approx(1.0)
    hopeless = [request(0, deadline_s=0.001)]
    assert best_possible(SMALL, hopeless) == {"attainment": 0.0, "quality_in_time": 0.0}


def test_the_bound_keeps_floors_and_budgets():
    assert best_possible(SMALL, [request(0, min_quality=0.999)])["attainment"] == 0.0
    assert best_possible(SMALL, [request(0, nodes=("phone",), energy_j=1e-6)])["attainment"] == 0.0


def test_intervals_come_with_several_seeds_only():
    one, several = entries(rows(["all-light"])), entries(rows(["all-light"], seeds=(0, 1, 2)))
    assert all(entry["low"] is None for entry in one)
    latency = next(entry for entry in several if entry["metric"] == "p50_s")
    assert latency["low"] < latency["mean"] < latency["high"]
    assert latency["n"] == 3


def test_a_seed_decides_the_requests():
    demand = traffic("bursty", CONFIG, rate_hz=5.0, seconds=10.0)
    assert demand.requests(1) == demand.requests(1) != demand.requests(2)


def test_a_rate_and_a_scale_change_how_many_come():
    counts = [
        len(traffic("poisson", CONFIG, rate_hz=r, scale=s, seconds=100.0).requests(0)) for r, s in ((5, 1), (5, 3))
    ]
    assert counts == pytest.approx([500, 1500], rel=0.15)


def test_a_mix_holds_for_all_requests():
    demand = traffic("poisson", CONFIG, rate_hz=5.0, mix=Mix(deadlines=((1.0, 2.0, 2.0),), floored=0.0), seconds=5.0)
    assert {(one.limits.deadline_s, one.limits.min_quality) for one in demand.requests(0)} == {(2.0, 0.0)}


def test_a_journal_is_replayed_with_its_own_requests(tmp_path):
    asked = traffic("poisson", CONFIG, rate_hz=6.0, seconds=5.0).requests(3)
    path = tmp_path / "journal.jsonl"
    journal = FileJournal(path, Header.of(CATALOG.fleet, "all-light", max_waiting=64, ahead=1))
    live = simulate(CATALOG, load_policy("all-light"), asked, policy_name="all-light", journal=journal)
    journal.close()
    demand = traffic(str(path), CONFIG)
    again = demand.requests(0)
    assert [one.limits for one in again] == [one.limits for one in asked]
    assert [one.prompt for one in again] == [one.prompt for one in asked]
    assert np.diff([one.arrived_s for one in again]) == pytest.approx(np.diff([one.arrived_s for one in asked]))
    ended = summary(run(CATALOG, "all-light", again, CONFIG))
    assert ended["attainment"] >= summary(live)["attainment"]  # models are loaded when the first one comes
    double = traffic(str(path), CONFIG, scale=2.0)
    assert double.rate_hz == pytest.approx(2 * demand.rate_hz)
    assert double.requests(0)[-1].arrived_s == pytest.approx(again[-1].arrived_s / 2)


def test_a_journal_of_another_fleet_is_refused_with_both(tmp_path):
    path = tmp_path / "other.jsonl"
    journal = FileJournal(path, Header.of(FLEET, "all-light", max_waiting=64, ahead=1))
    simulate(SMALL, load_policy("all-light"), [request(0, origin="tablet")], policy_name="all-light", journal=journal)
    journal.close()
    with pytest.raises(InputError, match="tablet"):
        traffic(str(path), CONFIG)


def test_below_the_capacity_the_share_is_kept_and_above_it_is_not():
    demand = traffic("poisson", CONFIG, rate_hz=3.0, seconds=8.0)
    found = find_capacity(CATALOG, demand, "all-light", share=0.9, seeds=[0], precision=0.2)
    assert 0 < found.rate_hz < found.above_hz < np.inf
    assert found.above_hz / found.rate_hz <= 1.2
    kept = dict(found.tried)
    assert kept[found.rate_hz] >= 0.9 > kept[found.above_hz]


def test_more_machines_bear_more():
    twice = dataclasses.replace(
        CATALOG.fleet,
        nodes=(
            *CATALOG.fleet.nodes,
            *(dataclasses.replace(n, name=f"{n.name}-b") for n in CATALOG.fleet.nodes if n.tier != "device"),
        ),
    )
    demand = traffic("poisson", CONFIG, rate_hz=12.0, seconds=6.0)
    once, more = (
        find_capacity(catalog, demand, "all-light", share=0.9, seeds=[0], precision=0.2).rate_hz
        for catalog in (CATALOG, Catalog(twice))
    )
    assert more > 1.4 * once


def test_a_share_that_is_none_is_refused():
    with pytest.raises(InputError, match="share"):
        find_capacity(CATALOG, traffic("poisson", CONFIG), "all-light", share=0.0, seeds=[0])
