"""Adapters on a resident base: what they answer, what they share, and what is refused."""

import json
import re

import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.generate import adapter_files as files
from edgegen.generate import builtin
from edgegen.generate.adapter_files import AdapterError, base_sha256, check, weights_sha256
from edgegen.generate.backends.adapted import AdaptedBackend
from edgegen.generate.backends.onnx import OnnxBackend
from edgegen.generate.engine import Engine, EngineRequest
from edgegen.generate.grammar import PromptError
from edgegen.generate.opening import open_folder
from generate.adapters import adaptable, random_arrays, write_adapter

pytestmark = pytest.mark.torch  # to write a base takes what comes with it
CLOSE = 1e-5  # the runtime takes other kernels for weights that are computed


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def base(models):
    return adaptable(models)


@pytest.fixture(scope="module")
def plain():
    return OnnxBackend(builtin.folder("shapes-s"))


@pytest.fixture(scope="module")
def made(models, base):
    return open_folder(write_adapter(models, "made", base, random_arrays(base, seed=1)))


def some(backend, rows: int = 3):
    rng = np.random.default_rng(5)
    latents = rng.standard_normal((rows, *backend.latent_shape), np.float32)
    return latents, np.array([999, 400, 20][:rows]), backend.encode(["a red circle", "a blue square", ""][:rows])


@pytest.mark.parametrize("name", builtin.names())
def test_an_adapter_of_zeros_answers_as_its_base(tmp_path, name):
    base, plain = adaptable(tmp_path, name), OnnxBackend(builtin.folder(name))
    zero = open_folder(write_adapter(tmp_path, "zero", base, random_arrays(base, size=0.0)))
    assert (zero.encode(["a red circle"]) == plain.encode(["a red circle"])).all()
    asked = some(plain)
    np.testing.assert_allclose(zero.denoise(*asked), plain.denoise(*asked), atol=CLOSE)
    assert (zero.decode(asked[0]) == plain.decode(asked[0])).all()
    assert zero.latent_shape == plain.latent_shape


@pytest.mark.parametrize("size", ["s", "l"])
def test_an_adapter_answers_as_the_network_with_the_change_in_its_weights(tmp_path, size):
    import torch
    from diffusers import UNet2DConditionModel

    base = adaptable(tmp_path, f"shapes-{size}")
    arrays = random_arrays(base, rank=3, seed=2)
    one = open_folder(write_adapter(tmp_path, "one", base, arrays, scale=0.7))
    unet = UNet2DConditionModel.from_pretrained(builtin.folder(base.name) / "unet", torch_dtype=torch.float32).eval()
    asked = some(one)
    with torch.no_grad():
        for layer in base.layers:
            weight = unet.get_submodule(layer).weight
            change = 0.7 * arrays[f"{layer}.lora_B"] @ arrays[f"{layer}.lora_A"]
            weight += torch.from_numpy(change).reshape(weight.shape)
        latents, times, text = (torch.from_numpy(np.ascontiguousarray(part)) for part in asked)
        expected = unet(latents, times, encoder_hidden_states=text).sample.numpy()
    assert np.abs(expected - one.denoise(*asked)).max() < CLOSE * max(1.0, np.abs(expected).max())
    plain = OnnxBackend(builtin.folder(base.name)).denoise(*asked)
    assert np.abs(plain - expected).max() > 100 * CLOSE, "the change is large enough to be seen"


def test_a_convolution_may_have_the_shapes_of_peft(models, base, made):
    flat = random_arrays(base, seed=1)
    shaped = dict(flat)
    shaped["conv_in.lora_A"] = flat["conv_in.lora_A"].reshape(4, 8, 3, 3)
    shaped["conv_in.lora_B"] = flat["conv_in.lora_B"].reshape(-1, 4, 1, 1)
    other = open_folder(write_adapter(models, "shaped", base, shaped))
    assert (other.denoise(*some(made)) == made.denoise(*some(made))).all()


def test_a_layer_that_is_not_adapted_stays_as_it_is(models, base, plain):
    arrays = {name: array for name, array in random_arrays(base).items() if name.startswith("conv_out.")}
    one = open_folder(write_adapter(models, "one-layer", base, arrays))
    assert np.abs(one.denoise(*some(plain)) - plain.denoise(*some(plain))).max() > CLOSE
    arrays["conv_out.lora_B"] *= 0
    none = open_folder(write_adapter(models, "no-layer", base, arrays))
    np.testing.assert_allclose(none.denoise(*some(plain)), plain.denoise(*some(plain)), atol=CLOSE)


def test_all_adapters_of_a_process_share_one_base_and_keep_apart(models, base, made):
    other = open_folder(write_adapter(models, "other", base, random_arrays(base, seed=2)))
    assert made.base is other.base, "sessions, and with them the memory of the weights, are there once"
    assert AdaptedBackend(models / "made", threads=2).base is not made.base
    first = made.denoise(*some(made))
    assert np.abs(first - other.denoise(*some(made))).max() > CLOSE
    assert (made.denoise(*some(made)) == first).all(), "the other adapter left nothing behind"
    assert made.fingerprint != other.fingerprint
    again = AdaptedBackend(models / "made")
    assert again.fingerprint == made.fingerprint


def test_a_row_does_not_depend_on_its_company(made):
    latents, times, text = some(made)
    together = made.denoise(latents, times, text)
    for row in range(3):
        alone = made.denoise(latents[row : row + 1], times[row : row + 1], text[row : row + 1])
        np.testing.assert_allclose(alone[0], together[row], atol=CLOSE)


def test_the_engine_makes_its_pictures_and_refuses_another_adapter_s_checkpoint(models, base, made, plain):
    pictures = []
    for backend in (made, plain):
        engine = Engine(backend, 2)
        engine.submit(EngineRequest("x", "a red circle", 4, 7, "dpmpp", 1.5))
        engine.step()
        kept = engine.checkpoint("x")
        while len(engine):
            pictures += [event.picture for event in engine.step() if event.finished]
    assert (pictures[0] != pictures[1]).any()
    with pytest.raises(InputError, match="cannot be continued"):
        Engine(made).resume(kept)


def test_new_words_are_rows_behind_the_table_of_the_base(models, base, plain):
    arrays = random_arrays(base, words=2)
    one = open_folder(write_adapter(models, "wordy", base, arrays, words=("ring", "moon")))
    assert [one.tokens.words[word] for word in ("ring", "moon")] == [base.table[0], base.table[0] + 1]
    tokens = plain.tokens(["a red circle"])
    told = {word: tokens.copy() for word in ("ring", "moon")}
    for word, row in told.items():
        row[row == one.tokens.words["circle"]] = one.tokens.words[word]
    states = {word: one.base.text.run(None, {"tokens": row, "words": arrays["words"]})[0] for word, row in told.items()}
    assert np.abs(states["ring"] - states["moon"]).max() > 1e-3
    same = arrays["words"].copy()
    same[0] = _table(base)[one.tokens.words["circle"]]
    found = one.base.text.run(None, {"tokens": told["ring"], "words": same})[0]
    np.testing.assert_allclose(found, plain.encode(["a red circle"]), atol=CLOSE)


def _table(base) -> np.ndarray:
    import onnx

    graph = onnx.load(base.folder / "text.onnx").graph
    (stored,) = (tensor for tensor in graph.initializer if "token_embedding" in tensor.name)
    return onnx.numpy_helper.to_array(stored).astype(np.float32)


def test_a_model_that_was_never_shown_a_word_says_so(plain, monkeypatch):
    monkeypatch.delitem(plain._tokenize.words, "circle")
    with pytest.raises(PromptError, match="never shown circle"):
        plain.encode(["a red circle"])


def test_an_adapter_of_another_base_is_refused(models, base, tmp_path):
    folder = write_adapter(models, "foreign", base, random_arrays(base))
    card = json.loads((folder / "card.json").read_text())
    other = base_sha256("shapes-m")
    (folder / "card.json").write_text(json.dumps({**card, "base_sha256": other}))
    with pytest.raises(AdapterError, match=f"needs the base shapes-s with the weights sha256 {other[:16]}"):
        open_folder(folder)
    forged = card["base_sha256"][:16] + "0" * 48
    (folder / "card.json").write_text(json.dumps({**card, "base_sha256": forged}))
    with pytest.raises(AdapterError, match="an adapter works on its own base only"):
        open_folder(folder)
    with pytest.raises(AdapterError, match="which is not in"):
        AdaptedBackend(models / "foreign", bases=tmp_path)


def _flip(path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_damaged_files_are_refused(models, base, tmp_path):
    folder = write_adapter(models, "damaged", base, random_arrays(base))
    _flip(folder / "adapter.npz", 5000)
    with pytest.raises(AdapterError, match=r"adapter\.npz is damaged"):
        open_folder(folder)
    mine = adaptable(tmp_path)
    whole = write_adapter(tmp_path, "whole", mine, random_arrays(mine))
    assert check(whole, tmp_path / "bases").name == "whole"
    _flip(mine.folder / "unet.onnx", 100_000)
    for attempt in (lambda: check(whole, tmp_path / "bases"), lambda: open_folder(whole)):
        with pytest.raises(AdapterError, match=r"unet\.onnx is damaged or was changed"):
            attempt()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda arrays: arrays.pop("conv_in.lora_A"), "only one half of layer conv_in"),
        (lambda arrays: arrays.update({"nowhere.lora_A": np.ones((4, 4), np.float32)}), "no layer for: nowhere.lora_A"),
        (lambda arrays: arrays.update({"conv_in.lora_B": np.ones((4, 16), np.float32)}), "layer conv_in has arrays of"),
        (lambda arrays: arrays["conv_in.lora_B"].fill(np.nan), "finite float32"),
        (lambda arrays: arrays.update({"words": np.ones((2, 32), np.float32)}), "expected 0 word vectors of 32"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, base, models, change, said):
    arrays = random_arrays(base)
    change(arrays)
    folder = write_adapter(tmp_path, "odd", base, arrays)
    with pytest.raises(AdapterError, match=re.escape(said)):
        AdaptedBackend(folder, bases=models / "bases")


def test_what_is_too_large_packed_or_pickled_is_refused(tmp_path, base, models, monkeypatch):
    folder = write_adapter(tmp_path, "large", base, random_arrays(base))
    bases, card = models / "bases", json.loads((folder / "card.json").read_text())

    def with_file(save, **arrays) -> None:
        save(folder / "adapter.npz", **arrays)
        digest = files.sha256_of(folder / "adapter.npz")
        (folder / "card.json").write_text(json.dumps({**card, "adapter_sha256": digest}))

    with_file(np.savez_compressed, **{"conv_in.lora_A": np.zeros((4, 72), np.float32)})
    with pytest.raises(AdapterError, match="is packed"):
        check(folder, bases)
    with_file(np.savez, evil=np.array([{"a": 1}], dtype=object))
    with pytest.raises(AdapterError, match="holds no arrays that can be read"):
        check(folder, bases)
    monkeypatch.setattr(files, "LARGEST_ADAPTER_BYTES", 100)
    with pytest.raises(AdapterError, match="an adapter has at most 100"):
        check(folder, bases)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "is not of the format 'edgegen adapter'"),
        ('{"format": "edgegen adapter", "version": 1}', "is not a whole card"),
    ],
)
def test_a_card_that_is_none_is_refused(tmp_path, base, text, said):
    folder = write_adapter(tmp_path, "card", base, random_arrays(base))
    (folder / "card.json").write_text(text)
    with pytest.raises(AdapterError, match=said):
        open_folder(folder)


def test_a_base_is_exported_once(models, base):
    before = (base.folder / "unet.onnx").stat().st_mtime_ns
    assert adaptable(models).folder == base.folder
    assert (base.folder / "unet.onnx").stat().st_mtime_ns == before
    assert [path.name for path in (models / "bases").iterdir()] == [base_sha256("shapes-s")[:16]]


def test_a_base_is_told_by_all_of_its_weights_wherever_they_lie(tmp_path):
    whole = builtin.assemble("shapes-s", tmp_path / "whole")
    assert weights_sha256(whole) == base_sha256("shapes-s") == base_sha256(str(whole))
    assert len({base_sha256(name) for name in builtin.names()}) == 3
    _flip(next((whole / "vae").glob("*.safetensors")), 5000)
    assert weights_sha256(whole) != base_sha256("shapes-s")
