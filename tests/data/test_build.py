"""The packaged profiles are exactly what the published facts give, and say what was assumed."""

import math

import pytest

from edgegen.core.profile import ANY, load_packaged, packaged
from edgegen.data import build as builder
from edgegen.data.build import RECIPES, build, differing, fact, facts, main

FLEET = [row["profile"] for row in facts("fleet")]
TABLES = [
    "apple_coreml",
    "devices",
    "diffserve_latency",
    "lcm_lora_latency",
    "mlperf_sdxl",
    "mlperf_sdxl_wall_power",
    "models",
    "qualcomm_npu",
    "quality_points",
    "solver_fid",
]


def test_the_packaged_files_are_what_the_facts_give():
    assert differing() == {}
    assert main(["--check"]) == 0


def test_a_file_that_differs_is_named_and_can_be_rewritten(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(builder, "FOLDER", tmp_path)
    assert main([]) == 0
    (tmp_path / "sdxl-l4.json").write_text("{}")
    assert main(["--check"]) == 1
    assert "differ from the facts: sdxl-l4\n" in capsys.readouterr().out
    assert main([]) == 0
    assert main(["--check"]) == 0
    assert main(["--chek"]) == 2


def test_building_twice_gives_the_same():
    assert build() == build()


@pytest.mark.parametrize("table", TABLES)
def test_every_fact_cites_its_source(table):
    assert all(row["source"] for row in facts(table))


def test_every_recipe_and_every_row_of_a_table_is_used():
    rows = facts("fleet")
    assert {row["recipe"] for row in rows} == set(RECIPES)
    assert {row["device"] for row in rows} == {row["id"] for row in facts("devices")}
    assert {row["model"] for row in rows} == {row["id"] for row in facts("models")}
    assert len(FLEET) == len(set(FLEET))


def test_a_missing_fact_is_named():
    with pytest.raises(LookupError, match=r"devices.csv must have exactly one row with id 'h900'"):
        fact("devices", "h900")


@pytest.mark.parametrize("name", FLEET)
def test_every_built_profile_marks_what_nobody_measured(name):
    assert name in packaged()
    profile = load_packaged(name)
    about = profile.provenance
    assert {"step_s", "memory_bytes", "load_s", "quality"} <= set(about.formulas)
    assert "load_s" in about.assumed
    assert ("power_w" in about.assumed) == (profile.energy_method == "declared")
    assert ("quality.curve" in about.assumed) == (len(profile.steps) > 1)
    assert "not measured by us" in about.method


def test_a_datacentre_card_can_be_redone_by_hand():
    # MLPerf v4.1, DGX-H100 Offline: 16.3484 images per second on 8 cards, 20 steps
    profile = load_packaged("sdxl-h100")
    assert profile.generate_s(20) == pytest.approx(8 / 16.3484, rel=1e-5)
    assert profile.generate_s(20, batch=8) == pytest.approx(8 * 8 / 16.3484, rel=1e-5)
    assert profile.generate_j(20) == pytest.approx(700 * 8 / 16.3484, rel=1e-5)


def test_measured_wall_power_gives_the_published_joules_per_picture():
    assert load_packaged("sdxl-h200").generate_j(20) == pytest.approx(422.2, rel=1e-3)
    assert load_packaged("sdxl-b200").generate_j(20) == pytest.approx(299.3, rel=1e-3)


def test_a_phone_can_be_redone_by_hand():
    # Core ML on an iPhone 14 Pro Max: 7.9 s end to end with 20 steps at 2.69 steps per second
    profile = load_packaged("sd-2.1-base-iphone-14-pro-max")
    assert profile.generate_s(20) == pytest.approx(7.9, rel=1e-4)
    assert profile.step_s_at() == pytest.approx(1 / 2.69, rel=1e-4)
    # Galaxy S24: text encoder 2.275 ms, 2 x 79.077 ms per step, decoder 203.237 ms
    profile = load_packaged("sd-1.5-galaxy-s24")
    assert profile.generate_s(20) == pytest.approx((2.275 + 203.237 + 40 * 79.077) / 1000, rel=1e-4)


def test_quality_follows_the_stated_formula():
    profile = load_packaged("sdxl-l4")
    assert profile.quality_at("basic", 25) == pytest.approx(1 - 24.628 / 100)
    assert profile.quality_at("basic", 50) == profile.quality_at("basic", 10)
    # four steps: 56.34 - 5.67 of solver FID more than at ten
    assert profile.quality_at("basic", 4) == pytest.approx(1 - (24.628 + 56.34 - 5.67) / 100, abs=1e-6)
    turbo = load_packaged("sd-turbo-a100")
    assert turbo.quality_at("basic", 1) == pytest.approx(1 - 22.77 * 23.927 / 18.55 / 100, abs=1e-6)


def test_batches_on_the_a100_are_close_to_what_was_published():
    for name in ("sdxl-a100", "sd-1.5-a100", "sd-turbo-a100", "sdxs-a100", "sdxl-lightning-a100"):
        profile = load_packaged(name)
        assert profile.step_fit is not None
        assert profile.step_fit.r2 > 0.98
        for point in profile.step_points:
            assert math.isclose(profile.step_s_at(point.batch), point.step_s, rel_tol=0.16)


def test_stronger_machines_are_faster():
    times = [load_packaged(f"sdxl-{device}").generate_s(20) for device in ("b200", "h200", "l40s", "l4", "t4")]
    assert times == sorted(times)


def test_a_profile_from_facts_answers_every_category():
    assert set(load_packaged("sdxl-h100").quality) == {ANY}
