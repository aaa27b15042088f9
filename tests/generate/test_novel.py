"""Novel objects: said, drawn and judged, though no built-in model was ever shown one."""

import numpy as np
import pytest

from edgegen.generate import builtin
from edgegen.generate.grammar import CATEGORIES, PromptError, Scene, parse, sample_novel
from edgegen.generate.judge import Judge
from edgegen.generate.pictures import NEAT, draw_batch
from edgegen.generate.words import MODEL_WORDS, NOVEL, OBJECTS


def drawn(count: int = 20, seed: int = 0) -> tuple[list[Scene], np.ndarray]:
    rng = np.random.default_rng(seed)
    scenes = [sample_novel(rng, name) for name in OBJECTS for _ in range(count)]
    return scenes, draw_batch(scenes, rng, style=NEAT)


def test_what_is_novel_is_said_and_read_back():
    for scene in drawn()[0]:
        assert parse(scene.caption()) == scene
        assert scene.category == NOVEL


def test_novel_objects_are_no_words_and_no_category_of_the_built_in_models():
    assert not set(OBJECTS) & set(MODEL_WORDS)
    assert NOVEL not in CATEGORIES


@pytest.mark.parametrize(
    ("prompt", "apart"),
    [
        ("a red house", "a red triangle above a red square"),
        ("a red house on black", "a red triangle above a red square on a black background"),
        ("a red pawn left of a blue cross", "a red circle above a red triangle, both left of a blue cross"),
        ("a blue cross left of a red pawn", "a red circle above a red triangle, both right of a blue cross"),
        ("a blue cross below a red tree", "a red triangle above a red triangle, both above a blue cross"),
        ("a blue cross", "a blue cross"),
    ],
)
def test_a_novel_object_is_taken_apart_into_what_the_judge_knows(prompt, apart):
    assert parse(prompt).taken_apart().caption() == apart


def test_the_judge_finds_in_drawn_pictures_what_was_drawn_and_nothing_else():
    scenes, pictures = drawn()
    judge = Judge.load()
    assert np.mean([verdict.all_right for verdict in judge(pictures, scenes)]) > 0.95
    for name in OBJECTS:
        others = [scene for scene in scenes if all(item.shape != name for item in scene.items)]
        wrong = [Scene((scene.items[0].__class__(scene.items[0].colour, name),)) for scene in others]
        rows = [scenes.index(scene) for scene in others]
        assert not any(verdict.all_right for verdict in judge(pictures[rows], wrong))


def test_two_shapes_that_lie_apart_are_no_object():
    scene = parse("a red house")
    far = parse("a small red triangle above a small red square")
    rng = np.random.default_rng(1)
    pictures = draw_batch([far] * 40, rng, style=NEAT)
    verdicts = Judge.load()(pictures, [scene] * 40)
    assert any(not verdict.attributes["together 1 2"] for verdict in verdicts)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a small red house", "one size"),
        ("a red house left of a small blue cross", "one size"),
        ("a red house left of a blue tree", "alone or with one plain shape"),
        ("a red house left of a blue cross, both above a green circle", "alone or with one plain shape"),
    ],
)
def test_what_cannot_be_drawn_of_a_novel_object_is_refused_with_a_sentence(prompt, said):
    with pytest.raises(PromptError, match=said):
        parse(prompt)


def test_a_model_that_was_not_taught_a_word_says_so():
    from edgegen.generate.backends.onnx import OnnxBackend

    backend = OnnxBackend(builtin.folder("shapes-s"))
    with pytest.raises(PromptError, match="was never shown house"):
        backend.encode(["a red house"])
