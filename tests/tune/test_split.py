"""A chain split between server and device: the table, the best handover, the real run, and what a stranger recovers."""

import dataclasses
import math

import numpy as np
import pytest

from edgegen.core.errors import InfeasibleError, InputError
from edgegen.generate import builtin
from edgegen.generate.backends.onnx import OnnxBackend
from edgegen.generate.checkpoint import Checkpoint, CheckpointError
from edgegen.generate.engine import Engine, EngineRequest
from edgegen.generate.grammar import CATEGORIES, held_out_scenes
from edgegen.generate.judge import Judge
from edgegen.tune.handing_over import recovered, run_split
from edgegen.tune.split import Link, Machine, Payload, Wanted, best, table

SERVER, DEVICE = Machine(0.05, 0.2, 60.0), Machine(0.3, 0.5, 4.0)
LINK = Link(uplink_bps=20e6, downlink_bps=60e6, rtt_s=0.01, transmit_w=0.8)
PAYLOAD = Payload(prompt=16e3, handover=1.05e6, picture=4e6)


def rows(steps=12, wanted=None, server=SERVER, device=DEVICE, link=LINK):
    return table(server, device, link, PAYLOAD, steps=steps, wanted=wanted or Wanted())


# --------------------------------------------------------------------------------------------------------------- table


def test_every_row_is_the_closed_form():
    for row in rows():
        h = row.handover
        if h == 0:
            wanted = (0.5 + 12 * 0.3, 4.0 * (0.5 + 12 * 0.3))
        else:
            up = 16e3 / 20e6 + 0.005
            down = (4e6 if h == 12 else 1.05e6) / 60e6 + 0.005
            here = 0.0 if h == 12 else 0.5 + (12 - h) * 0.3
            wanted = (up + 0.2 + h * 0.05 + down + here, 0.8 * up + 4.0 * here)
        assert (row.total_s, row.device_energy_j) == pytest.approx(wanted)
        assert row.cost == pytest.approx(0.3 * row.total_s / 10 + 0.2 * row.device_energy_j / 10)


def test_without_limits_the_best_handover_is_at_an_end():
    rng = np.random.default_rng(0)
    ends = set()
    for _ in range(300):
        step, fixed, power = rng.lognormal(0, 1.5, (3, 2))
        server, device = (Machine(0.1 * step[at], 0.1 * fixed[at], 10 * power[at]) for at in (0, 1))
        ends.add(best(rows(server=server, device=device)).handover)
    assert ends <= {0, 1, 11, 12}
    assert len(ends) > 1


def test_a_deadline_makes_a_handover_in_between_the_best():
    slow = Machine(0.5, 0.2, 60.0)  # a busy server: away from the battery, but late
    joules_only = Wanted(deadline_s=6.0, time_weight=0.0, energy_weight=1.0)
    found = best(rows(server=slow, wanted=joules_only))
    assert 0 < found.handover < 11
    assert found.total_s <= 6.0 < rows(server=slow)[found.handover + 1].total_s


def test_a_battery_sends_more_steps_away():
    everything = rows()
    limit = everything[8].device_energy_j
    assert [row.fits for row in rows(wanted=Wanted(energy_j=limit))] == [h >= 8 for h in range(13)]


def test_a_slow_link_keeps_everything_on_the_device_and_a_slow_device_sends_everything_away():
    assert best(rows(link=dataclasses.replace(LINK, downlink_bps=1e4))).handover == 0
    assert best(rows(device=Machine(9.0, 9.0, 4.0))).handover == 12


def test_whoever_wants_to_do_the_last_steps_does_them():
    for own in range(13):
        found = best(rows(wanted=Wanted(own_steps=own)))
        assert 12 - found.handover >= own
    assert best(rows(wanted=Wanted(own_steps=4))).handover == 8  # the server is faster: as many as it may have


def test_where_nothing_fits_the_nearest_is_offered():
    with pytest.raises(InfeasibleError, match="no handover keeps what is wanted") as refused:
        best(rows(wanted=Wanted(deadline_s=0.01)))
    assert refused.value.offer["handover"] == 12
    assert math.isfinite(refused.value.offer["total_s"])


# ---------------------------------------------------------------------------------------------------------- a real run


@pytest.fixture(scope="module")
def backend():
    return OnnxBackend(builtin.folder("shapes-s"))


@pytest.fixture(scope="module")
def request_(backend):
    return EngineRequest(
        "one", "a red circle left of a blue square", 8, 3, *builtin.sampling(builtin.folder("shapes-s"))
    )


def alone(backend, request):
    engine = Engine(backend, 1)
    engine.submit(request)
    while len(engine):
        for event in engine.step():
            picture = event.picture
    return picture


def test_a_split_picture_is_that_of_one_uninterrupted_run_wherever_it_is_split(backend, request_):
    whole = alone(backend, request_)
    for handover in range(9):
        ran = run_split(Engine(backend), Engine(OnnxBackend(builtin.folder("shapes-s"))), request_, handover)
        np.testing.assert_array_equal(ran.picture, whole)
        assert (ran.server_steps, ran.device_steps) == (handover, 8 - handover)


def test_what_is_sent_is_nothing_a_checkpoint_or_a_picture(backend, request_):
    sent = [run_split(Engine(backend), Engine(backend), request_, handover).sent for handover in range(9)]
    assert sent[0] == b""
    assert sent[8].startswith(b"\x89PNG")
    values = math.prod(backend.latent_shape)
    for handover, data in enumerate(sent[1:8], 1):
        assert Checkpoint.from_bytes(data).done == handover
        assert 2 * 4 * values < len(data) < 2 * 4 * values + 1024


def test_engines_that_work_on_other_pictures_are_not_disturbed(backend, request_):
    busy = Engine(backend)
    busy.submit(dataclasses.replace(request_, id="other"))
    run_split(busy, busy, request_, 3)
    assert busy.progress("other") == (0, 8)


def test_a_device_with_other_weights_refuses_and_so_does_a_handover_after_the_end(backend, request_):
    with pytest.raises(CheckpointError, match="cannot be continued"):
        run_split(Engine(backend), Engine(OnnxBackend(builtin.folder("shapes-m"))), request_, 3)
    with pytest.raises(InputError, match="handover must be from 0 to 8 steps, got 9"):
        run_split(Engine(backend), Engine(backend), request_, 9)


# ------------------------------------------------------------------------------------------------------------- privacy


def test_a_stranger_recovers_chance_from_noise_and_more_the_later_the_handover(backend):
    scenes = [scene for category in CATEGORIES for scene in held_out_scenes(category, 10, 5)]
    sampling = builtin.sampling(builtin.folder("shapes-s"))
    found = recovered(backend, scenes, Judge.load(), steps=16, handovers=(0, 4, 8, 12, 16), sampling=sampling)
    assert [one.left for one in found] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert {one.n for one in found} == {40}
    shares = [one.share for one in found]
    assert shares == sorted(shares)
    assert found[0].low <= found[0].chance <= found[0].high  # noise tells nothing of what was asked
    assert found[0].high < found[-1].low
    assert found[-1].share > found[-1].chance + 0.5
    with pytest.raises(InputError, match="at least 2 scenes"):
        recovered(backend, scenes[:1], Judge.load(), steps=4, handovers=(0,), sampling=sampling)
