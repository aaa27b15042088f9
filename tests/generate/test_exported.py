"""A pipeline exported to ONNX is the same model: number by number, and picture by picture in the same engine."""

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from edgegen.cli import app
from edgegen.generate.backends.onnx import OnnxBackend
from edgegen.generate.engine import Engine, EngineRequest
from edgegen.generate.opening import open_folder
from edgegen.generate.words import MODEL_WORDS

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
PROMPTS = [
    "a red circle",
    "A  small GREEN cross, above a triangle",
    "cat's 12 cafés_and naïve dogs!!",
    "",
    "red " * 200,
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The same pipeline in torch and as exported by the command."""
    from generate.pipelines import stable_diffusion

    root = tmp_path_factory.mktemp("exported")
    stable_diffusion(root / "scratch").save_pretrained(root / "torch")
    done = CliRunner().invoke(app, ["profile", "export", str(root / "torch"), str(root / "onnx"), "--json"])
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.stdout)["files"]) >= {"text.onnx", "unet.onnx", "decoder.onnx", "vocabulary.json"}
    return open_folder(root / "torch"), open_folder(root / "onnx")


def test_both_say_the_same_numbers(pair):
    torch_one, onnx_one = pair
    assert isinstance(onnx_one, OnnxBackend)
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((3, *torch_one.latent_shape), np.float32)
    assert onnx_one.latent_shape == torch_one.latent_shape
    assert (onnx_one.schedule.alphas == torch_one.schedule.alphas).all()
    assert onnx_one.schedule.prediction is torch_one.schedule.prediction
    texts = torch_one.encode(PROMPTS[:3]), onnx_one.encode(PROMPTS[:3])
    np.testing.assert_allclose(texts[1].reshape(3, -1), texts[0], atol=1e-5)
    times = np.array([999, 480, 3])
    np.testing.assert_allclose(
        onnx_one.denoise(latents, times, texts[1]), torch_one.denoise(latents, times, texts[0]), atol=1e-5
    )
    assert np.abs(onnx_one.decode(latents).astype(int) - torch_one.decode(latents)).max() <= 1


def test_prompts_are_read_as_the_pipeline_reads_them(pair):
    torch_one, onnx_one = pair
    theirs = torch_one._pipe.tokenizer
    expected = theirs(PROMPTS, padding="max_length", max_length=theirs.model_max_length, truncation=True).input_ids
    assert onnx_one.tokens(PROMPTS).tolist() == expected
    words = [" ".join(np.random.default_rng(seed).choice(MODEL_WORDS, 9)) for seed in range(20)]
    expected = theirs(words, padding="max_length", max_length=theirs.model_max_length, truncation=True).input_ids
    assert onnx_one.tokens(words).tolist() == expected


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp"])
def test_one_engine_makes_the_same_picture_with_both(pair, sampler):
    pictures = []
    for backend in pair:
        engine = Engine(backend, 2)
        request = EngineRequest("x", "a red circle", 6, 4, sampler, 2.0)
        for one in (request, dataclasses.replace(request, id="company", steps=3, guidance=1.0)):
            engine.submit(one)
        while len(engine):
            pictures += [event.picture.astype(int) for event in engine.step() if event.finished and event.id == "x"]
    assert pictures[0].std() > 1
    assert np.abs(pictures[0] - pictures[1]).max() <= 2
    assert pair[0].fingerprint != pair[1].fingerprint, "a latent made by one is not continued by the other"


def test_what_cannot_be_exported_says_why(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusion3Pipeline"}')
    done = CliRunner().invoke(app, ["profile", "export", str(tmp_path), str(tmp_path / "out")])
    assert done.exit_code != 0
    assert "only StableDiffusionPipeline (1.x and 2.x) can be exported" in str(done.output) + str(done.exception)
