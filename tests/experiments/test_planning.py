"""A plan's report: complete, in names, the same again from its provenance; and what is said when there is no plan."""

import dataclasses
import json

import numpy as np
import pytest

from edgegen.core.errors import EdgegenError, UnknownNameError
from edgegen.experiments.plan_pictures import draw_plan
from edgegen.experiments.planning import audited, errors_of, plain, plan_scenario, relaxation_text, report
from edgegen.plan.certified.planner import exact
from edgegen.plan.certified.relaxation import relaxations
from edgegen.plan.scenario import find_scenario, parse_scenario, scenario_text

PNG = b"\x89PNG\r\n\x1a\n"


def reported(scenario: str, **how):
    explain = how.pop("explain", None)
    planned = plan_scenario(find_scenario(scenario), **how)
    return report(planned, source=scenario, text=scenario_text(scenario), explain=explain)


def test_the_golden_report_by_hand():
    answer = reported("golden.toml", explain=[])
    assert answer["objective"] == pytest.approx(0.590842, abs=1e-4)
    assert (answer["status"], answer["checked"]) == ("optimal", True)
    first, second, _ = answer["users"]
    assert (first["user"], first["node"], first["model"], first["steps"]) == ("user-1", "server-1", "large", 20)
    assert first["total_s"] == pytest.approx(0.060936 + 2.475 + 0.051779, abs=1e-4)
    assert first["error"] == pytest.approx(3.118 * 20**-1.294)
    assert (first["clock_share"], first["uplink_share"]) == (1.0, 1.0)
    assert (second["node"], second["steps"], second["uplink_hz"]) == ("own device", 15, 0.0)
    assert second["error"] == pytest.approx(3.118 * 15**-1.294 + 0.02)
    assert answer["servers"][0]["used"] == {"clock": 1.0, "uplink": 1.0, "downlink": 1.0}
    assert len(answer["explanations"]) == 3
    assert answer["explanations"][0]["others"][0]["objective_change"] > 0


def test_a_report_is_json_without_infinities():
    answer = reported("fleet.toml", name="all-local")
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert answer["bound"] is None


def test_the_same_file_seed_and_method_give_the_same_report():
    first, again = reported("cell.toml", seed=4), reported("cell.toml", seed=4)
    for answer in (first, again):
        del answer["cpu_s"]
    assert first == again
    assert first["provenance"]["seed"] == 4
    assert len(first["provenance"]["sha256"]) == 64
    assert first["objective"] != reported("cell.toml", seed=5)["objective"]


def test_costs_of_the_rows_add_up_to_the_objective():
    answer = reported("cell.toml")
    total = sum(
        row["error"] + 0.3 * row["total_s"] / row["deadline_s"] + 0.2 * row["device_energy_j"] / row["energy_budget_j"]
        for row in answer["users"]
    )
    assert total == pytest.approx(answer["objective"], rel=1e-6)
    for server in answer["servers"]:
        mine = [row for row in answer["users"] if row["node"] == server["server"]]
        assert len(mine) == server["users"]
        assert sum(row["clock_share"] for row in mine) == pytest.approx(server["used"]["clock"])


def test_a_smaller_gap_is_proven_when_it_is_asked_for():
    file = find_scenario("cell.toml")
    coarse, fine = plan_scenario(file, goal=0.5), plan_scenario(file, goal=0.0, branches=20_000)
    assert fine.plan.gap <= 1e-6 < coarse.plan.gap <= 0.5


def test_a_plan_that_the_checker_refuses_is_an_error():
    instance = find_scenario("golden.toml").build()
    lie = dataclasses.replace(exact(instance), objective=0.1)
    with pytest.raises(EdgegenError, match=r"the checker refuses the plan of x: the plan says it costs 0\.1"):
        audited(instance, lie, "x")


def test_explanations_are_for_known_users():
    assert [one["user"] for one in reported("golden.toml", explain=["user-2"])["explanations"]] == ["user-2"]
    with pytest.raises(UnknownNameError, match="did you mean 'user-3'"):
        reported("golden.toml", explain=["user3"])


def test_an_infeasible_scenario_names_who_what_and_why():
    text = '[[users]]\ncount = 2\ndeadline = ["0.1 s", "9 s"]\n[[servers]]\ncount = 1\nname = "box"'
    planned = plan_scenario(parse_scenario(text))
    answer = report(planned, source="x", text=text)
    assert (answer["status"], answer["objective"], answer["users"]) == ("infeasible", None, [])
    assert [one["user"] for one in answer["impossible"]] == ["user-1"]
    assert set(answer["impossible"][0]["obstacles"]) == {"own device", "box"}
    best = answer["relaxations"][0]
    assert best["text"].startswith("user-1: deadline ")
    assert "instead of 100 ms" in best["text"]
    loosened = text.replace("0.1 s", f"{0.1 * best['factor']} s")
    assert plan_scenario(parse_scenario(loosened)).found


def test_relaxations_of_servers_and_of_everybody_are_told_in_words():
    text = '[[users]]\ncount = 6\ndeadline = "1.0 s"\ndevice = { generates = false }\n[[servers]]\ncount = 1\nclock = "1 GHz"'
    planned = plan_scenario(parse_scenario(text))
    assert not planned.found
    words = [relaxation_text(planned, one) for one in relaxations(planned.instance)]
    assert any(word.startswith("server: clock ") for word in words)
    assert any(word.startswith("every user: deadline x ") for word in words)


def test_errors_of_refused_users_are_unknown():
    planned = plan_scenario(parse_scenario("refusal = 0.01\n[[users]]\ncount = 2"))
    assert (planned.plan.node == -1).all()
    assert np.isnan(errors_of(planned.instance, planned.plan)).all()
    answer = report(planned, source="x", text="")
    assert answer["users"][0]["node"] == "refused"
    assert answer["users"][0]["error"] is None


def test_notes_warn_about_picture_sizes_and_assumed_figures():
    notes = reported("fleet.toml")["notes"]
    assert any("512 px" in note and "1024 px" in note for note in notes)
    assert any("assumed" in note for note in notes)
    assert reported("cell.toml")["notes"] == []


def test_plain_data_keeps_what_json_can_hold():
    given = {"a": np.float64(1.5), "b": [np.int64(2), np.nan], "c": np.array([np.inf, 1.0]), "d": "x"}
    assert plain(given) == {"a": 1.5, "b": [2, None], "c": [None, 1.0], "d": "x"}


@pytest.mark.parametrize("text", ["", "[[users]]\ncount = 70", "servers = []", "refusal = 0.05"])
def test_pictures_are_pictures(text, tmp_path):
    from PIL import Image

    written = draw_plan(plan_scenario(parse_scenario(text)), tmp_path / "new")
    assert sorted(path.name for path in written) == ["assignment.png", "limits.png", "shares.png"]
    for path in written:
        assert path.read_bytes().startswith(PNG)
        with Image.open(path) as picture:
            assert min(picture.size) > 200
            assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 20


def test_pictures_of_nobody_and_where_nothing_can_be_written_are_refused(tmp_path):
    with pytest.raises(EdgegenError, match="no users"):
        draw_plan(plan_scenario(parse_scenario("users = []")), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgegenError, match="cannot write"):
        draw_plan(plan_scenario(find_scenario("golden.toml")), tmp_path / "file")
