"""What was learnt becomes a folder with a measured profile, whole or not at all, and a gateway is told."""

import json
import re
import socket
import textwrap
from pathlib import Path

import httpx
import numpy as np
import pytest

from edgegen.core.errors import InputError, WorkerError
from edgegen.core.profile import Profile
from edgegen.generate import builtin
from edgegen.generate.adapter_files import AdapterError, read_arrays, read_base, read_card
from edgegen.generate.backends.adapted import AdaptedBackend
from edgegen.generate.measure import Plan
from edgegen.generate.shelf import Shelf
from edgegen.generate.subject import open_onnx
from edgegen.generate.words import CATEGORIES, NOVEL, OBJECTS
from edgegen.serve.compose import compose
from edgegen.serve.run import in_thread
from generate.adapters import adaptable, random_arrays
from serve.conftest import measured_fleet, small_config

pytestmark = pytest.mark.torch  # to write a base takes what comes with it
TINY = Plan(steps=(1, 2), batches=(1, 2), captions_per_category=2, repeats=1, cold_starts=1)
KEY = "a-long-enough-secret"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def learnt(models):
    from edgegen.tune.publishing import Learnt

    base = adaptable(models)
    return Learnt("shapes-s", random_arrays(base, rank=2), scale=0.5, provenance={"rounds": 3, "sites": ["a", "b"]})


@pytest.fixture(scope="module")
def written(models, learnt):
    from edgegen.tune.publishing import write_model

    return write_model(learnt, models, "three-sites", plan=TINY)


def test_a_folder_has_what_it_takes_to_be_served(models, written, learnt):
    assert sorted(path.name for path in written.iterdir()) == ["adapter.npz", "card.json", "profile.json"]
    card = Shelf(models).card("three-sites")
    assert (card.base, card.rank, card.scale) == ("shapes-s", 2, 0.5)
    assert card.provenance == {"rounds": 3, "sites": ["a", "b"]}
    assert builtin.sampling(written) == builtin.sampling(builtin.folder("shapes-s"))
    profile = Profile.load(written / "profile.json")
    assert profile.model == "three-sites"
    assert set(profile.quality) == set(card.categories)
    assert all(point.n == 2 for points in profile.quality_points.values() for point in points)
    arrays = read_arrays(written, card, read_base(card, models / "bases"))
    np.testing.assert_allclose(arrays["conv_in.lora_B"], 0.5 * learnt.arrays["conv_in.lora_B"])


def test_what_is_new_is_measured_as_a_category_of_its_own(models, learnt):
    from edgegen.tune.publishing import Learnt, write_model

    vectors = np.ones((len(OBJECTS), 32), np.float32)
    novel = Learnt("shapes-s", learnt.arrays, words=tuple(OBJECTS), vectors=vectors, categories=(*CATEGORIES, NOVEL))
    profile = Profile.load(write_model(novel, models, "novel", plan=TINY) / "profile.json")
    assert list(profile.quality) == [*CATEGORIES, "novel"]
    subject = open_onnx(str(models / "novel"))
    captions, scenes = subject.captions(NOVEL, 2 * len(OBJECTS), 0)
    assert all(scene.category == NOVEL for scene in scenes)
    assert {item.shape for scene in scenes for item in scene.items} >= set(OBJECTS)
    assert captions == [scene.caption() for scene in scenes]


def test_a_name_is_taken_once_and_has_to_be_one(models, written, learnt):
    from edgegen.tune.publishing import write_model

    with pytest.raises(InputError, match="is there already; publish under another name"):
        write_model(learnt, models, "three-sites", plan=TINY)
    with pytest.raises(InputError, match="the name of a published model"):
        write_model(learnt, models, "../three", plan=TINY)


def test_what_goes_wrong_leaves_nothing_behind(models, written, learnt):
    from edgegen.tune.publishing import Learnt, write_adapter

    before = sorted(path.name for path in models.iterdir())

    def fail(folder) -> None:
        raise WorkerError(f"nothing could be measured in {folder.name}")

    with pytest.raises(WorkerError, match="nothing could be measured"):
        write_adapter(learnt, models, "unlucky", fill=fail)
    foreign = Learnt("shapes-s", {"nowhere.lora_A": np.ones((2, 3)), "nowhere.lora_B": np.ones((4, 2))})
    with pytest.raises(AdapterError, match="no layer for: nowhere"):
        write_adapter(foreign, models, "foreign")
    assert sorted(path.name for path in models.iterdir()) == before


def product(arrays: dict, layer: str, scale: float) -> np.ndarray:
    a, b = arrays[f"{layer}.lora_A"], arrays[f"{layer}.lora_B"]
    return scale * b.reshape(len(b), -1) @ a.reshape(len(a), -1)


def test_what_was_added_to_the_weights_joins_the_adapter():
    from edgegen.tune.publishing import as_adapter

    rng = np.random.default_rng(3)
    arrays = {
        "one.lora_A": rng.standard_normal((2, 6)),
        "one.lora_B": rng.standard_normal((5, 2)),
        "one.base": rng.standard_normal((5, 3)) @ rng.standard_normal((3, 6)),
        "two.lora_A": rng.standard_normal((2, 3, 3, 3)),
        "two.lora_B": rng.standard_normal((4, 2, 1, 1)),
    }
    found, rank, scale = as_adapter(arrays, 0.5)
    assert (rank, scale) == (5, 1.0)
    assert {array.shape[axis] for name, array in found.items() for axis in [int(name.endswith("B"))]} == {5}
    expected = product(arrays, "one", 0.5) + arrays["one.base"]
    np.testing.assert_allclose(product(found, "one", 1.0), expected, atol=1e-5)
    np.testing.assert_allclose(product(found, "two", 1.0), product(arrays, "two", 0.5), atol=1e-5)
    plain = {name: array for name, array in arrays.items() if not name.endswith(".base")}
    kept, rank, scale = as_adapter(plain, 0.5)
    assert (rank, scale) == (2, 0.5)
    np.testing.assert_allclose(kept["one.lora_B"], arrays["one.lora_B"].astype(np.float32))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"conv_in.weight": np.ones((2, 2))}, "arrays such as 'conv_in.weight'"),
        ({"conv_in.lora_A": np.ones((2, 2))}, "half of the layer 'conv_in'"),
        ({}, "got nothing"),
    ],
)
def test_only_adapters_can_be_published(arrays, said):
    from edgegen.tune.publishing import as_adapter

    with pytest.raises(InputError, match=said):
        as_adapter(arrays, 1.0)


def test_words_come_with_their_vectors(models, written, learnt):
    from edgegen.tune.publishing import Learnt, write_adapter

    with pytest.raises(InputError, match="need their vectors"):
        write_adapter(Learnt("shapes-s", learnt.arrays, words=("zig",)), models, "wordless")
    vectors = np.ones((1, 32))
    folder = write_adapter(Learnt("shapes-s", learnt.arrays, words=("zig",), vectors=vectors), models, "wordy")
    assert read_card(folder).words == ("zig",)
    assert AdaptedBackend(folder).tokens.words["zig"] == 134


@pytest.fixture(scope="module")
def live(models):
    config = small_config()
    gateway = config.gateway.model_copy(update={"models_folder": str(models), "api_keys": [KEY]})
    config = config.model_copy(update={"gateway": gateway})
    with in_thread(lambda: compose(config, measured_fleet(config), maker="instant")) as served:
        yield served


def test_a_gateway_is_told_and_answers(live, written):
    from edgegen.tune.publishing import announce

    for url in (f"{live.url}/v1", live.url):
        if url == live.url:
            with pytest.raises(InputError, match="'three-sites' is served already"):
                announce(url, "three-sites", key=KEY)
        else:
            told = announce(url, "three-sites", key=KEY, nodes=["edge-1"])
            assert told["edgegen"]["nodes"] == ["edge-1"]
    assert json.loads((written / "published.json").read_text()) == {"nodes": ["edge-1"]}
    with pytest.raises(InputError, match="the gateway refuses 'three-sites': the API key is not one of"):
        announce(live.url, "three-sites", key="b-long-enough-secret")
    with pytest.raises(InputError, match="no model folder named 'two-sites'"):
        announce(live.url, "two-sites", key=KEY)


def test_a_gateway_that_cannot_be_told_is_said():
    from edgegen.tune.publishing import announce

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(WorkerError, match="cannot be reached"):
        announce(f"http://127.0.0.1:{port}", "any")
    with pytest.raises(InputError, match="expected the address of a gateway"):
        announce("gateway:8000", "any")
    with pytest.raises(InputError, match="carry the key in the open"):
        announce("http://gateway.example", "any", key=KEY)


def test_the_how_to_leads_to_a_model_that_is_served(tmp_path, monkeypatch):
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "publish-an-adapter.md").read_text()
    (code,) = re.findall(r"^ *```python\n(.*?)^ *```", text, flags=re.S | re.M)
    (body,) = re.findall(r"-d '(.*?)'", text)
    monkeypatch.chdir(tmp_path)
    exec(compile(textwrap.dedent(code), "publish-an-adapter.md", "exec"), {})
    assert sorted(path.name for path in Path("edgegen-runs/models").iterdir()) == ["bases", "tried-out"]
    config = small_config()
    with in_thread(lambda: compose(config, measured_fleet(config), maker="instant")) as live:
        answer = httpx.post(
            f"{live.url}/v1/models", content=body, headers={"Content-Type": "application/json"}, timeout=30
        )
        assert answer.status_code == 201, answer.text
        made = httpx.post(f"{live.url}/v1/images/generations", json={"prompt": "a red circle", "model": "tried-out"})
        assert made.status_code == 200, made.text


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("mode", ["ffa", "fedex"])
def test_what_is_served_is_the_network_that_was_trained(tmp_path, mode):
    """The same numbers from the trained torch network and from the folder that is served, for a prompt with a new word."""
    import torch

    from edgegen.tune import adapters
    from edgegen.tune.base import Base
    from edgegen.tune.parts import AdapterParts
    from edgegen.tune.publishing import learnt_on, write_adapter

    base, lora = Base("shapes-s"), adapters.Lora(rank=2, scale=0.7, mode=mode)
    parts, rng = AdapterParts(lora), np.random.default_rng(8)
    parts.prepare(base)
    arrays = {
        name: (0.1 * rng.standard_normal(array.shape)).astype(np.float32) for name, array in parts.start(base).items()
    }
    if mode == "fedex":
        change = base.network.conv_out.base_layer.weight.shape
        arrays["conv_out.base"] = (0.05 * rng.standard_normal(tuple(change))).astype(np.float32)
    parts.put(base, arrays)
    folder = write_adapter(learnt_on(base, lora, arrays, provenance={}), tmp_path, "taught")
    served, prompts = (
        AdaptedBackend(folder),
        [f"a red {word} left of a blue square" for word in OBJECTS],
    )
    assert read_card(folder).base_sha256 == base.sha256
    text, pooled = base.read(prompts)
    np.testing.assert_allclose(served.encode(prompts), text.numpy(), atol=1e-4)
    latents, times = (
        rng.standard_normal((len(prompts), *served.latent_shape), np.float32),
        np.linspace(900, 30, len(prompts)).astype(int),
    )
    with torch.no_grad():
        expected = base.family.denoise(torch.from_numpy(latents), torch.from_numpy(times), text, pooled).numpy()
    np.testing.assert_allclose(served.denoise(latents, times, served.encode(prompts)), expected, atol=1e-4)
