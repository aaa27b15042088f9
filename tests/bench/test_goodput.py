"""How the bars on goodput are computed, and short runs of what they are computed from."""

import dataclasses

import numpy as np
import pytest

from edgegen.assemble import build_fleet
from edgegen.bench import _goodput_cascade as cascade
from edgegen.bench import _goodput_live as live
from edgegen.config import default_config
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.messages import Limits
from edgegen.experiments.arrivals import Mix, without_limits
from edgegen.experiments.fleets_of_papers import cascade_fid, packaged_fleet, threshold
from edgegen.experiments.replaying import Traffic, run, traffic
from edgegen.physics.arrivals import Poisson


def test_a_ratio_of_means_has_its_interval_around_it():
    rng = np.random.default_rng(0)
    ours, theirs = rng.random(400) < 0.9, rng.random(400) < 0.6
    ratio, low, high = live.ratio_interval(ours, theirs)
    assert ratio == pytest.approx(ours.mean() / theirs.mean())
    assert 1.3 < low < ratio < high < 1.7


def test_a_bar_is_missed_when_the_rival_is_good_enough():
    good = {"ours": [True] * 90 + [False] * 10, "rival": [True] * 85 + [False] * 15}
    first, *others = [
        bar
        for bar in live.goodput("0.7 x", 0.7, "rival", {live.OURS: good["ours"], "rival": good["rival"]}, good)
        if bar.ok is not None
    ]
    assert first.ok is False
    assert [bar.ok for bar in others] == [True]  # not worse


def test_served_first_come_first_served_when_limits_are_not_told():
    config = default_config()
    asked = traffic("poisson", config, rate_hz=30.0, seconds=3.0).requests(0)
    blind = [dataclasses.replace(one, limits=Limits(), origin="phone") for one in asked]
    ended = run(Catalog(build_fleet(config)), "fixed-steps:steps=16,model=2", blind, config)
    made = [outcome for outcome in ended if outcome.start]
    begun = {}
    for outcome in made:
        begun.setdefault(outcome.start.node, []).append((outcome.request.number, outcome.ended_s))
    for places in begun.values():
        assert places == sorted(places, key=lambda place: place[1])


def test_more_load_makes_the_best_fixed_steps_later(monkeypatch):
    monkeypatch.setattr(live, "STEPS", (4, 8))
    monkeypatch.setattr(live, "SEARCH_S", 5.0)
    config = default_config()
    fleet = build_fleet(config)
    few, many = (live.best_fixed(config, fleet, rate_hz)[1] for rate_hz in (4.0, 60.0))
    assert few > 0.95 > many


def test_a_request_without_limits_tells_its_server_none():
    ask = without_limits(traffic("poisson", default_config(), rate_hz=5.0, seconds=2.0).asks(0)[0])
    assert set(ask.body()["edgegen"]) == {"origin", "seed"}


def test_the_published_tables_are_read():
    assert threshold(0.0) == 0.0
    assert threshold(0.2) == pytest.approx(0.01)
    assert threshold(0.2) < threshold(0.5) < threshold(0.9)
    assert (cascade_fid(0.0), cascade_fid(1.0), cascade_fid(0.6)) == pytest.approx((22.77, 18.55, 16.79))


def test_the_share_on_the_heavy_model_is_read_from_the_quality():
    assert cascade.heavy_share(0.706298) == pytest.approx(0.0, abs=1e-4)
    assert cascade.heavy_share(0.76073) == pytest.approx(1.0, abs=1e-4)


def test_on_the_profiles_of_diffserve_ours_is_at_least_as_good_as_the_cascade(monkeypatch):
    monkeypatch.setattr(cascade, "SEEDS", 2)
    config = packaged_fleet("diffserve")
    demand = Traffic(config, Poisson(16.0), 6.0, Mix(deadlines=((1.0, 5.0, 5.0),), floored=0.0, metered=0.0))
    found = {bar.bar: bar for bar in cascade._beside(Catalog(build_fleet(config)), demand, "x", (cascade.CASCADE,))}
    held = [bar for bar in found.values() if bar.ok is not None]
    assert len(held) == 3
    assert all(bar.ok for bar in held), held
