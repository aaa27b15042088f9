"""The prompt language: what is said is understood, and what is not understood is said."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegen.core.errors import InputError
from edgegen.generate.grammar import (
    CATEGORIES,
    EXAMPLES,
    WORDS,
    Item,
    PromptError,
    Scene,
    held_out,
    parse,
    sample_scene,
)


@given(st.integers(0, 2**32 - 1), st.sampled_from(CATEGORIES))
def test_a_caption_parses_back_to_its_scene(seed, category):
    scene = sample_scene(np.random.default_rng(seed), category)
    assert parse(scene.caption()) == scene
    assert scene.category == category


@pytest.mark.parametrize(
    ("prompt", "caption"),
    [
        ("Red circle", "a red circle"),
        ("an ORANGE disc!", "an orange circle"),
        ("the little violet plus on grey", "a small purple cross on a gray background"),
        ("a red circle to the left of the blue square", "a red circle left of a blue square"),
        ("A red circle is under a big green triangle", "a red circle below a large green triangle"),
        (
            "a red circle left of a blue square and both are above a green cross, with a navy backdrop",
            "a red circle left of a blue square, both above a green cross on a navy background",
        ),
    ],
)
def test_articles_case_punctuation_and_synonyms_do_not_matter(prompt, caption):
    assert parse(prompt).caption() == caption


def test_the_examples_are_of_their_category():
    assert tuple(EXAMPLES) == CATEGORIES
    for category, prompts in EXAMPLES.items():
        assert [parse(prompt).category for prompt in prompts] == [category] * len(prompts)


def test_unknown_words_are_named_with_the_closest_known_word():
    with pytest.raises(PromptError, match=r"'cirle' \(did you mean 'circle'\?\)") as caught:
        parse("a red cirle beside a zebra")
    assert caught.value.unknown == ("cirle", "beside", "zebra")
    assert caught.value.known == WORDS
    assert isinstance(caught.value, InputError)
    assert caught.value.param == "prompt"


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "empty"),
        (" .,!? ", "empty"),
        ("red " * 60, "240 characters"),
        ("a red circle " + "x" * 500, "characters"),
        ("circle red", "'circle' comes where a colour"),
        ("a red", "the prompt ends where a shape"),
        ("a red circle left of", "the prompt ends where a colour"),
        ("a red circle on purple", "'purple' comes where a background"),
        ("a red circle blue square", "'blue' comes where the end"),
        ("a red circle left of a blue square both a green cross", "'green' comes where a relation"),
        ("a small red circle left of a blue square, both above a green cross", "sizes can be said for one or two"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_reason(prompt, message):
    with pytest.raises(PromptError, match=message):
        parse(prompt)


@settings(max_examples=40)
@given(st.text(max_size=220))
def test_any_text_is_either_a_scene_or_a_prompt_error(text):
    with contextlib.suppress(PromptError):  # anything else would be a crash on somebody's input
        assert isinstance(parse(text), Scene)


@given(st.lists(st.sampled_from(WORDS), max_size=25))
def test_known_words_in_any_order_are_a_scene_or_a_prompt_error(words):
    with contextlib.suppress(PromptError):
        scene = parse(" ".join(words))
        assert parse(scene.caption()) == scene


def test_an_unknown_category_is_refused():
    with pytest.raises(PromptError, match="no category named 'easy'"):
        sample_scene(np.random.default_rng(0), "easy")


def test_about_one_caption_in_eight_is_held_out_and_every_category_has_some():
    rng = np.random.default_rng(0)
    for category in CATEGORIES:
        captions = {scene.caption(): held_out(scene) for scene in (sample_scene(rng, category) for _ in range(3000))}
        assert 0.08 < np.mean(list(captions.values())) < 0.25


def test_relations_of_three_objects_are_listed_in_pairs():
    scene = parse("a red circle left of a blue square, both above a green cross")
    assert scene.pairs() == ((0, "left of", 1), (0, "above", 2), (1, "above", 2))
    assert scene.items[2] == Item("green", "cross")
