"""`edgegen replay` from the command line."""

import json

from typer.testing import CliRunner

from edgegen.cli import app


def invoke(*words: str):
    return CliRunner().invoke(app, ["replay", *words])


def test_a_trace_is_replayed_as_json_with_a_picture(tmp_path):
    picture = tmp_path / "figure.png"
    words = (
        "bursty",
        "--rate",
        "6",
        "--duration",
        "4 s",
        "--policy",
        "all-light",
        "--policy",
        "oracle",
        "--seeds",
        "2",
    )
    done = invoke(*words, "--picture", str(picture), "--json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert {row["policy"] for row in data["rows"]} == {"all-light", "oracle"}
    assert len(data["rows"]) == 4
    attained = [entry for entry in data["summary"] if entry["metric"] == "attainment"]
    assert [entry["n"] for entry in attained] == [2, 2]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "bursty" in data["provenance"]["config"]


def test_deadlines_of_ones_own_decide_what_is_kept():
    words = ("poisson", "--rate", "5", "--duration", "4 s", "--policy", "all-light", "--json")
    kept = [
        json.loads(invoke(*words, "--deadline", d).stdout)["rows"][0]["attainment"] for d in ("20 ms", "1 s to 5 s")
    ]
    assert kept[0] == 0
    assert kept[1] > 0.9


def test_the_capacity_is_a_table_of_rates():
    done = invoke(
        "poisson", "--rate", "8", "--duration", "3 s", "--policy", "all-light", "--find-capacity", "0.9", "--json"
    )
    found = json.loads(done.stdout)["capacity"][0]
    assert found["policy"] == "all-light"
    assert found["rate_hz"] < found["above_hz"]


def test_named_traces_are_listed():
    done = invoke("--list")
    assert "azure-llm-code" in done.stdout
    assert {entry["name"] for entry in json.loads(invoke("--list", "--json").stdout)} >= {"poisson", "azure-functions"}


def test_what_is_no_trace_and_no_time_is_refused():
    assert "give a trace" in str(invoke().exception)
    assert "no trace named" in str(invoke("azure").exception)
    assert "--deadline" in str(invoke("poisson", "--deadline", "5 s to 1 s").exception)
    assert "--duration" in str(invoke("poisson", "--duration", "0 s").exception)
    assert "oracle" in str(invoke("poisson", "--policy", "oracle", "--find-capacity", "0.9").exception)
