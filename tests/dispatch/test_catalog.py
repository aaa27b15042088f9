"""Names and rows: the State says what the fleet and the requests say."""

import dataclasses

import numpy as np
import pytest

from dispatch.fleets import FLEET, dispatcher, node, request
from edgegen.core.errors import InputError, UnknownNameError
from edgegen.core.state import ANY, LOCAL
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.fleet import Link

CATALOG = Catalog(FLEET)


def state(*asked, now_s: float = 0.0):
    made = dispatcher()
    return CATALOG.state([CATALOG.row(one) for one in asked], now_s, made.books.load(now_s))


def test_tables_are_padded_to_powers_of_two():
    assert state(request()).tasks.live.shape == (8,)
    assert state(*(request(n) for n in range(9))).tasks.live.shape == (16,)
    assert (CATALOG.node_count, CATALOG.model_count) == (4, 2)
    assert state(request()).nodes.live.tolist() == [True, True, True, False]


def test_every_column_is_a_small_numpy_array_of_a_fixed_type():
    found = state(request())
    for table in (found.tasks, found.nodes, found.links, found.models):
        for field in dataclasses.fields(table):
            column = getattr(table, field.name)
            assert isinstance(column, np.ndarray)
            assert column.dtype in (np.float64, np.int32, np.bool_)


def test_a_request_becomes_a_row():
    asked = request(7, at_s=1.0, origin="tablet", category="relation", deadline_s=2.0, steps=4, models=("large",))
    tasks = state(request(0), asked, now_s=1.5).tasks
    assert tasks.live.tolist() == [True, True, *[False] * 6]
    assert (tasks.number[1], tasks.origin[1], tasks.category[1], tasks.model[1], tasks.steps[1]) == (7, 1, 2, 1, 4)
    assert (tasks.age_s[1], tasks.deadline_s[1]) == (0.5, 2.0)
    assert (tasks.model[0], tasks.steps[0]) == (ANY, ANY)
    assert tasks.device_step_scale[:2].tolist() == [1.0, 0.5]
    assert tasks.device_power_w[:2].tolist() == [4.0, 6.0]


def test_models_links_and_nodes_say_what_the_fleet_says():
    found = state(request())
    assert found.models.step_s[1].tolist() == [0.01, 0.04]
    assert found.models.available.tolist() == [[True, False], [True, True], [False, True], [False, False]]
    assert found.models.quality[1, 0, 2] == pytest.approx(4 / 4.5)
    assert found.links.uplink_bps[0, 1] == 10e6
    assert found.links.rtt_s[0].tolist() == [0.0, 0.02, 0.1, 0.0]
    assert found.nodes.shared.tolist() == [True, False, False, False]
    assert found.nodes.power_w[:3].tolist() == [0.0, 50.0, 300.0]


def test_a_devices_own_radio_narrows_every_path():
    slow = dataclasses.replace(FLEET.nodes[0], link=Link(uplink_bps=1e6, rtt_s=0.03))
    catalog = Catalog(dataclasses.replace(FLEET, nodes=(slow, *FLEET.nodes[1:])))
    assert catalog.path("phone", "edge") == Link(1e6, 20e6, 0.05)
    assert catalog.path("tablet", "edge").uplink_bps == 10e6


def test_rows_and_names_lead_to_each_other():
    for name in ("edge", "cloud"):
        assert CATALOG.node_name(CATALOG.node_row(name), "phone") == name
    assert CATALOG.node_row("tablet") == LOCAL
    assert CATALOG.node_name(LOCAL, "tablet") == "tablet"
    assert CATALOG.model("large").name == "large"
    with pytest.raises(UnknownNameError, match="did you mean 'cloud'"):
        CATALOG.node_row("clouds")
    with pytest.raises(UnknownNameError, match="category"):
        CATALOG.row(request(category="poem"))


def test_the_digest_sees_everything_that_a_policy_sees():
    base = request(0, deadline_s=2.0)
    made = dispatcher()
    seen = {CATALOG.state_digest(state(base))}
    for other in (
        state(base, now_s=0.1),
        state(base, base),
        state(dataclasses.replace(base, category="detail")),
        state(dataclasses.replace(base, weights=(1.0, 0.3, 0.2, 0.1))),
        state(request(0, deadline_s=2.0, tiers=("edge",))),
    ):
        seen.add(CATALOG.state_digest(other))
    load = made.books.load(0.0)
    load.backlog_s[1] = 1e-12
    seen.add(CATALOG.state_digest(CATALOG.state([CATALOG.row(base)], 0.0, load)))
    assert len(seen) == 7
    assert CATALOG.state_digest(state(base)) in seen


def test_a_fleet_must_make_sense():
    with pytest.raises(InputError, match="tier 'device'"):
        Catalog(dataclasses.replace(FLEET, nodes=FLEET.nodes[2:]))
    with pytest.raises(InputError, match="at least one model"):
        Catalog(dataclasses.replace(FLEET, models=()))
    with pytest.raises(UnknownNameError, match="no model named 'large'"):
        Catalog(dataclasses.replace(FLEET, models=FLEET.models[:1]))


def test_devices_that_have_different_models_run_only_their_own():
    strong = node("laptop", "device", None, 0.03, power_w=20.0)
    catalog = Catalog(dataclasses.replace(FLEET, nodes=(*FLEET.nodes, strong)))
    assert catalog.row(request(origin="laptop")).permitted[LOCAL].tolist() == [False, True]
    assert catalog.row(request(origin="phone")).permitted[LOCAL].tolist() == [True, False]
    assert not catalog.row(request(origin="phone")).plain
