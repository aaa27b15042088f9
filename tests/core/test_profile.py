"""Profiles: what they answer, that a file brings them back, and that a wrong file is refused in words."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest

from edgegen.core.curve import Curve, fit_all
from edgegen.core.errors import ProfileError, UnknownNameError
from edgegen.core.profile import (
    ANY,
    PROMPT_FOLLOWING,
    Profile,
    Provenance,
    QualityPoint,
    StepPoint,
    load_packaged,
    load_profile,
    packaged,
)
from edgegen.core.profile_file import dump, parse

STEPS = (1, 2, 4, 8)


def make(**changes) -> Profile:
    fields = {
        "model": "tiny",
        "device": "bench",
        "picture_px": 64,
        "steps": STEPS,
        "quality_scale": PROMPT_FOLLOWING,
        "quality": {
            "basic": Curve.table(STEPS, [0.2, 0.5, 0.8, 0.9]),
            "complex": Curve.table(STEPS, [0, 0.1, 0.3, 0.4]),
        },
        "step_s": Curve.affine(0.010, 0.002),
        "fixed_s": 0.005,
        "load_s": 0.3,
        "memory_bytes": 50_000_000,
        "power_w": 10.0,
        "energy_method": "declared",
        "energy_scope": "one core",
        "provenance": Provenance(
            method="measured",
            device="a bench",
            date="2026-01-01",
            n=100,
            sources=("here",),
            cautions=("none",),
        ),
        "sampler": "ddim",
        "guidance": 2.0,
        "passes_per_step": 2,
        "quality_points": {"basic": tuple(QualityPoint(k, k / 10, 0.0, 1.0, 100) for k in STEPS)},
        "quality_fits": {"basic": fit_all(STEPS, [0.2, 0.5, 0.8, 0.9])},
        "step_points": (StepPoint(1, 0.012, 0.011, 0.013, 9), StepPoint(4, 0.018)),
        "step_fit": Curve.fit("affine", [1, 4], [0.012, 0.018]),
    }
    return Profile(**(fields | changes))


def test_times_and_energies_can_be_redone_by_hand():
    profile = make()
    assert profile.step_s_at() == pytest.approx(0.012)
    assert profile.step_s_at(4) == pytest.approx(0.018)
    assert profile.generate_s(8) == pytest.approx(0.005 + 8 * 0.012)
    assert profile.generate_s(8, batch=4) == pytest.approx(4 * 0.005 + 8 * 0.018)
    assert profile.step_j() == pytest.approx(0.12)
    assert profile.generate_j(8) == pytest.approx(10 * (0.005 + 8 * 0.012))


def test_quality_is_interpolated_inside_and_clamped_outside():
    profile = make()
    assert profile.quality_at("basic", 3) == pytest.approx(0.65)
    assert profile.quality_at("basic", 50) == 0.9
    assert profile.quality_at("complex", np.array([1.0, 8.0])).tolist() == [0, 0.4]


def test_a_profile_without_categories_answers_all_of_them():
    profile = make(quality={ANY: Curve.table([4], [0.7])})
    assert profile.quality_at("relation", 4) == 0.7


def test_an_unknown_category_gets_a_suggestion():
    with pytest.raises(ProfileError, match=r"'bacis'; did you mean 'basic'\? it has: basic, complex"):
        make().quality_at("bacis", 4)


def test_a_saved_profile_comes_back_equal(tmp_path):
    path = make().save(tmp_path / "tiny.json")
    assert Profile.load(path) == make()
    assert load_profile(str(path)) == make()
    assert load_profile(path) == make()
    assert json.loads(path.read_text())["time"]["step_s"] == {
        "form": "affine",
        "params": {"a": 0.01, "b": 0.002},
    }
    assert max(map(len, path.read_text().splitlines())) < 130


def test_a_profile_written_by_hand_as_toml_needs_only_what_it_must_say(tmp_path):
    path = tmp_path / "phone.toml"
    path.write_text(
        """
        format_version = 1
        model = "mine"
        device = "my phone"
        picture_px = 512
        steps = [4, 8]
        memory_bytes = 2_000_000_000
        [quality]
        scale = "fid_normalised"
        curves.any = { form = "table", x = [4, 8], y = [0.5, 0.7] }
        [time]
        step_s = { form = "affine", params = { a = 0.1, b = 0.2 } }
        fixed_s = 0.1
        load_s = 2
        [energy]
        power_w = 4
        method = "declared"
        scope = "the whole phone"
        [provenance]
        method = "stop watch"
        device = "my phone"
        date = "2026-01"
        """
    )
    profile = Profile.load(path)
    assert profile.generate_s(4) == pytest.approx(0.1 + 4 * 0.3)
    assert profile.quality_at("basic", 6) == pytest.approx(0.6)


def edit(where: str, value):
    """Return plain data of a good profile with one field set (or removed, with a value of None)."""
    data = copy.deepcopy(dump(make()))
    *parents, last = where.split(".")
    part = data
    for name in parents:
        part = part[int(name) if isinstance(part, list) else name]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return data


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("format_version", 2, "reads profiles of format_version 1, got 2"),
        ("format_version", None, "reads profiles of format_version 1, got None"),
        ("time.step_ms", 12, r"time.step_ms: no such field; did you mean 'step_s'\?.*part of the names"),
        ("modell", "x", r"modell: no such field; did you mean 'model'\?"),
        (
            "quality.points.basic",
            [{"step": 1, "quality": 0.5}],
            r"points.basic.0.steps: this field is missing",
        ),
        (
            "quality.points.basic",
            [{"steps": 1, "quality": 0.5, "nn": 2}],
            r"basic.0.nn: no such field.*steps, quality",
        ),
        ("time.step_fit.rsme", 0.1, r"time.step_fit.rsme: no such field; did you mean 'rmse'\?"),
        ("energy", None, "energy: this field is missing"),
        ("time.fixed_s", -0.1, "time.fixed_s: input should be greater than or equal to 0, got -0.1"),
        ("time.load_s", float("nan"), "time.load_s: input should be a finite number"),
        ("memory_bytes", "50 MB", "memory_bytes: input should be a valid integer, got '50 MB'"),
        ("memory_bytes", 1.5, "memory_bytes: input should be a valid integer"),
        ("energy.power_w", 0, "energy.power_w: input should be greater than 0, got 0"),
        (
            "energy.method",
            "guessed",
            "energy.method: input should be 'measured' or 'declared', got 'guessed'",
        ),
        ("provenance.date", "yesterday", "provenance.date"),
        ("steps", [4, 2], r"steps must be step counts >= 1 in rising order without repeats, got \[4, 2\]"),
        ("steps", [], "steps must be step counts"),
        ("quality.curves", {}, "quality needs at least one curve"),
        (
            "quality.curves.basic",
            {"form": "affine", "params": {"a": 0.5, "b": 0.2}},
            r"in \[0, 1\], got 0.7 to 2.1",
        ),
        (
            "quality.curves.basic",
            {"form": "affine", "params": {"a": 0.9, "b": -0.01}},
            "must not fall with steps",
        ),
        (
            "quality.curves.basic",
            {"form": "table", "x": [2, 1], "y": [0.1, 0.2]},
            "quality.curves.basic: the x of a table",
        ),
        ("time.step_s", {"form": "affine", "params": {"a": -1, "b": 0.1}}, "step_s must be > 0"),
        ("time.step_s", {"form": "affine", "params": {"a": 1, "b": -0.1}}, "not fall with the batch"),
        (
            "time.step_s",
            {"form": "afine", "params": {}},
            "time.step_s: no curve form named 'afine'; did you mean 'affine'",
        ),
    ],
)
def test_a_wrong_file_names_its_field(where, value, message):
    with pytest.raises(ProfileError, match=message):
        parse(edit(where, value))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "is not valid JSON"),
        ("a.toml", "a = ", "is not valid TOML"),
        ("a.json", "[1]", "a profile is a table of fields, got list"),
        ("a.yaml", "", "ends in .json or .toml"),
        (
            "a.json",
            '{"format_version": 3}',
            r"a.json: this release reads profiles of format_version 1, got 3",
        ),
    ],
)
def test_an_unreadable_file_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ProfileError, match=message):
        Profile.load(path)


def test_a_missing_file_and_an_unwritable_one_are_named(tmp_path):
    with pytest.raises(ProfileError, match=r"cannot read the profile .*none.json"):
        Profile.load(tmp_path / "none.json")
    with pytest.raises(ProfileError, match=r"cannot write the profile"):
        make().save(tmp_path / "no" / "folder.json")
    with pytest.raises(ProfileError, match=r"written as .json"):
        make().save(tmp_path / "profile.toml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"memory_bytes": 0}, "memory_bytes must be > 0"),
        ({"fixed_s": -1.0}, "fixed_s must be >= 0 seconds"),
        ({"load_s": float("inf")}, "load_s must be >= 0 seconds"),
        ({"energy_method": "guessed"}, "energy method must be one of measured, declared"),
        ({"format_version": 7}, "format_version 1, got 7"),
    ],
)
def test_a_wrong_value_is_refused_when_it_is_built(changes, message):
    with pytest.raises(ProfileError, match=message):
        make(**changes)


def test_a_batch_has_at_least_one_picture():
    with pytest.raises(ProfileError, match="batch must be >= 1, got 0"):
        make().step_s_at(0)


def test_an_unknown_packaged_profile_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="no packaged profile named 'sdxl-h10'; did you mean 'sdxl-h100'"):
        load_packaged("sdxl-h10")


@pytest.mark.parametrize("name", packaged())
def test_every_packaged_profile_reads_and_says_where_it_comes_from(name):
    profile = load_profile(name)
    assert profile.provenance.sources or profile.provenance.load_average is not None
    assert profile.provenance.method
    assert profile.generate_s(profile.steps[-1]) > 0


def test_importing_profiles_loads_no_heavy_library():
    code = "import sys, edgegen.core.profile; print([m for m in ('jax', 'torch', 'scipy', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
