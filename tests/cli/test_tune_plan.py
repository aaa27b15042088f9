"""`edgegen tune plan`, as people and programs call it."""

import json

import pytest
import typer
from typer.testing import CliRunner

from edgegen.cli import tune_plan
from edgegen.core.errors import InfeasibleError, InputError
from edgegen.tune.radio.site_file import EXAMPLE

app = typer.Typer()
app.command()(tune_plan.plan)


def call(*arguments):
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sites.toml"
    path.write_text(call("--example").stdout)
    return str(path)


def test_the_example_is_printed_and_planned(file):
    assert call("--example").stdout == EXAMPLE
    told = call(file)
    assert told.exit_code == 0, told.exception
    for words in ("clinic", "the plan", "all sites, rank", "gain: guessed or given"):
        assert words in told.output


def test_json_has_the_plan_its_sites_and_all_usual_choices(file):
    answer = json.loads(call(file, "--json").stdout)
    made = answer["plan"]
    asked = [row for row in made["sites"] if row["takes_part"]]
    assert len(asked) == made["participants"] >= 2
    assert sum(row["share"] for row in asked) == pytest.approx(1)
    slowest = max(sum(row[part] for part in ("start_s", "download_s", "train_s", "upload_s")) for row in asked)
    assert made["time_s"] == pytest.approx(made["rounds"] * slowest)
    assert made["expected_gain"] >= answer["target"] == 0.25
    assert len(answer["usual"]) == 25
    assert all(made["time_s"] <= one["time_s"] for one in answer["usual"].values() if one)


def test_limits_and_target_are_kept_or_the_reason_is_said(file):
    lower = json.loads(call(file, "--target", "0.1", "--time", "5 min", "--energy", "20 kJ", "--json").stdout)["plan"]
    assert lower["time_s"] <= 300
    assert lower["energy_j"] <= 20e3
    refused = call(file, "--time", "10 s")
    assert isinstance(refused.exception, InfeasibleError)
    assert "of time the target could be" in str(refused.exception)


def test_no_file_and_no_quantity_are_refused(file):
    assert "--example" in str(call().exception)
    refused = call(file, "--time", "soon")
    assert isinstance(refused.exception, InputError)
    assert "--time" in str(refused.exception)
