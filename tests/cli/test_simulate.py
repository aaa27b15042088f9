"""The commands simulate and reproduce, as people and programs call them."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

from edgegen import papers
from edgegen.cli import app
from edgegen.core.errors import InputError, UnknownNameError
from edgegen.core.result import Bar
from edgegen.experiments import simulation
from edgegen.experiments.figures import provenance_of
from edgegen.experiments.tables import read
from edgegen.papers import memtl

MEMTL = ("simulate", "memtl", "--set", "users=2", "--policies", "all-local,exact")


def call(*arguments: str):
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


def test_systems_are_listed_with_their_policies_and_settings():
    listed = json.loads(call("simulate", "--list", "--json").stdout)
    assert {one["name"] for one in listed} == {"aaas", "memtl", "industrial_marl"}
    assert {one["name"]: one["settings"] for one in listed}["memtl"] == {"users": 3, "least_gain": 0.0}
    told = call("simulate", "--list").stdout
    assert "best-response" in told
    assert "devices=6" in told


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_table_has_a_row_for_every_number_and_its_means_are_the_summary(ending, tmp_path):
    path, picture = tmp_path / f"t.{ending}", tmp_path / "p.png"
    given = ("--instances", "3", "--episodes", "5", "--seed", "4", "--table", str(path), "--picture", str(picture))
    answer = json.loads(call(*MEMTL, *given, "--json").stdout)
    table = read(path)
    metrics = {"cost", "delay_s", "energy_j", "offloaded", "epochs", "reward"}
    assert len(table.rows) == 3 * 5 * 2 * len(metrics)
    assert {entry["metric"] for entry in answer["summary"]} == metrics
    for entry in answer["summary"]:
        values = np.array(
            [row["value"] for row in table.rows if (row["policy"], row["metric"]) == (entry["policy"], entry["metric"])]
        )
        assert entry["mean"] == pytest.approx(values.mean())
        assert entry["n"] == 3
    assert answer["provenance"]["seed"] == table.provenance["seed"] == provenance_of(picture)["seed"] == 4
    assert json.loads(table.provenance["config"])["settings"] == {"users": 2, "least_gain": 0.0}
    assert table.provenance["complete"] is True


def test_a_table_for_people_shows_the_chosen_metrics():
    told = call(*MEMTL, "--instances", "1", "--episodes", "5", "--metrics", "reward,offloaded")
    assert told.exit_code == 0
    assert "offloaded" in told.stdout
    assert "±" in told.stdout  # of one instance, over its episodes
    assert "delay_s" not in told.stdout


def test_instances_do_not_depend_on_how_many_there_are_and_the_last_block_is_cut():
    """Nine instances are two blocks of eight, and seven of the second are not wanted."""
    chosen = memtl.SYSTEM.chosen(["all-local"])
    settings = {"users": 2, "least_gain": 0.0}
    many, few = (list(simulation.Simulation(memtl.SYSTEM, chosen, count, 2, 0, settings).blocks()) for count in (9, 8))
    assert [len(block.sums["cost"]) for block in many] == [8, 1]
    assert many[1].columns("x")["instance"] == [8] * 2 * len(many[1].sums)
    assert many[0].sums["cost"].tobytes() == few[0].sums["cost"].tobytes()
    assert len({float(cost) for block in many for cost in block.sums["cost"].ravel()}) == 18


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (("simulate",), InputError, "give a system"),
        (("simulate", "memtll"), UnknownNameError, "did you mean 'memtl'"),
        (("simulate", "jmara"), UnknownNameError, "no system on the simulator named 'jmara'"),
        (("simulate", "memtl", "--policies", "exakt"), UnknownNameError, "did you mean 'exact'"),
        (("simulate", "memtl", "--policies", "exact,exact"), InputError, "different names"),
        (("simulate", "memtl", "--set", "user=2"), UnknownNameError, "did you mean 'users'"),
        (("simulate", "memtl", "--set", "users=2.5"), InputError, "users must be a whole number, got '2.5'"),
        (("simulate", "memtl", "--set", "users"), InputError, "expects name=value"),
        (("simulate", "memtl", "--set", "users=1", "--set", "users=2"), InputError, "names a setting twice"),
        (("simulate", "memtl", "--set", "users=0"), InputError, "expected users >= 1"),
        ((*MEMTL, "--instances", "1", "--metrics", "costs"), UnknownNameError, "did you mean 'cost'"),
        ((*MEMTL, "--table", "t.xls"), InputError, r"must end in \.csv or \.parquet"),
        (("reproduce", "memtll"), UnknownNameError, "did you mean 'memtl'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(arguments, kind, words):
    found = call(*arguments)
    with pytest.raises(kind, match=words):
        raise found.exception


def test_an_interrupted_simulation_keeps_what_was_computed(tmp_path, monkeypatch):
    usual, asked = simulation.evaluation.evaluate, []

    def interrupt(*arguments, **more):
        asked.append(arguments)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return usual(*arguments, **more)

    monkeypatch.setattr(simulation.evaluation, "evaluate", interrupt)
    path = tmp_path / "t.parquet"
    told = call(*MEMTL, "--instances", "3", "--table", str(path))
    assert told.exit_code == 130
    assert "interrupted after 1 of 2 blocks" in told.stderr
    assert "all-local" in told.stdout
    table = read(path)
    assert table.provenance["complete"] is False
    assert {row["policy"] for row in table.rows} == {"all-local"}


@pytest.mark.parametrize("name", sorted(papers.simulated()))
def test_every_system_on_the_simulator_fulfils_its_record(name):
    """Its settings are what `draw` takes, its codec fits the world, and its weights are in the ledger of what is decoded."""
    system = papers.load(name).SYSTEM
    small = {"rate_hz": 1e-5, "slots": 2}
    settings = {key: small.get(key, number) for key, number in system.settings.items()}
    world = system.draw(jax.random.key(0), **settings)
    codec = system.codec(world)
    state, event, _, _ = world.advance(world.start(), world.chance(jax.random.key(1)))
    view = world.view(state, event)
    seen = codec.look(view)
    assert seen.allowed.shape[-1] == codec.actions
    assert seen.features.shape[:-1] == seen.allowed.shape[:-1]
    assert dict(codec.weights) == dict(system.weights)
    first = jnp.zeros(seen.allowed.shape[:-1], dtype=jnp.int32)
    _, entries = world.step(state, event, codec.decode(view, first))
    assert set(system.weights) <= set(entries)


# --------------------------------------------------------------------------------------------------------- reproduce


@pytest.fixture
def paper(monkeypatch):
    """A published system whose claims take no time."""
    bars = [
        Bar.of_mean("good", np.array([1.0, 2.0, 3.0]), 0.0, unit="s", published=2.5),
        Bar.report("known", 1.0),
    ]
    module = types.SimpleNamespace(CITATION=memtl.CITATION, claims=lambda progress: bars)
    monkeypatch.setattr(papers, "load", lambda name: module)
    return bars


def test_reproduce_prints_figures_beside_goals_and_what_is_published(paper, tmp_path):
    told = call("reproduce", "memtl", "--table", str(tmp_path / "claims.csv"))
    assert told.exit_code == 0
    for part in ("good", ">= 0", "yes", "-0.4842 to 4.484", "published", "2.5", "arXiv:2309.00907"):
        assert part in told.stdout, part
    rows = read(tmp_path / "claims.csv").rows
    assert [(row["claim"], row["ok"], row["published"]) for row in rows] == [("good", True, 2.5), ("known", None, None)]
    answer = json.loads(call("reproduce", "memtl", "--json").stdout)
    assert [bar["value"] for bar in answer["bars"]] == [2.0, 1.0]
    assert answer["provenance"]["config"] == '{"paper": "memtl"}'


def test_reproduce_fails_when_a_claim_does(paper):
    paper.append(Bar.at_most("bad", 2.0, 1.0))
    told = call("reproduce", "memtl")
    assert told.exit_code == 1
    assert "NO" in told.stdout


def test_reproduce_lists_every_paper():
    assert [one["name"] for one in json.loads(call("reproduce", "list", "--json").stdout)] == papers.names()
    assert "arXiv:2303.13052" in call("reproduce").stdout
