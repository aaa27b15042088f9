"""The commands init, plan and journal, as people and programs call them."""

import json

import pytest
from typer.testing import CliRunner

from dispatch.test_journal import lived
from edgegen.cli import app
from edgegen.config import default_config, load_config
from edgegen.core.errors import ConfigError, InfeasibleError, InputError, UnknownNameError
from test_config import REAL


def call(*arguments: str):
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


@pytest.fixture
def real(tmp_path):
    path = tmp_path / "real.toml"
    path.write_text(REAL)
    return str(path)


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text("\n".join(lived().lines) + "\n")
    return path


def test_init_writes_the_default_and_does_not_overwrite_it(tmp_path):
    path = tmp_path / "deep" / "edgegen.toml"
    assert json.loads(call("init", str(path), "--json").stdout) == {"path": str(path)}
    assert load_config(path) == default_config()
    refused = call("init", str(path))
    assert isinstance(refused.exception, InputError)
    assert "--force" in str(refused.exception)
    assert call("init", str(path), "--force").exit_code == 0
    assert call("init", str(tmp_path)).exit_code == 0
    assert (tmp_path / "edgegen.toml").exists()


def test_plan_explains_one_request_as_a_table_and_as_json(real):
    told = call("plan", "a cat", "--config", real, "--deadline", "60 s")
    assert told.exit_code == 0, told.exception
    assert "chosen" in told.stdout
    answer = json.loads(call("plan", "a cat", "--config", real, "--deadline", "60 s", "--json").stdout)
    assert answer["policy"] == "certified"
    assert answer["decision"]["node"] in ("laptop", "orin")
    assert {other["node"] for other in answer["alternatives"]} | {answer["decision"]["node"]} == {"laptop", "orin"}


def test_plan_keeps_wishes_and_asks_the_named_policy(real):
    arguments = ("--node", "orin", "--steps", "20", "--policy", "all-edge", "--json")
    answer = json.loads(call("plan", "a cat", "--config", real, *arguments).stdout)
    assert (answer["policy"], answer["decision"]["node"], answer["decision"]["steps"]) == ("all-edge", "orin", 20)
    local = json.loads(call("plan", "a cat", "--config", real, "--local", "--json").stdout)
    assert local["decision"]["node"] == "laptop"


def test_plan_ends_with_3_and_the_closest_offer_when_nothing_meets_the_limits(real):
    arguments = ("plan", "a cat", "--config", real, "--deadline", "5 ms")
    refused = call(*arguments)
    assert isinstance(refused.exception, InfeasibleError)
    assert "closest offer" in refused.output
    as_json = call(*arguments, "--json")
    assert as_json.exit_code == 3
    assert json.loads(as_json.stdout)["offer"]["node"]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("--deadline", "5 W"), InputError, "--deadline: expected a time"),
        (("--node", "orni"), UnknownNameError, "did you mean 'orin'"),
        (("--policy", "planer"), UnknownNameError, "did you mean 'planner'"),
        (("--origin", "phone"), UnknownNameError, "device"),
        (("--category", "poem"), UnknownNameError, "category"),
        (("--steps", "11"), InputError, "10, 20, 50, got 11"),
    ],
)
def test_plan_says_what_is_wrong_with_its_input(real, arguments, kind, message):
    found = call("plan", "a cat", "--config", real, *arguments)
    assert isinstance(found.exception, kind)
    assert message in str(found.exception)


def test_plan_needs_a_configuration_that_exists():
    assert isinstance(call("plan", "a cat", "--config", "nowhere.toml").exception, ConfigError)


def test_journal_explain_tells_the_story_of_one_request(journal):
    told = call("journal", "explain", "r2", "--file", str(journal))
    assert told.exit_code == 0, told.exception
    for part in ("arrived", "decided", "START", "REJECT", "exit code 9"):
        assert part in told.stdout
    parts = json.loads(call("journal", "explain", "r0", "--file", str(journal), "--json").stdout)
    assert parts["id"] == "r0"
    assert parts["story"][0]["event"]["kind"] == "Arrived"


def test_journal_explain_suggests_ids(journal):
    found = call("journal", "explain", "r22", "--file", str(journal))
    assert isinstance(found.exception, UnknownNameError)
    assert "did you mean 'r2'" in str(found.exception)


def test_journal_list_shows_the_newest_first(journal):
    found = json.loads(call("journal", "list", "--file", str(journal), "--json").stdout)
    assert [entry["id"] for entry in found["requests"]] == ["r3", "r2", "r1", "r0"]
    assert "refused" in call("journal", "list", "--file", str(journal)).stdout
    assert (
        len(json.loads(call("journal", "list", "--file", str(journal), "--limit", "1", "--json").stdout)["requests"])
        == 1
    )


def test_journal_replay_ends_with_0_when_everything_is_the_same_and_with_1_when_not(journal):
    same = call("journal", "replay", str(journal))
    assert same.exit_code == 0
    assert "all the same" in same.output
    journal.write_text(journal.read_text().replace('"attempt":1', '"attempt":2', 1))
    other = call("journal", "replay", str(journal))
    assert other.exit_code == 1
    assert "replayed" in other.output
    assert json.loads(call("journal", "replay", str(journal), "--json").stdout)["same"] is False


def test_the_journal_of_the_configuration_is_the_default(journal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edgegen.toml").write_text(REAL.replace("[gateway]", '[gateway]\njournal = "journal.jsonl"'))
    assert call("journal", "list").exit_code == 0
    (tmp_path / "edgegen.toml").write_text(REAL.replace("[gateway]", '[gateway]\njournal = ""'))
    assert "keeps no journal" in str(call("journal", "list").exception)
