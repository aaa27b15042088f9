"""`edgegen builtin` from the outside."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edgegen.cli.builtin import app
from edgegen.core.errors import InputError
from edgegen.generate.grammar import parse
from edgegen.generate.pictures import draw as draw_scene

RUNNER = CliRunner()


def call(*arguments, code=0):
    result = RUNNER.invoke(app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def test_list_names_the_models_with_their_cards():
    cards = json.loads(call("list", "--json"))
    assert [card["name"] for card in cards] == ["shapes-s", "shapes-m", "shapes-l"]
    assert "shapes-l" in call("list")


def test_draw_writes_the_same_picture_for_the_same_seed(tmp_path):
    pixels = []
    for name in ("one.png", "two.png"):
        out = tmp_path / name
        told = json.loads(
            call(
                "draw",
                "a red circle",
                "--model",
                "shapes-s",
                "--steps",
                "2",
                "--seed",
                "4",
                "--out",
                str(out),
                "--json",
            )
        )
        assert told["steps"] == 2
        pixels.append(np.asarray(Image.open(out)))
    assert pixels[0].shape == (64, 64, 3)
    assert (pixels[0] == pixels[1]).all()


def test_judge_tells_right_from_wrong_by_exit_code(tmp_path):
    file = tmp_path / "picture.png"
    Image.fromarray(draw_scene(parse("a large red circle on white"), np.random.default_rng(0))).save(file)
    assert json.loads(call("judge", str(file), "a large red circle on white", "--json"))["all_right"]
    told = json.loads(call("judge", str(file), "a large red square on white", "--json", code=1))
    assert [name for name, ok in told["attributes"].items() if not ok] == ["shape 1"]
    assert "NO" in call("judge", str(file), "a blue circle", code=1)


def test_a_sheet_has_a_row_per_caption_and_a_column_per_size_and_step(tmp_path):
    out = tmp_path / "sheet.png"
    call("sheet", "--steps", "1,2", "--out", str(out))
    with Image.open(out) as sheet:
        assert sheet.width == 3 * 2 * 128


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("draw", "a zebra"), "zebra"),
        (("draw", "a red circle", "--model", "shapes-xl"), "shapes-l"),
        (("sheet", "--steps", "1,two"), "whole numbers"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, tmp_path):
    with pytest.raises(InputError, match=message):
        call(*arguments, *(("--out", str(tmp_path / "x.png"))))
