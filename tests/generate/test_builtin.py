"""The shipped models: they load, draw what was asked, and are what their cards say."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from edgegen.core.errors import EdgegenError, InputError, UnknownNameError
from edgegen.generate import builtin, show
from edgegen.generate.backends.onnx import BackendError, OnnxBackend
from edgegen.generate.engine import Engine, EngineRequest
from edgegen.generate.grammar import CATEGORIES, PromptError, held_out_scenes
from edgegen.generate.judge import Judge

TOLERANCE = 2  # levels of 255; a pass over several rows may add in another order than a pass over one


@pytest.fixture(scope="module", params=builtin.NAMES)
def model(request):
    return request.param, OnnxBackend(builtin.folder(request.param))


def test_a_picture_in_a_mixed_batch_equals_the_picture_alone(model):
    name, backend = model
    wanted = [
        EngineRequest("a", "a red circle", 3, seed=1),
        EngineRequest("b", "a small blue cross on white", 6, seed=2, sampler="dpmpp"),
        EngineRequest("c", "a red circle left of a blue square", 5, seed=3, guidance=2.0),
    ]

    def pictures(requests):
        engine, found = Engine(backend, max_batch=4), {}
        for request in requests:
            engine.submit(request)
        while len(engine):
            found |= {event.id: event.picture for event in engine.step() if event.finished}
        return found

    together = pictures(wanted)
    for request in wanted:
        alone = pictures([request])[request.id].astype(int)
        assert np.abs(together[request.id].astype(int) - alone).max() <= TOLERANCE, name


def test_more_steps_make_more_attributes_right():
    scenes = [scene for category in CATEGORIES for scene in held_out_scenes(category, 6, seed=1)]
    captions, seeds = [scene.caption() for scene in scenes], range(len(scenes))
    judge, share = Judge.load(), {}
    for steps in (1, 12):
        pictures = show.make(builtin.folder("shapes-l"), captions, steps=steps, seeds=seeds)
        share[steps] = np.mean([verdict.share for verdict in judge(pictures, scenes)])
    assert share[12] > share[1] + 0.1


def test_the_prompt_is_understood_before_it_is_encoded(model):
    _, backend = model
    assert (backend.tokens(["Red disc!"]) == backend.tokens(["a red circle"])).all()
    assert (backend.tokens([""])[0, 1:] == backend.tokens([""])[0, 1]).all()
    with pytest.raises(PromptError, match="zebra"):
        backend.encode(["a zebra"])


def test_a_card_says_what_the_model_is():
    for name in builtin.names():
        card = builtin.card(name)
        assert card["name"] == name
        assert card["guidance"] >= 1
        assert set(card["all_right"]["16"]) == set(CATEGORIES)
    parameters = [builtin.card(name)["parameters"] for name in builtin.names()]
    assert parameters == sorted(parameters)


def test_everything_shipped_stays_small():
    assert sum(file.stat().st_size for file in builtin.WEIGHTS.rglob("*") if file.is_file()) <= 24e6


def test_the_weights_are_those_that_were_measured():
    for name in builtin.names():
        digest = hashlib.sha256((builtin.folder(name) / "unet.onnx").read_bytes()).hexdigest()
        assert builtin.card(name)["unet_sha256"] == digest


def test_unknown_models_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'shapes-l'"):
        builtin.folder("shape-l")
    with pytest.raises(BackendError, match=r"has no text\.onnx"):
        OnnxBackend(tmp_path / "nothing")


def test_a_model_without_weights_says_how_to_make_them(tmp_path, monkeypatch):
    monkeypatch.setattr(builtin, "WEIGHTS", tmp_path)
    with pytest.raises(EdgegenError, match="edgegen builtin train"):
        builtin.card("shapes-s")


def test_pictures_are_read_and_scaled_down(tmp_path):
    Image.new("RGB", (256, 256), (10, 20, 30)).save(tmp_path / "large.png")
    assert (show.load_picture(tmp_path / "large.png") == (10, 20, 30)).all()
    Image.new("RGB", (32, 32)).save(tmp_path / "small.png")
    (tmp_path / "text.png").write_text(json.dumps({}))
    for name in ("small.png", "text.png"):
        with pytest.raises(InputError, match="picture"):
            show.load_picture(tmp_path / name)


@pytest.mark.torch
@pytest.mark.slow
def test_the_diffusers_pipeline_draws_the_same_picture(tmp_path, model):
    import torch
    from diffusers import StableDiffusionPipeline

    name, backend = model
    folder = builtin.assemble(name, tmp_path / name)
    pipe = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    caption, seed, steps, guidance = "a large red circle on a black background", 5, 4, 2.0
    noise = np.random.default_rng(seed).standard_normal((1, *backend.latent_shape), np.float32)
    theirs = pipe(
        caption,
        height=64,
        width=64,
        num_inference_steps=steps,
        guidance_scale=guidance,
        latents=torch.from_numpy(noise),
        output_type="np",
    ).images[0]
    ours = show.run(backend, [caption], steps=steps, seeds=[seed], sampling=builtin.Sampling("ddim", guidance))[0]
    assert np.abs(ours.astype(float) - 255 * theirs).max() <= TOLERANCE


@pytest.mark.torch
def test_the_tokenizer_of_the_pipeline_agrees(model):
    from transformers import CLIPTokenizer

    _, backend = model
    tokenizer = CLIPTokenizer.from_pretrained(builtin.WEIGHTS / "shared" / "tokenizer")
    captions = [scene.caption() for category in CATEGORIES for scene in held_out_scenes(category, 20, seed=2)]
    theirs = tokenizer(["", *captions], padding="max_length", truncation=True, max_length=20).input_ids
    assert backend.tokens(["", *captions]).tolist() == theirs
