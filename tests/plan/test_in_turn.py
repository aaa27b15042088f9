"""Policies that serve in turn: who goes first, where, with what; the cascade's program and the batches' equal steps."""

import dataclasses

import numpy as np
import pytest

from dispatch.fleets import FLEET, request
from edgegen.core.decision import HOLD
from edgegen.dispatch.books import idle
from edgegen.dispatch.catalog import Catalog
from edgegen.plan.cascade import ThresholdCascade, allot, demand_hz
from edgegen.registry import load_policy

CATALOG = Catalog(FLEET)
NAMES = ("phone/tablet", *(node.name for node in FLEET.nodes if node.tier != "device"))


def decided(name: str, asked: list, *, backlog: dict[str, float] | None = None, catalog: Catalog = CATALOG, now_s=10.0):
    """(node, model, steps) by request."""
    load = idle(catalog)
    for node, seconds in (backlog or {}).items():
        load.backlog_s[catalog.node_row(node)] = seconds
    state = catalog.state([catalog.row(one) for one in asked], now_s, load)
    found = load_policy(name).decide(state)
    assert (np.asarray(found.node)[len(asked) :] == HOLD).all()
    return [
        (catalog.node_name(int(n), one.origin), catalog.model_names[int(m)], int(s))
        for one, n, m, s in zip(asked, found.node, found.model, found.steps, strict=False)
    ]


def many(count: int, **limits) -> list:
    return [request(number, at_s=9.0 + 0.1 * number, **limits) for number in range(count)]


def test_all_light_and_all_heavy_use_one_model_at_the_steps_that_it_is_worth():
    light, heavy = decided("all-light", many(6)), decided("all-heavy", many(6))
    assert {(model, steps) for _, model, steps in light} == {("small", 16)}
    assert {(model, steps) for _, model, steps in heavy} == {("large", 16)}


def test_a_wish_for_a_model_is_kept_where_the_policy_wants_another():
    assert decided("all-heavy", [request(0, models=("small",))])[0][1] == "small"


def test_the_least_loaded_server_takes_the_next_one_and_then_is_loaded():
    asked = many(2, deadline_s=30.0)
    places = [node for node, _, _ in decided("least-loaded", asked, backlog={"edge": 0.0, "cloud": 0.1})]
    assert places == ["edge", "cloud"]
    assert decided("least-loaded", asked, backlog={"edge": 0.9})[0][0] == "cloud"


def test_the_earliest_deadline_is_served_first():
    patient, hurried = (
        request(0, at_s=10.0, deadline_s=30.0, nodes=("cloud",)),
        request(1, at_s=10.0, deadline_s=0.6, nodes=("cloud",)),
    )
    (_, _, first), (_, _, second) = decided("earliest-deadline-first", [patient, hurried])
    assert (first, second) == (16, 16)
    three = [dataclasses.replace(hurried, id=f"r{number}", number=number) for number in range(1, 4)]
    steps = [steps for _, _, steps in decided("earliest-deadline-first", three)]
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] < 16  # behind the others


def test_requests_of_a_batch_get_the_same_steps_and_those_of_another_batch_may_not():
    alike = many(6, deadline_s=1.6)
    steps = [steps for _, model, steps in decided("batch-denoising", alike) if model == "large"]
    assert len(set(steps)) <= 2  # one number for each node
    patient = [dataclasses.replace(one, limits=dataclasses.replace(one.limits, deadline_s=60.0)) for one in many(2)]
    assert {steps for _, _, steps in decided("batch-denoising", patient)} == {16}


def test_the_program_sends_on_what_the_heavy_machines_can_bear():
    on_heavy, share = allot((10.0,) * 16, (0.5,) * 16, 16.0)
    assert sum(on_heavy) == 14  # two machines bear 16 light pictures a second
    assert share == pytest.approx(14 * 0.5 / 16.0)


@pytest.mark.parametrize("rate_hz", [0.5, 3.0, 9.0, 20.0, 30.0])
def test_the_program_is_as_good_as_trying_every_division(rate_hz):
    light, heavy = np.array([9.0, 4.0, 0.0, 12.0, 6.0]), np.array([1.0, 3.0, 5.0, 0.0, 2.0])
    best = 0.0
    for code in range(2**5):
        chosen = np.array([code >> at & 1 for at in range(5)], dtype=bool)
        if light[~chosen].sum() >= rate_hz and not (chosen & (heavy == 0)).any():
            best = max(best, min(1.0, heavy[chosen].sum() / rate_hz))
    on_heavy, share = allot(tuple(light), tuple(heavy), rate_hz)
    assert share == pytest.approx(best, abs=1e-6)
    assert light[~np.array(on_heavy)].sum() >= rate_hz - 1e-6


def test_when_even_light_models_are_too_slow_nothing_is_sent_on():
    assert allot((1.0, 1.0), (0.5, 0.5), 5.0) == ((False, False), 0.0)


def test_more_demand_sends_fewer_on():
    asked = [request(number, at_s=9.9) for number in range(8)]
    heavies = [
        sum(model == "large" for _, model, _ in decided(f"threshold-cascade:rate_hz={rate}", asked))
        for rate in (0.5, 6.0, 1000.0)
    ]
    assert heavies[0] > 0 == heavies[-1]
    assert heavies == sorted(heavies, reverse=True)


def test_the_rate_is_read_from_numbers_and_ages():
    asked = [request(100 + 4 * number, at_s=10.0 + 0.2 * number) for number in range(26)]  # every fourth still waits
    state = CATALOG.state([CATALOG.row(one) for one in asked], 15.0, idle(CATALOG))
    assert demand_hz(state) == pytest.approx((100 + 5 * 201 / 15) / (5 + 5))


def test_a_cascade_refuses_a_rate_below_zero():
    with pytest.raises(ValueError, match="rate_hz"):
        ThresholdCascade(rate_hz=-1.0)
