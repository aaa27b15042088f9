"""`edgegen train`: an agent, a curve and a comparison from one command."""

import json

import jax
import pytest
from typer.testing import CliRunner

from edgegen.cli import app
from edgegen.experiments import figures, tables
from edgegen.learn import agent


def run(*arguments):
    """Run the command as a user does: in 32 bits."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_train_keeps_the_agent_its_curve_and_what_it_earns_beside_the_rules(tmp_path):
    out, table, picture = tmp_path / "one.agent", tmp_path / "curve.csv", tmp_path / "curve.png"
    files = ["--out", out, "--table", table, "--picture", picture, "--checkpoint", tmp_path / "one.checkpoint"]
    done = run("aaas", "--learner", "reinforce", "--steps", 30_000, "--episodes", 2, "--seed", 3, "--json", *files)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["stopped"] == "steps"
    assert 0 < told["budget"]["environment_steps"] <= 30_000
    earned = {row["policy"]: row["reward"] for row in told["rewards"]}
    assert earned["random"] < earned["crash-avoid"] < earned["prophet"]
    assert earned["reinforce"] > earned["random"]  # which may crash: this one is masked
    card = agent.card_of(out)
    assert (card.system, card.algorithm, card.features, card.actions) == ("aaas", "reinforce", 42, 20)
    assert card.provenance["environment_steps"] == told["budget"]["environment_steps"]
    curve = tables.read(table)
    assert {"reward", "cpu_s", "evaluated reward"} <= set(curve.columns["metric"])
    assert curve.provenance["seed"] == figures.provenance_of(picture)["seed"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["aas"], "did you mean 'aaas'"),
        (["aaas", "--learner", "pop"], "did you mean 'ppo'"),
        (["aaas", "--out", "agent.bin"], "ends in .agent"),
        (["aaas", "--cpu", "ten"], "expected a time"),
        (["aaas", "--table", "curve.txt"], "ends in .csv or .parquet"),
        (["aaas", "--picture", "."], "cannot write"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code != 0
    assert message in str(done.exception)


def test_learners_are_listed():
    assert {"ppo", "d2sac", "rainbow"} <= set(json.loads(run("--list-learners", "--json").stdout))
