"""The judge: comparing is tested by hand-made sightings, looking by drawn pictures."""

import dataclasses

import numpy as np
import pytest

from edgegen.bench.builtin import spoilt
from edgegen.generate.grammar import CATEGORIES, held_out_scenes, parse
from edgegen.generate.judge import Judge, Seen, Verdict, compare
from edgegen.generate.pictures import draw_batch

CIRCLE = Seen(15, 30, "circle", "red", "small")
SQUARE = Seen(45, 32, "square", "blue", "large")
CROSS = Seen(30, 55, "cross", "green", "small")
PAIR = parse("a small red circle left of a large blue square on a black background")
TRIO = parse("a red circle left of a blue square, both above a green cross")


def wrong(scene, seen, background="black"):
    return {name for name, ok in compare(scene, seen, background).attributes.items() if not ok}


def test_a_right_picture_has_every_attribute_right_whatever_the_order():
    assert compare(PAIR, [CIRCLE, SQUARE], "black").all_right
    assert compare(PAIR, [SQUARE, CIRCLE], "black").all_right
    assert compare(TRIO, [CROSS, SQUARE, CIRCLE], "navy").all_right
    names = {"colour 1", "shape 1", "size 1", "colour 2", "shape 2", "size 2", "relation 1 2", "count", "background"}
    assert set(compare(PAIR, [CIRCLE, SQUARE], "black").attributes) == names


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"colour": "green"}, {"colour 1"}),
        ({"shape": "cross"}, {"shape 1"}),
        ({"shape": None}, {"shape 1"}),
        ({"size": "large"}, {"size 1"}),
        ({"x": 60.0}, {"relation 1 2"}),
        ({"y": 64.0}, {"relation 1 2"}),  # more below than left of
    ],
)
def test_one_change_is_one_wrong_attribute(change, names):
    assert wrong(PAIR, [dataclasses.replace(CIRCLE, **change), SQUARE]) == names


def test_background_and_number_of_objects_are_checked():
    assert wrong(PAIR, [CIRCLE, SQUARE], "white") == {"background"}
    assert wrong(PAIR, [CIRCLE, SQUARE, CROSS]) == {"count"}
    assert wrong(PAIR, [CIRCLE]) == {"count", "colour 2", "shape 2", "size 2", "relation 1 2"}
    assert not compare(PAIR, [], "black").attributes["colour 1"]


def test_the_third_object_is_asked_only_for_its_side():
    far = dataclasses.replace(CROSS, x=62.0)
    assert not wrong(TRIO, [CIRCLE, SQUARE, far])
    assert wrong(TRIO, [CIRCLE, SQUARE, dataclasses.replace(CROSS, y=5.0)]) == {"relation 1 3", "relation 2 3"}


def test_swapped_objects_are_a_wrong_relation_and_not_two_wrong_objects():
    swapped = [dataclasses.replace(CIRCLE, x=45.0), dataclasses.replace(SQUARE, x=15.0)]
    assert wrong(PAIR, swapped) == {"relation 1 2"}


def test_the_share_counts_attributes():
    verdict = Verdict({"colour 1": True, "shape 1": False, "count": True, "background": True})
    assert verdict.share == 0.75
    assert not verdict.all_right


@pytest.fixture(scope="module")
def judge():
    return Judge.load()


@pytest.mark.parametrize("category", CATEGORIES)
def test_drawn_pictures_are_accepted_and_spoilt_captions_refused(judge, category):
    rng = np.random.default_rng(3)
    scenes = held_out_scenes(category, 60, seed=3)
    pictures = draw_batch(scenes, rng)
    assert np.mean([verdict.all_right for verdict in judge(pictures, scenes)]) >= 0.98
    pairs = [(other, at) for at, scene in enumerate(scenes) for _, other in spoilt(scene, rng)]
    verdicts = judge(pictures[[at for _, at in pairs]], [other for other, _ in pairs])
    assert np.mean([verdict.all_right for verdict in verdicts]) <= 0.02


def test_noise_and_half_pictures_are_refused(judge):
    rng = np.random.default_rng(4)
    scenes = held_out_scenes("basic", 40, seed=4)
    noise = rng.integers(0, 256, (40, 64, 64, 3)).astype(np.uint8)
    assert np.mean([verdict.all_right for verdict in judge(noise, scenes)]) < 0.05
    plain = np.full((40, 64, 64, 3), 128, np.uint8)
    assert not any(verdict.all_right for verdict in judge(plain, scenes))


def test_pictures_of_another_shape_are_refused(judge):
    with pytest.raises(ValueError, match=r"expected pictures of shape \(1, 64, 64, 3\)"):
        judge(np.zeros((1, 32, 32, 3), np.uint8), [PAIR])
