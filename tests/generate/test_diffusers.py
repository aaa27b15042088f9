"""Pipelines of diffusers in the engine, against the pipelines themselves. Tiny ones with random weights, made here."""

import json

import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.generate import builtin
from edgegen.generate.checkpoint import Checkpoint, CheckpointError
from edgegen.generate.engine import Engine, EngineRequest
from edgegen.generate.opening import open_folder
from edgegen.serve.workers import checks
from edgegen.serve.workers.builtin_maker import BuiltinMaker

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
NAMES = ("sd1", "sd2", "sdxl", "sd3")
PROMPT = "a red circle left of a blue square"
LEVELS = 2  # of 255: float32 sums in another order, made larger by guidance and by random weights


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    from generate.pipelines import FAMILIES

    root, made = tmp_path_factory.mktemp("pipelines"), {}
    for name, make in FAMILIES.items():
        made[name] = root / name
        make(root / f"{name}-scratch").save_pretrained(made[name])
    return made


@pytest.fixture(scope="module")
def backends(folders):
    return {name: open_folder(folder) for name, folder in folders.items()}


def request(backend, steps=4, seed=7, *, name="x", guidance=3.0, sampler=None):
    return EngineRequest(name, PROMPT, steps, seed, sampler or backend.schedule.samplers[0], guidance)


def finish(engine):
    pictures = {}
    while len(engine):
        pictures |= {event.id: event.picture for event in engine.step() if event.finished}
    return pictures


def alone(backend, wanted):
    engine = Engine(backend, 1)
    engine.submit(wanted)
    return finish(engine)[wanted.id]


def pipeline(folder):
    from diffusers import DiffusionPipeline

    missing = {"text_encoder_3": None, "tokenizer_3": None} if folder.name == "sd3" else {}
    return DiffusionPipeline.from_pretrained(folder, local_files_only=True, **missing)


def by_diffusers(folder, steps, seed, guidance, shape):
    """The pipeline's own loop and scheduler, from the engine's noise."""
    import torch

    pipe = pipeline(folder)
    pipe.set_progress_bar_config(disable=True)
    noise = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, *shape), np.float32))
    side = shape[-1] * pipe.vae_scale_factor
    given = {"latents": noise, "height": side, "width": side, "guidance_scale": guidance, "output_type": "np"}
    if "3" in type(pipe).__name__:  # its own spacing gives the last step nothing to do; this one is even to the end
        given["sigmas"] = [1 - at / steps for at in range(steps)]
    shown = pipe(PROMPT, num_inference_steps=steps, **given).images[0]
    return np.rint(255 * shown).astype(int)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("steps", "guidance"), [(1, 1.0), (4, 3.0), (10, 1.0), (20, 2.0)])
def test_the_engine_makes_the_picture_that_the_pipeline_makes(folders, backends, name, steps, guidance):
    backend = backends[name]
    expected = by_diffusers(folders[name], steps, 7, guidance, backend.latent_shape)
    found = alone(backend, request(backend, steps, guidance=guidance))
    assert expected.std() > 1, "a picture of one colour would agree with anything"
    assert np.abs(found - expected).max() <= LEVELS


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_the_same_in_mixed_company_and_when_it_goes_on_elsewhere(folders, backends, name):
    backend = backends[name]
    samplers = backend.schedule.samplers
    wanted = [
        request(backend, steps, steps, name=f"{steps}", guidance=guidance, sampler=samplers[steps % len(samplers)])
        for steps, guidance in ((3, 1.0), (5, 2.0), (8, 4.0))
    ]
    engine, there, pictures = Engine(backend, 8), Engine(open_folder(folders[name]), 2), {}
    for one in wanted:
        engine.submit(one)
        pictures |= {event.id: event.picture for event in engine.step() if event.finished}
    there.resume(Checkpoint.from_bytes(engine.checkpoint("8").to_bytes()))
    pictures |= finish(engine)
    for one in wanted:
        assert np.abs(alone(backend, one).astype(int) - pictures[one.id]).max() <= LEVELS
    assert np.abs(finish(there)["8"].astype(int) - pictures["8"]).max() <= LEVELS


def test_models_do_not_continue_each_other_s_pictures(backends):
    engine = Engine(backends["sd1"], 1)
    engine.submit(request(backends["sd1"]))
    engine.step()
    with pytest.raises(CheckpointError, match="cannot be continued with"):
        Engine(backends["sd2"]).resume(engine.checkpoint("x"))
    assert len({backend.fingerprint for backend in backends.values()}) == len(NAMES)


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd3"])
def test_lora_weights_are_loaded_through_peft_and_change_the_picture_by_their_strength(
    folders, backends, name, tmp_path
):
    import torch
    from peft import LoraConfig
    from peft.tuners.lora import LoraLayer
    from peft.utils import get_peft_model_state_dict

    from edgegen.generate.backends.diffusers import DiffusersBackend, Lora

    pipe = pipeline(folders[name])
    part = "transformer" if name == "sd3" else "unet"
    network = getattr(pipe, part)
    network.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    layers = get_peft_model_state_dict(network)
    torch.manual_seed(0)
    layers = {key: torch.randn_like(value) for key, value in layers.items()}
    type(pipe).save_lora_weights(tmp_path, **{f"{part}_lora_layers": layers})
    file = tmp_path / "pytorch_lora_weights.safetensors"
    plain = alone(backends[name], request(backends[name])).astype(int)
    found = {}
    for weight in (0.0, 0.5, 1.0):
        backend = DiffusersBackend.open(folders[name], [Lora(file, weight)])
        assert any(isinstance(module, LoraLayer) for module in backend._family.network.modules())
        assert backend.fingerprint != backends[name].fingerprint
        found[weight] = np.abs(alone(backend, request(backend)) - plain).mean()
    assert found[0.0] <= 0.02 < found[0.5]
    assert found[0.5] != found[1.0] > 0.02


def test_a_card_names_the_lora_weights_of_a_folder(folders, tmp_path):
    from edgegen.generate.backends.diffusers import Lora, read_loras

    assert read_loras(folders["sd1"]) == []
    (tmp_path / "card.json").write_text(
        json.dumps({"loras": [{"file": "a.safetensors", "weight": 0.5}, {"file": "b"}]})
    )
    assert read_loras(tmp_path) == [Lora(tmp_path / "a.safetensors", 0.5), Lora(tmp_path / "b", 1.0)]


def test_a_worker_opens_a_folder_for_what_it_is(folders):
    maker = BuiltinMaker({"mine": str(folders["sd3"])}, slots=2)
    maker.load("mine")
    tokens = [maker.join(checks.job(f"{at}", model="mine", steps=3, seed=at), None) for at in range(2)]
    for _ in range(3):
        maker.step(tokens[0])
    assert all(maker.progress(token) == (3, 3) for token in tokens)
    assert maker.picture(tokens[0]) != maker.picture(tokens[1])


def test_without_a_card_a_pipeline_is_sampled_as_its_family_usually_is(folders, tmp_path):
    assert builtin.sampling(folders["sd3"]) == ("euler", 7.0)
    assert builtin.sampling(folders["sdxl"]) == ("dpmpp", 5.0)
    assert builtin.sampling(tmp_path) == ("ddim", 1.0)
    (tmp_path / "card.json").write_text('{"guidance": 2}')
    assert builtin.sampling(tmp_path) == ("ddim", 2.0)


def test_the_built_in_models_are_the_same_in_torch_and_in_onnx(tmp_path):
    from edgegen.generate.backends.diffusers import DiffusersBackend

    torch_one = DiffusersBackend.open(builtin.assemble("shapes-s", tmp_path / "shapes-s"))
    onnx_one = open_folder(builtin.folder("shapes-s"))
    assert np.allclose(torch_one.schedule.alphas, onnx_one.schedule.alphas, rtol=1e-4)
    for sampler in ("ddim", "dpmpp"):
        wanted = EngineRequest("x", PROMPT, 6, 3, sampler, 1.5)
        assert np.abs(alone(torch_one, wanted).astype(int) - alone(onnx_one, wanted)).max() <= LEVELS


def test_what_cannot_be_run_is_refused_with_what_can(folders, tmp_path):
    from edgegen.generate.backends.diffusers import DiffusersBackend

    with pytest.raises(InputError, match=r"no model_index\.json"):
        DiffusersBackend.open(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(InputError, match="of a FluxPipeline, which the engine does not know; known: StableDiffusion"):
        open_folder(tmp_path)
    file = folders["sd1"] / "scheduler" / "scheduler_config.json"
    kept = file.read_text()
    for change, message in (
        ({"prediction_type": "sample"}, "predict 'sample'"),
        ({"rescale_betas_zero_snr": True}, "zero_snr"),
    ):
        file.write_text(json.dumps({**json.loads(kept), **change}))
        with pytest.raises(InputError, match=message):
            open_folder(folders["sd1"])
    file.write_text(kept)
