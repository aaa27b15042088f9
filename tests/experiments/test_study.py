"""Studies: what is varied, common random numbers, intervals, and the order of the methods."""

import math

import numpy as np
import pytest
from scipy import stats

from edgegen.core.errors import ConfigError, InputError, UnknownNameError
from edgegen.core.result import interval, student
from edgegen.experiments.study import METRICS, ROW, Study, summary
from edgegen.experiments.study_pictures import axis_places, draw_study
from edgegen.experiments.vary import assign, parse_vary, points
from edgegen.plan.certified.planner import GOAL


def studied(vary: list[str], methods=("plan", "all-local"), instances: int = 3, raw: dict | None = None):
    varied = [parse_vary(one) for one in vary]
    study = Study(points(raw or {}, varied, source="s"), methods, instances, seed=10)
    return study, list(study.rows()), [one.key for one in varied]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("users.count=5,10", (5, 10)),
        ("servers.uplink=5 MHz,10 MHz", ("5 MHz", "10 MHz")),
        ('users.deadline={from="5 s", to="6 s"},9 s', ({"from": "5 s", "to": "6 s"}, "9 s")),
        ("steps=[5,10],20", ([5, 10], 20)),
        ("weights.time = 0.5", (0.5,)),
        ("servers.models=large,small", ("large", "small")),
    ],
)
def test_values_are_numbers_texts_lists_and_ranges(text, values):
    assert parse_vary(text).values == values


@pytest.mark.parametrize("text", ["users.count", "=5", "users.count=", "a=1,,2", "a=1,1", "a={from=1"])
def test_what_cannot_be_varied_is_said(text):
    with pytest.raises(InputError, match="--vary"):
        parse_vary(text)


@pytest.mark.parametrize(
    ("key", "kind", "message"),
    [
        ("users.deadlin", InputError, "no field 'deadlin' in users; did you mean 'deadline'?"),
        ("user.count", InputError, "no field 'user' in the file; did you mean 'users'?"),
        ("users[9].count", UnknownNameError, "no group of users named '9'"),
        ("servers[sever].count", UnknownNameError, "did you mean 'server'?"),
        ("name.x", InputError, "name has no fields inside"),
        ("users..x", InputError, "is no path"),
        ("models.steps", InputError, "the scenario has no models"),
    ],
)
def test_an_unknown_path_gets_a_suggestion(key, kind, message):
    with pytest.raises(kind) as caught:
        assign({}, key, 1)
    assert message in str(caught.value)


def test_paths_reach_all_groups_one_group_and_what_is_inside():
    raw = {"users": [{"name": "a"}, {"name": "b", "device": {"flop_per_cycle": 3}}]}
    assign(raw, "users.count", 4)
    assign(raw, "users[b].count", 5)
    assign(raw, "users[0].device.clock", "1 GHz")
    assign(raw, "servers.count", 3)
    assign(raw, "weights.time", 0.5)
    assert raw == {
        "users": [
            {"name": "a", "count": 4, "device": {"clock": "1 GHz"}},
            {"name": "b", "count": 5, "device": {"flop_per_cycle": 3}},
        ],
        "servers": [{"count": 3}],
        "weights": {"time": 0.5},
    }


def test_a_value_that_the_field_does_not_take_names_the_point():
    with pytest.raises(ConfigError, match=r"s with users.count = -1: users\[0\].count: input should be"):
        points({}, [parse_vary("users.count=5,-1")], source="s")
    with pytest.raises(InputError, match="a key twice"):
        points({}, [parse_vary("seed=1"), parse_vary("seed=2")], source="s")
    with pytest.raises(InputError, match="more than 1000"):
        points({}, [parse_vary(f"{key}={','.join(map(str, range(1, 41)))}") for key in ("seed", "steps")], source="s")


def test_a_grid_has_every_combination_the_first_key_slowest():
    found = points({}, [parse_vary("users.count=1,2"), parse_vary("servers.count=3,4")], source="s")
    assert [point.values for point in found] == [
        {"users.count": a, "servers.count": b} for a in ("1", "2") for b in ("3", "4")
    ]
    assert [len(point.file.build(0).server_hz) for point in found] == [3, 4, 3, 4]


def test_rows_are_complete_and_instances_are_the_same_at_every_point():
    study, rows, keys = studied(["weights.time=0.3,0.6"])
    assert len(rows) == study.size == 2 * 3 * 2
    assert all(set(row) == {*keys, *ROW} for row in rows)
    assert {row["seed"] for row in rows} == {10, 11, 12}
    first, second = (point.file.build(11) for point in study.points)
    np.testing.assert_array_equal(first.deadline_s, second.deadline_s)
    np.testing.assert_array_equal(first.up_snr_hz, second.up_snr_hz)


def test_rows_do_not_depend_on_which_other_methods_run():
    _, rows, _ = studied([], methods=("plan", "random", "assignment-only"))
    _, alone, _ = studied([], methods=("assignment-only",))
    wanted = [row["objective"] for row in rows if row["method"] == "assignment-only"]
    assert [row["objective"] for row in alone] == wanted


def test_the_planner_is_best_and_no_limit_is_broken():
    _, rows, keys = studied(["users.count=4,12"], ("plan", "equal-shares", "nearest", "fixed-steps-max", "random"), 4)
    assert sum(row["violations"] for row in rows) == 0
    best = {(row["users.count"], row["seed"]): row["objective"] for row in rows if row["method"] == "plan"}
    for row in rows:
        assert best[row["users.count"], row["seed"]] <= row["objective"] * (1 + GOAL), row
    for entry in summary(rows, keys):
        if entry["method"] != "plan":
            assert entry["above_plan"]["mean"] > 0
        else:
            assert entry["above_plan"]["mean"] == 0
            assert 0 <= entry["gap"]["mean"] <= GOAL


def test_a_plan_that_cannot_be_made_counts_as_refusing_everybody():
    _, rows, keys = studied([], ("fixed-steps-max",), 2, raw={"users": [{"count": 10, "deadline": "4 s"}]})
    assert [row["feasible"] for row in rows] == [False, False]
    assert rows[0]["objective"] == pytest.approx(1.5 * 1.5)
    (entry,) = summary(rows, keys)
    assert entry["infeasible"] == 2
    assert entry["error"] == {"mean": None, "low": None, "high": None, "n": 0}
    assert entry["refused_share"]["mean"] == 1.0
    priced, *_ = studied([], ("fixed-steps-max",), 1, raw={"refusal": 0.7, "users": [{"deadline": "4 s"}]})[1]
    assert priced["objective"] <= 0.7


def test_nobody_asks_is_a_study_too():
    _, rows, keys = studied(["users.count=0,1"], ("plan",), 2)
    entries = summary(rows, keys)
    assert entries[0]["objective"]["mean"] == 0.0
    assert entries[0]["error"]["n"] == 0


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 19, 200])
def test_the_quantile_is_that_of_student(freedom):
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=2e-3)


def test_intervals_hold_the_mean_and_leave_out_what_is_not_known():
    found = interval([1.0, 2.0, math.nan, 3.0])
    assert (found["mean"], found["n"]) == (2.0, 3)
    assert found["high"] == pytest.approx(2 + 4.3027 / math.sqrt(3), rel=1e-3)
    assert interval([5.0]) == {"mean": 5.0, "low": None, "high": None, "n": 1}
    covered = 0
    rng = np.random.default_rng(0)
    for _ in range(2000):
        one = interval(list(rng.normal(size=6)))
        covered += one["low"] <= 0 <= one["high"]
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)


def test_the_axis_is_numeric_where_the_values_are():
    assert axis_places(["5 MHz", "10 MHz"]) == {"5 MHz": 5e6, "10 MHz": 10e6}
    assert axis_places(["6 s to 12 s", "9 s"]) == {"6 s to 12 s": 0.0, "9 s": 1.0}
    assert axis_places(["1000 ms", "1 s"]) == {"1000 ms": 0.0, "1 s": 1.0}


@pytest.mark.parametrize("vary", [[], ["users.count=2,3"], ["users.count=2,3", "servers.models=large,small"]])
def test_there_is_a_figure_for_every_metric(vary, tmp_path):
    _, rows, keys = studied(vary, ("plan", "fixed-steps-max"), 2)
    written = draw_study(summary(rows, keys), keys, tmp_path / "figures", title="x")
    assert {path.stem for path in written} <= set(METRICS)
    assert {"objective", "error", "mean_s", "gap"} <= {path.stem for path in written}
    for path in written:
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_too_many_panels_are_refused(tmp_path):
    rows = [
        {"a": "1", "b": str(k), "seed": 0, "method": "plan", **dict.fromkeys(METRICS, 1.0)}
        | {"feasible": True, "violations": 0}
        for k in range(8)
    ]
    with pytest.raises(InputError, match="8 panels are too many"):
        draw_study(summary(rows, ["a", "b"]), ["a", "b"], tmp_path, title="x")
