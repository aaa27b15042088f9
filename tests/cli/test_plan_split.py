"""`edgegen plan --split`, as people and programs call it."""

import json

import pytest
from typer.testing import CliRunner

from edgegen.cli import app
from edgegen.core.errors import InfeasibleError, InputError


def call(*arguments):
    return CliRunner().invoke(app, ("plan", "a red circle", *arguments), env={"COLUMNS": "200"})


def answer(*arguments):
    told = call("--split", "--json", *arguments)
    return json.loads(told.stdout)


def test_every_handover_of_every_shared_model_is_shown():
    told = answer()
    assert {(pair["node"], pair["model"]) for pair in told["pairs"]} == {
        *(("edge-1", "shapes-s"), ("edge-1", "shapes-m"), ("edge-2", "shapes-m"), ("cloud", "shapes-m"))
    }  # what the phone has, too
    assert all([row["handover"] for row in pair["rows"]] == list(range(17)) for pair in told["pairs"])
    best = min(told["pairs"], key=lambda pair: pair["cost"])
    assert (told["best"]["node"], told["best"]["best"]) == (best["node"], best["best"])


def test_with_all_steps_there_it_is_what_plan_predicts_for_that_node():
    wish = ("--node", "edge-1", "--model", "shapes-m", "--steps", "12")
    planned = json.loads(call(*wish, "--json").stdout)["predicted"]
    (pair,) = answer(*wish)["pairs"]
    last = pair["rows"][-1]
    assert last["total_s"] == pytest.approx(planned["total_s"], rel=1e-6)
    assert last["device_energy_j"] == pytest.approx(planned["device_energy_j"], rel=1e-6)


def test_own_steps_and_limits_are_kept():
    told = answer("--own-steps", "4", "--node", "edge-1")
    assert told["best"]["best"]["handover"] == 12
    assert answer("--steps", "8", "--max-energy", "3 J", "--own-steps", "1")["best"]["best"]["device_energy_j"] <= 3


def test_a_larger_half_made_picture_takes_longer():
    small, large = (answer("--handover-size", size, "--own-steps", "1")["best"]["best"] for size in ("9 kB", "9 MB"))
    assert large["sent_bits"] == 72e6
    assert small["total_s"] < large["total_s"]


def test_people_get_a_table_with_the_best_row_marked():
    told = call("--split", "--own-steps", "2", "--tier", "edge")
    assert told.exit_code == 0, told.exception
    assert "best" in told.stdout
    assert "not as wanted" in told.stdout
    assert "after 14 of 16 steps" in told.output


def test_what_cannot_be_is_refused():
    assert call("--split", "--deadline", "10 ms", "--json").exit_code == 3
    refused = call("--split", "--deadline", "10 ms")
    assert isinstance(refused.exception, InfeasibleError)
    assert "not as wanted" in refused.stdout
    for arguments, words in (
        (("--local",), "leave one out"),
        (("--steps", "7"), "7 steps are not on offer"),
        (("--model", "shapes-l"), "no server that is allowed"),
        (("--handover-size", "large"), "--handover-size"),
    ):
        refused = call("--split", *arguments)
        assert isinstance(refused.exception, InputError)
        assert words in str(refused.exception)
