"""The demo's arrivals, score and report; the demo as a whole is run once, small."""

import dataclasses
import io
import json
import math

import numpy as np
import pytest
from PIL import Image

from edgegen.assemble import build_fleet
from edgegen.config import default_config
from edgegen.demo.drive import Outcome
from edgegen.demo.report import COLUMNS, table_row, write_report
from edgegen.demo.run import Progress, best_fixed_steps, run_demo
from edgegen.demo.score import Judged, judge_all, score
from edgegen.demo.sheet import colour, contact_sheet
from edgegen.experiments.arrivals import draw_asks
from edgegen.generate.grammar import CATEGORIES, parse
from edgegen.generate.pictures import draw

ASKS = draw_asks(60, seconds=30.0, origins=["phone", "tablet"], seed=3)


def png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="png")
    return buffer.getvalue()


def finished(ask, *, latency_s=None, picture=None) -> Outcome:
    item = {
        "node": "edge-1", "model": "shapes-m", "steps": 8, "reason": "it <was> nearest",
        "actual": {"device_energy_j": 0.5, "node_energy_j": 2.0},
    }  # fmt: skip
    latency_s = ask.deadline_s / 2 if latency_s is None else latency_s
    picture = np.zeros((64, 64, 3), np.uint8) if picture is None else picture
    return Outcome(ask, "finished", latency_s, png(picture), item)


def test_the_same_seed_draws_the_same_requests():
    assert draw_asks(60, seconds=30.0, origins=["phone", "tablet"], seed=3) == ASKS
    assert draw_asks(60, seconds=30.0, origins=["phone", "tablet"], seed=4) != ASKS


def test_requests_are_mixed_and_in_order():
    times = [ask.at_s for ask in ASKS]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] < 30
    assert {ask.category for ask in ASKS} == set(CATEGORIES)
    assert {ask.origin for ask in ASKS} == {"phone", "tablet"}
    assert any(ask.min_quality for ask in ASKS)
    assert any(ask.max_energy_j for ask in ASKS)
    assert all(parse(ask.prompt).category == ask.category for ask in ASKS)


def test_what_is_not_asked_for_is_not_sent():
    plain = next(ask for ask in ASKS if ask.min_quality is None and ask.max_energy_j is None)
    assert set(plain.body()["edgegen"]) == {"deadline_ms", "origin", "seed"}


def test_the_score_counts_what_happened():
    asks = ASKS[:4]
    judged = [
        Judged(finished(asks[0]), 1.0, True),
        Judged(finished(asks[1], latency_s=asks[1].deadline_s + 0.1), 1.0, True),
        Judged(finished(asks[2]), 0.5, False),
        Judged(Outcome(asks[3], "refused", 0.01, error="too soon"), 0.0, False),
    ]
    row = score("planner", judged)
    assert (row.attained, row.right, row.good, row.refused, row.failed) == (2, 2, 1, 1, 0)
    assert row.energy_j == pytest.approx(7.5)
    assert row.joules_per_good_picture == pytest.approx(7.5)
    assert row.share_right == pytest.approx(2.5 / 4)
    assert row.to_dict()["attainment"] == 0.5
    assert len({colour(one) for one in judged}) == 4


def test_no_good_picture_means_no_finite_joules_per_good_picture():
    row = score("x", [Judged(Outcome(ASKS[0], "failed", 1.0, error="gone"), 0.0, False)])
    assert math.isinf(row.joules_per_good_picture)
    assert row.to_dict()["joules_per_good_picture"] is None
    assert "-" in table_row(row)


def test_the_report_is_one_file_that_escapes_what_it_shows(tmp_path):
    runs = {"planner": [Judged(finished(ask), 1.0, True) for ask in ASKS[:3]]}
    runs["other"] = [Judged(Outcome(ASKS[0], "refused", 0.0, error="<script>"), 0.0, False)]
    write_report(tmp_path / "report.html", [score(n, j) for n, j in runs.items()], runs, ["a note"])
    text = (tmp_path / "report.html").read_text()
    assert all(name in text for name in COLUMNS)
    assert "it &lt;was&gt; nearest" in text
    assert "<script>" not in text
    assert "http://" not in text
    contact_sheet(runs, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000


def test_drawn_pictures_are_judged_right_and_others_wrong():
    rng = np.random.default_rng(0)
    outcomes = [finished(ask, picture=draw(parse(ask.prompt), rng)) for ask in ASKS[:20]]
    swapped = [dataclasses.replace(o, picture=outcomes[(i + 1) % 20].picture) for i, o in enumerate(outcomes)]
    assert sum(one.all_right for one in judge_all(outcomes)) >= 19
    assert sum(one.all_right for one in judge_all(swapped)) <= 4


def test_the_strongest_fixed_steps_policy_is_found_in_virtual_time():
    config = default_config()
    asks = draw_asks(20, seconds=10.0, origins=["phone"], seed=3)
    name, expected = best_fixed_steps(config, build_fleet(config), asks)
    assert name.startswith("fixed-steps:steps=")
    assert 0 < expected <= 20


@pytest.mark.slow
def test_the_demo_runs_from_end_to_end(tmp_path):
    config, stages, seen = default_config(), [], []
    progress = Progress(stages.append, lambda policy, outcome: seen.append(policy))
    found = run_demo(
        config, build_fleet(config), folder=tmp_path / "demo", count=6, seconds=2.0, seed=1, progress=progress
    )
    assert [row.requests for row in found.scores] == [6, 6]
    assert found.scores[1].policy == "certified"
    assert sum(row.attained for row in found.scores) > 0
    assert len(seen) == 12
    assert stages
    assert json.loads((tmp_path / "demo" / "result.json").read_text()) == found.to_dict()
    assert (tmp_path / "demo" / "report.html").stat().st_size > 10_000
    assert (tmp_path / "demo" / "contact-sheet.png").exists()
