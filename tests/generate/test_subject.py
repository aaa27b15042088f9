"""The built-in models as what is measured: captions that were never trained on, pictures as the engine makes them."""

import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.core.profile import PROMPT_FOLLOWING, load_packaged
from edgegen.generate import builtin
from edgegen.generate.engine import Engine, EngineRequest
from edgegen.generate.grammar import CATEGORIES, held_out, parse
from edgegen.generate.measure import Plan, fingerprint, generate, measure
from edgegen.generate.pictures import draw
from edgegen.generate.subject import open_onnx


@pytest.fixture(scope="module")
def subject():
    return open_onnx("shapes-s")


@pytest.mark.parametrize("category", CATEGORIES)
def test_captions_are_held_out_of_their_category_and_repeatable(subject, category):
    captions, scenes = subject.captions(category, 20, 3)
    assert all(held_out(scene) and scene.category == category for scene in scenes)
    assert [parse(caption) for caption in captions] == scenes
    assert subject.captions(category, 20, 3)[0] == captions
    assert subject.captions(category, 20, 4)[0] != captions


def test_a_batch_makes_the_pictures_that_the_engine_makes_one_by_one(subject):
    captions, _ = subject.captions("basic", 3, 0)
    together = generate(subject, captions, 3, [7, 8, 9])
    engine = Engine(subject._backend)
    engine.submit(EngineRequest("one", captions[1], 3, 8, subject.sampler, subject.guidance))
    alone = [event.picture for _ in range(3) for event in engine.step()][-1]
    assert np.abs(together[1].astype(int) - alone.astype(int)).max() <= 1


def test_the_judge_gives_a_share_per_picture(subject):
    captions, scenes = subject.captions("detail", 2, 0)
    shares = subject.shares(generate(subject, captions, 1, [0, 1]), scenes)
    assert len(shares) == 2
    assert all(0 <= share <= 1 for share in shares)
    # a drawn picture of a scene shows it, a picture of another scene does not
    drawn = np.stack([draw(scene, np.random.default_rng(1)) for scene in scenes])
    assert subject.shares(drawn, scenes) == [1.0, 1.0]
    assert max(subject.shares(drawn[::-1], scenes)) < 1


def test_a_folder_is_opened_like_a_name(subject):
    other = open_onnx(str(builtin.folder("shapes-s")))
    assert (other.name, other.guidance) == (subject.name, subject.guidance)


def test_an_unknown_model_gets_a_suggestion():
    with pytest.raises(InputError, match=r"no model named .shape-s. and no folder.*did you mean 'shapes-s'"):
        open_onnx("shape-s")


@pytest.mark.parametrize("name", builtin.names())
def test_the_packaged_profile_is_of_the_packaged_weights(name):
    profile = load_packaged(name)
    subject = open_onnx(name)
    assert profile.provenance.revision.endswith(fingerprint(subject.files)), "measure again: edgegen profile measure"
    assert (profile.guidance, profile.sampler) == (subject.guidance, subject.sampler)


def test_a_built_in_model_is_measured_in_seconds():
    plan = Plan(steps=(1, 8), batches=(1, 4), captions_per_category=4, repeats=5, cold_starts=1, clock="processor")
    profile = measure("shapes-s", plan=plan)
    assert set(profile.quality) == set(CATEGORIES)
    assert profile.quality_scale == PROMPT_FOLLOWING
    assert 0 < profile.step_s_at(1) < profile.step_s_at(4)
    assert 1e6 < profile.memory_bytes < 1e9
    assert profile.passes_per_step == (2 if profile.guidance > 1 else 1)
