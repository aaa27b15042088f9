"""The gap between live and replay: its figures on made-up outcomes, and the real thing on a few requests."""

import dataclasses

import pytest

from edgegen.assemble import build_fleet
from edgegen.config import default_config
from edgegen.core.errors import InputError
from edgegen.demo.drive import Outcome as Seen
from edgegen.demo.gap import compare, gaps
from edgegen.dispatch.catalog import Catalog
from edgegen.experiments.arrivals import to_requests
from edgegen.experiments.replaying import run, traffic

CONFIG = default_config()
FLEET = build_fleet(CONFIG)
DEMAND = traffic("poisson", CONFIG, rate_hz=5.0, seconds=8.0)
ASKS = DEMAND.asks(0)
REPLAYED = run(Catalog(FLEET), "all-light", to_requests(CONFIG, ASKS), CONFIG)


def seen(factor: float, joules: float = 1.0) -> list[Seen]:
    """What clients would have seen if everything took `factor` times as long as in the replay."""
    found = []
    for ask, outcome in zip(ASKS, REPLAYED, strict=True):
        assert outcome.actual
        energy = {
            "device_energy_j": joules * outcome.actual.device_energy_j,
            "node_energy_j": joules * outcome.actual.node_energy_j,
        }
        item = {"actual": energy, "node": "edge-1"}
        found.append(Seen(ask, "finished", factor * outcome.actual.total_s, b"", item))
    return found


def test_a_live_run_like_the_replay_has_no_gap():
    for gap in gaps(seen(1.0), REPLAYED):
        assert gap.error == pytest.approx(0.0, abs=1e-9), gap.figure


def test_a_slower_live_run_shows_as_a_gap_in_latency():
    found = {gap.figure: gap for gap in gaps(seen(1.25), REPLAYED)}
    assert found["p50_s"].error == pytest.approx(1 / 1.25 - 1)
    assert found["p95_s"].low <= found["p95_s"].error <= found["p95_s"].high
    assert found["energy_j"].error == pytest.approx(0.0, abs=1e-9)


def test_late_pictures_show_as_a_gap_in_attainment():
    late = [dataclasses.replace(one, latency_s=99.0) if at % 2 else one for at, one in enumerate(seen(1.0, joules=2.0))]
    found = {gap.figure: gap for gap in gaps(late, REPLAYED)}
    assert found["attainment"].error > 0.5
    assert found["energy_j"].error == pytest.approx(-0.5)


def test_few_requests_on_the_real_gateway_go_as_in_the_replay():
    asks = traffic("poisson", CONFIG, rate_hz=2.0, seconds=4.0).asks(1)
    told = []
    found = compare(CONFIG, FLEET, "all-light", asks, told.append)
    assert len(told) == found.requests == len(asks)
    figures = {gap.figure: gap for gap in found.gaps}
    # A machine that is busy with other tests makes live pictures late, never early: steps take their declared time.
    assert -0.9 < figures["p50_s"].error < 0.1
    assert figures["attainment"].replay >= figures["attainment"].live - 0.15
    assert figures["energy_j"].error == pytest.approx(0.0, abs=0.4)
    assert found.same_place > 0.5


def test_recorded_requests_cannot_be_sent_again():
    with pytest.raises(InputError, match="cannot be sent again"):
        dataclasses.replace(DEMAND, arrivals=None, recorded=(DEMAND.requests(0)[0],)).asks(0)
