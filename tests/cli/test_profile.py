"""`edgegen profile`: what people and programs read, and what a wrong file or name answers."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from edgegen.cli.profile import app
from edgegen.cli.profile_view import sparkline
from edgegen.core.errors import InputError, ProfileError, UnknownNameError
from edgegen.core.profile import load_packaged, packaged

runner = CliRunner(env={"COLUMNS": "160", "NO_COLOR": "1"})


def run(*arguments: object):
    result = runner.invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_list_names_every_packaged_profile():
    table = run("list").stdout
    assert all(name in table for name in packaged())
    entries = json.loads(run("list", "--json").stdout)
    assert [entry["name"] for entry in entries] == packaged()
    assert {"step_s", "power_w", "quality", "steps", "assumed"} <= set(entries[0])


def test_show_tells_what_was_assumed_and_where_the_figures_come_from():
    text = run("show", "sdxl-h100").stdout
    assert "mlcommons/inference_results_v4.1" in text
    assert "ASSUMED" in text
    assert "fid_normalised" in text
    assert "two_knee" in text


def test_show_prints_measured_batches_beside_the_fit():
    text = run("show", "sd-turbo-a100").stdout
    assert "seconds of one step of a batch" in text
    assert "1.56 s" in text


def test_show_as_json_is_the_file(tmp_path):
    profile = load_packaged("sdxl-l4")
    path = profile.save(tmp_path / "mine.json")
    assert json.loads(run("show", path, "--json").stdout) == json.loads(path.read_text())


@pytest.mark.parametrize("name", ["sdxl-l4", "sd-turbo-a100"])
def test_show_draws_a_picture(tmp_path, name):
    path = tmp_path / "curves.png"
    run("show", name, "--plot", path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_plot_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"written as a .png file"):
        run("show", "sdxl-l4", "--plot", tmp_path / "curves.svg")
    with pytest.raises(InputError, match="cannot write the plot"):
        run("show", "sdxl-l4", "--plot", tmp_path / "no" / "curves.png")


def test_check_accepts_a_good_file_and_names_the_field_of_a_bad_one(tmp_path):
    path = load_packaged("sdxl-l4").save(tmp_path / "mine.json")
    assert json.loads(run("check", path, "--json").stdout)["valid"] is True
    assert "valid profile of sdxl" in run("check", path).stderr
    path.write_text(path.read_text().replace('"fixed_s": 0.0', '"fixed_s": -1'))
    with pytest.raises(ProfileError, match=r"mine.json: time.fixed_s: input should be greater"):
        run("check", path)


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'sdxl-l40s'"):
        run("show", "sdxl-l40")


def test_measure_refuses_an_impossible_target_before_any_work(tmp_path):
    with pytest.raises(ProfileError, match=r"written as .json"):
        run("measure", "shapes-s", "--out", tmp_path / "a.toml")
    with pytest.raises(ProfileError, match="there is no folder"):
        run("measure", "shapes-s", "--out", tmp_path / "no" / "a.json")


def test_a_sparkline_has_one_bar_per_value():
    assert sparkline([0, 0.5, 1, 2]) == "▁▅██"


def test_measure_writes_a_profile_that_show_can_read(tmp_path):
    path = tmp_path / "mine.json"
    arguments = ("measure", "shapes-s", "--quick", "--captions", 2, "--clock", "processor", "--device", "bench")
    summary = json.loads(run(*arguments, "--power-w", 7, "--out", path, "--json").stdout)
    assert (summary["file"], summary["model"], summary["device"]) == (str(path), "shapes-s", "bench")
    assert json.loads(path.read_text())["provenance"]["n"] == 2
    assert "processor times" in run("show", path).stdout


def test_measure_refuses_what_it_cannot_measure(tmp_path):
    with pytest.raises(InputError, match="no model named 'shapes-x'"):
        run("measure", "shapes-x", "--out", tmp_path / "a.json")
    with pytest.raises(InputError, match="clock must be one of wall, processor, got 'sun'"):
        run("measure", "shapes-s", "--clock", "sun", "--out", tmp_path / "a.json")


@pytest.mark.parametrize(("kind", "said"), [(None, "is no folder"), ("StableDiffusionXLPipeline", "only StableDiff")])
def test_what_cannot_be_exported_is_said_in_one_sentence_before_torch_is_loaded(tmp_path, kind, said):
    source = tmp_path / "model"
    if kind:
        source.mkdir()
        (source / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    program = (
        "import sys; from edgegen.cli import main\n"
        "try: main()\n"
        "finally: assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    arguments = ["profile", "export", str(source), str(tmp_path / "out")]
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    told = " ".join(ended.stderr.split())  # lines are broken at the terminal's width
    assert told.startswith("error: ")
    assert said in told
    assert not (tmp_path / "out").exists()
