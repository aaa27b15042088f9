"""`edgegen tune`: runs, shows, judges, and says in one sentence what cannot be."""

import json
import time

import pytest
from typer.testing import CliRunner

from edgegen.cli import app
from edgegen.core.errors import EdgegenError

pytest.importorskip("torch", reason="fine-tuning needs torch")
pytest.importorskip("flwr", reason="pip install -e .[federated]")
pytest.importorskip("peft", reason="adapters need peft")

pytestmark = pytest.mark.torch

SMALL = ["--sites", "2", "--pictures", "16", "--steps", "2", "--rank", "2"]


def tune(*words: str) -> str:
    done = CliRunner().invoke(app, ["tune", *words])
    if done.exit_code:
        raise done.exception or AssertionError(done.output)
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune") / "run"
    tune("run", "--out", str(folder), "--rounds", "1", *SMALL)
    return folder


def test_a_run_that_was_cut_off_goes_on_where_it_was(run):
    before = json.loads(tune("show", str(run), "--json"))["rounds"]
    after = json.loads(tune("run", "--out", str(run), "--rounds", "2", *SMALL, "--json"))
    assert after["rounds"][:1] == before
    assert len(after["rounds"]) == 2
    assert json.loads(tune("show", str(run), "--json"))["run"]["rounds"] == 2
    assert after["ended"] == "rounds"


def test_a_folder_of_another_run_is_not_gone_on_with(run):
    with pytest.raises(EdgegenError, match="another folder"):
        tune("run", "--out", str(run), "--rounds", "2", *SMALL[:-1], "4")


def test_the_judge_says_what_a_run_brought_and_pictures_show_it(run, tmp_path):
    sheet = tmp_path / "sheet.png"
    rows = json.loads(tune("judge", str(run), "--per-object", "1", "--picture", str(sheet), "--json"))
    assert {"house", "harbour's own", "known before"} <= {row["of"] for row in rows}
    assert all(0 <= row[when] <= 1 for row in rows for when in ("before", "after"))
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_pictures_of_a_run_that_hardly_learnt_cannot_be_told_from_others(run):
    rows = json.loads(tune("attack", str(run), "--pictures", "16", "--json"))
    assert [row["site"] for row in rows] == ["harbour", "garden"]
    for row in rows:
        assert row["by_loss"]["members"] == row["by_loss"]["others"] == 16
        assert 0.2 < row["by_loss"]["auc"] < 0.8


def test_a_published_run_says_what_it_drew_before_and_after(run, tmp_path):
    told = json.loads(tune("publish", str(run), "town", "--models", str(tmp_path), "--captions", "1", "--json"))
    card = json.loads((tmp_path / "town" / "card.json").read_text())
    quality = card["provenance"]["judged"]["quality"]["8"]
    assert told["gateway"] is None
    assert {"novel", "basic", "house", "harbour"} <= set(quality["before"]) == set(quality["after"])
    assert (tmp_path / "town" / "profile.json").exists()


def test_settings_come_from_a_file_and_options_go_before_it(tmp_path):
    file = tmp_path / "tune.toml"
    file.write_text(
        "[task]\nspread = { sites = 2, pictures = 16 }\nlora = { rank = 2 }\n[run]\nrounds = 3\nsteps = 1\nbits = 8\n"
    )
    told = json.loads(tune("run", "--out", str(tmp_path / "run"), "--settings", str(file), "--rounds", "1", "--json"))
    assert (told["run"]["bits"], told["run"]["rounds"], told["task"]["spread"]["pictures"]) == (8, 1, 16)
    assert told["rounds"][0]["up_payload_bytes"] < told["rounds"][0]["down_bytes"]


def test_a_run_ends_where_the_judged_quality_no_longer_rises(tmp_path):
    file = tmp_path / "tune.toml"
    file.write_text("[run]\nrounds = 6\nplateau = 0.9\npatience = 1\n")
    told = json.loads(tune("run", "--out", str(tmp_path / "run"), "--settings", str(file), *SMALL, "--json"))
    assert told["ended"] == "plateau"
    assert len(told["rounds"]) < 6
    assert all(0 <= one["quality"]["quality"] <= 1 for one in told["rounds"])


def test_a_private_run_says_what_it_spends_and_no_loss(tmp_path):
    pytest.importorskip("opacus", reason="pip install -e .[federated]")
    told = json.loads(tune("run", "--out", str(tmp_path), "--rounds", "1", *SMALL, "--epsilon", "8", "--json"))
    (only,) = told["rounds"]
    assert 0 < only["epsilon"] <= 8
    assert only["metrics"] == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--out", "x", "--secure", "--aggregator", "krum"], "secure aggregation hides single updates"),
        (["run", "--out", "x", "--secure", "--mode", "fedex"], "fedex"),
        (["run", "--out", "x", "--bits", "7"], "bits"),
        (["run", "--out", "x", "--way", "boats"], "boats"),
        (["run", "--out", "x", "--mode", "ffb"], "got 'ffb'"),
        (["run", "--out", "x", "--base", "shapes-x"], "built in: shapes-s"),
        (["run", "--out", "x", "--alpha", "-1"], "alpha must be above 0"),
        (["run", "--out", "x", "--settings", "nowhere.toml"], "nowhere.toml cannot be read"),
        (["show", "nowhere"], "nowhere holds no federated run"),
        (["publish", "nowhere", "name"], "nowhere holds no federated run"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgegenError, match=said):
        tune(*words)


def test_the_demo_shows_two_sites_before_and_after(tmp_path):
    from edgegen.tune import demo

    began = time.monotonic()
    shown = demo.run_demo(tmp_path, seed=0, tell=lambda line: None, rounds=1, steps=2)
    assert time.monotonic() - began < 300
    assert [file.exists() for file in shown.pictures] == [True, True]
    assert len(shown.rounds) == 1
    assert shown.radio["bytes"] < shown.radio["full_bytes"] / 100
    assert shown.radio["time_s"] < shown.radio["full_time_s"]
