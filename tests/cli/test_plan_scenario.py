"""The commands plan SCENARIO, study and init --scenario, as people and programs call them."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from edgegen.cli import app
from edgegen.cli import study as study_module
from edgegen.core.errors import ConfigError, InfeasibleError, InputError, UnknownNameError
from edgegen.plan.scenario import find_scenario

HOPELESS = '[[users]]\ncount = 2\ndeadline = ["100 ms", "9 s"]\n[[servers]]\ncount = 1\nname = "box"\n'


def call(*arguments: str):
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


@pytest.fixture
def hopeless(tmp_path):
    path = tmp_path / "hopeless.toml"
    path.write_text(HOPELESS)
    return str(path)


def test_plan_prints_the_golden_scenario_for_people():
    told = call("plan", "golden.toml")
    assert told.exit_code == 0, told.exception
    for part in (
        "user-1",
        "server-1",
        "own device",
        "+10 % clock",
        "optimal: objective 0.590842",
        "independent checker",
    ):
        assert part in told.output, part


def test_plan_prints_everything_as_json():
    answer = json.loads(call("plan", "golden.toml", "--explain", "--json").stdout)
    assert answer["objective"] == pytest.approx(0.590842, abs=1e-4)
    assert set(answer) == {
        *(
            "scenario",
            "method",
            "seed",
            "status",
            "objective",
            "utility",
            "bound",
            "gap",
            "branches",
            "cpu_s",
            "checked",
        ),
        *("users", "servers", "notes", "provenance", "explanations"),
    }
    assert set(answer["users"][0]) == {
        *("user", "node", "model", "steps", "clock_hz", "uplink_hz", "downlink_hz", "clock_share", "uplink_share"),
        *("downlink_share", "error", "total_s", "deadline_s", "device_energy_j", "energy_budget_j", "binds"),
    }


def test_plan_explains_one_user_or_all():
    told = call("plan", "cell.toml", "--user", "user-3")
    assert "user-3: server" in told.stdout
    assert "instead" in told.stdout
    assert "user-4: server" not in told.stdout
    assert call("plan", "golden.toml", "--explain").stdout.count("instead") == 3
    assert isinstance(call("plan", "golden.toml", "--user", "user3").exception, UnknownNameError)


def test_plan_takes_seed_method_goal_and_another_scenario():
    seeds = [json.loads(call("plan", "cell.toml", "--seed", str(k), "--json").stdout) for k in (1, 2)]
    assert seeds[0]["objective"] != seeds[1]["objective"]
    local = json.loads(call("plan", "cell.toml", "--method", "all-local", "--json").stdout)
    assert {row["node"] for row in local["users"]} == {"own device"}
    assert local["bound"] is None
    fine = json.loads(call("plan", "cell.toml", "--goal", "1e-5", "--json").stdout)
    assert fine["gap"] <= 1e-5
    assert "no bound" in call("plan", "cell.toml", "--method", "nearest").output
    assert "exact" in call("plan", "golden.toml", "--method", "exact").output


def test_long_tables_are_cut_and_say_so(tmp_path):
    (tmp_path / "many.toml").write_text("[[users]]\ncount = 70\n")
    assert "and 10 more users" in call("plan", str(tmp_path / "many.toml")).output


def test_plan_writes_pictures_and_arrays(tmp_path):
    folder, arrays = tmp_path / "pictures", tmp_path / "arrays" / "plan.npz"
    answer = json.loads(
        call("plan", "golden.toml", "--pictures", str(folder), "--arrays", str(arrays), "--json").stdout
    )
    for path in answer["pictures"]:
        with open(path, "rb") as file:
            assert file.read(8) == b"\x89PNG\r\n\x1a\n"
    with np.load(arrays) as saved:
        assert saved["plan_node"].tolist() == [1, 0, 2]
        np.testing.assert_array_equal(saved["instance_deadline_s"], [10, 8, 12])
    assert isinstance(call("plan", "golden.toml", "--arrays", "plan.csv").exception, InputError)


def test_an_infeasible_scenario_ends_with_3_and_the_smallest_changes(hopeless):
    refused = call("plan", hopeless)
    assert isinstance(refused.exception, InfeasibleError)
    assert "user-1 cannot be served even alone" in refused.output
    assert "user-1: deadline" in refused.output
    assert "set refusal" in refused.output
    as_json = call("plan", hopeless, "--json")
    assert as_json.exit_code == 3
    assert json.loads(as_json.stdout)["relaxations"][0]["field"] == "deadline_s"
    ruled = call("plan", hopeless, "--method", "nearest")
    assert isinstance(ruled.exception, InfeasibleError)
    assert "nearest finds no plan" in str(ruled.exception)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("plan", "cell.toml", "--deadline", "3 s"), InputError, "--deadline is about a prompt; a scenario says this in its file"),
        (("plan", "cell.toml", "--local"), InputError, "--local is about a prompt"),
        (("plan", "a red circle", "--seed", "3"), InputError, "--seed is about a scenario; give a scenario"),
        (("plan", "a red circle", "--explain"), InputError, "--explain is about a scenario"),
        (("plan",), InputError, "give a prompt in quotes, or a scenario file"),
        (("plan", "cel.toml"), ConfigError, "did you mean 'cell.toml'"),
        (("plan", "cell.toml", "--method", "neares"), UnknownNameError, "did you mean 'nearest'"),
        (("plan", "cell.toml", "--method", "nearest", "--goal", "0.1"), InputError, "--goal is for --method plan"),
        (("study", "cell.toml", "--methods", "plan,plan"), InputError, "different names"),
        (("study", "cell.toml", "--methods", "pla"), UnknownNameError, "did you mean 'plan'"),
        (("study", "cell.toml", "--vary", "users.cont=1"), InputError, "did you mean 'count'"),
        (("init", "--scenario", "cel"), UnknownNameError, "did you mean 'cell.toml'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(arguments, kind, message):
    found = call(*arguments)
    assert isinstance(found.exception, kind), found.output
    assert message in str(found.exception)


def test_scenarios_and_methods_are_listed():
    assert "golden.toml" in call("plan", "--list-scenarios").stdout
    assert {entry["name"] for entry in json.loads(call("plan", "--list-scenarios", "--json").stdout)} >= {"cell.toml"}
    assert "equal-shares" in call("study", "--list-methods").stdout
    assert {"plan", "exact"} <= {
        entry["name"] for entry in json.loads(call("study", "--list-methods", "--json").stdout)
    }


def test_init_writes_a_scenario_to_start_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("init", "--scenario", "golden").exit_code == 0
    assert find_scenario(tmp_path / "golden.toml") == find_scenario("golden.toml")
    assert call("init", "mine.toml", "--scenario", "cell.toml").exit_code == 0
    assert find_scenario("mine.toml").name == "cell"


def test_study_prints_a_table_and_writes_rows_and_figures(tmp_path):
    rows, figures = tmp_path / "new" / "rows.csv", tmp_path / "figures"
    arguments = ("cell.toml", "--vary", "users[0].count=2,4", "--instances", "2", "--methods", "plan,all-local")
    told = call("study", *arguments, "--csv", str(rows), "--pictures", str(figures))
    assert told.exit_code == 0, told.exception
    assert "users[0].count" in told.stdout
    with rows.open() as file:
        found = list(csv.DictReader(file))
    assert len(found) == 8
    assert found[0]["users[0].count"] == "2"
    assert float(found[0]["objective"]) > 0
    assert (figures / "objective.png").stat().st_size > 5000
    again = json.loads(call("study", *arguments, "--json").stdout)
    assert [f"{row['objective']}" for row in again["rows"]] == [row["objective"] for row in found]
    assert len(again["summary"]) == 4
    assert again["provenance"]["seeds"] == [0, 1]


def test_study_runs_all_methods_without_anything_varied():
    found = json.loads(call("study", "golden.toml", "--methods", "all", "--instances", "1", "--json").stdout)
    assert len(found["rows"]) == 12
    assert found["varied"] == []


def test_an_interrupted_study_keeps_what_was_computed(tmp_path, monkeypatch):
    from edgegen.experiments import study as inner

    whole = inner.measured

    def until_the_third(instance, plan, name, seed):
        if seed == 2:
            raise KeyboardInterrupt
        return whole(instance, plan, name, seed)

    monkeypatch.setattr(inner, "measured", until_the_third)
    path = tmp_path / "rows.csv"
    told = call("study", "golden.toml", "--methods", "plan", "--instances", "5", "--csv", str(path))
    assert told.exit_code == 130
    assert "interrupted after 2 of 5 plans" in told.output
    assert len(path.read_text().splitlines()) == 3
    assert "golden" in told.stdout


def test_study_says_where_it_cannot_write(tmp_path):
    (tmp_path / "file").write_text("")
    found = call("study", "golden.toml", "--instances", "1", "--csv", str(tmp_path / "file" / "rows.csv"))
    assert isinstance(found.exception, InputError)
    assert study_module.DEFAULT_METHODS.split(",")[0] == "plan"
