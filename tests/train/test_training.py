"""Training: seeded, resumable, and it learns. Short runs of the real recipe."""

import csv
import dataclasses

import numpy as np
import pytest

from edgegen.generate.grammar import CATEGORIES, held_out, parse

pytest.importorskip("torch")

import torch

from edgegen.train import autoencoder, diffusion, export, judge, loop, reading, recipe
from edgegen.train.data import training_scene
from edgegen.train.run import run, stages
from edgegen.train.tokens import build_tokenizer, encode_captions, nothing, word_ids

pytestmark = pytest.mark.torch

SHORT = recipe.Budget(steps=8, batch=8, peak_rate=1e-3, warmup_steps=2)
TINY = recipe.Size("tiny", (8, 16), (False, True), 16, 1, SHORT)


def ignore(*_):
    pass


class Killed(Exception):
    """Stands for a process that is killed."""


def quadratic(folder, *, die_at=None, steps=300):
    """Fit one number to noisy readings of 3; returns what was learnt."""
    torch.manual_seed(0)
    network = torch.nn.Linear(1, 1, bias=False)
    average = loop.Average(network, 0.9)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.1)

    def advance(step):
        if step == die_at:
            raise Killed
        noise = np.random.default_rng(loop.step_seed("quadratic", step)).standard_normal()
        loss = (network.weight - 3 - 0.1 * noise).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average.update(step)
        return {"loss": float(loss.detach())}

    budget = recipe.Budget(steps=steps, batch=1, peak_rate=0.1, warmup_steps=5)
    parts = {"network": network, "average": average}
    loop.train("quadratic", folder, budget, parts=parts, optimiser=optimiser, advance=advance, progress=ignore)
    return float(average.weights["weight"])


def test_a_killed_run_goes_on_to_exactly_the_same_weights_and_log(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)
    whole = quadratic(tmp_path / "whole")
    with pytest.raises(Killed):
        quadratic(tmp_path / "cut", die_at=217)
    assert quadratic(tmp_path / "cut") == whole == pytest.approx(3, abs=0.2)

    def rows(name):
        with (tmp_path / name / "quadratic.csv").open() as file:
            return [(row["step"], row["loss"]) for row in csv.DictReader(file)]

    assert rows("cut") == rows("whole")
    assert len(rows("whole")) == 300 // loop.LOG_EVERY_STEPS


def test_a_finished_run_is_only_loaded(tmp_path):
    first = quadratic(tmp_path)
    assert quadratic(tmp_path, die_at=0) == first


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    parameters = [torch.zeros(1, requires_grad=True)]
    with pytest.raises(loop.TrainError, match="the loss is nan at step 0"):
        loop.train(
            "bad",
            tmp_path,
            SHORT,
            parts={},
            optimiser=torch.optim.SGD(parameters, 0.1),
            advance=lambda step: {"loss": float("nan")},
            progress=ignore,
        )


def test_the_rate_warms_up_and_cools_down():
    budget = recipe.Budget(steps=1000, batch=1, peak_rate=1.0, warmup_steps=100)
    rates = [loop.rate_at(step, budget) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.02, abs=1e-3)
    assert budget.scaled(0.5).steps == 500


def test_training_never_sees_a_held_out_caption_and_keeps_the_mixture():
    rng = np.random.default_rng(0)
    scenes = [training_scene(rng) for _ in range(2000)]
    assert not any(held_out(scene) for scene in scenes)
    for category in CATEGORIES:
        share = np.mean([scene.category == category for scene in scenes])
        assert share == pytest.approx(recipe.MIXTURE[category], abs=0.05)


def test_the_longest_caption_leaves_room_for_its_summary():
    rng = np.random.default_rng(2)
    tokens = encode_captions([training_scene(rng) for _ in range(2000)])
    assert (tokens[:, -reading.MAX_ITEMS - 1 :] == word_ids()["<|endoftext|>"]).all()


def test_what_a_caption_says():
    scene = parse("a red circle left of a large blue square, on black")
    red, blue = list(reading.COLOURS).index("red") + 1, list(reading.COLOURS).index("blue") + 1
    circle, square = reading.SHAPES.index("circle") + 1, reading.SHAPES.index("square") + 1
    large, black = reading.SIZES.index("large") + 1, list(reading.BACKGROUNDS).index("black") + 1
    left, right = 1, 2
    assert reading.facts(scene).tolist() == [red, circle, 0, left, 0, blue, square, large, right, 0, *[0] * 5, black]
    assert not reading.facts(None).any()
    trio = reading.facts(parse("a red circle left of a blue square, both above a green cross"))[:-1].reshape(3, 5)
    assert trio[:, 3:].tolist() == [[1, 1], [2, 1], [0, 2]]


def test_a_text_encoder_learns_to_read_captions_that_it_never_saw(tmp_path):
    torch.manual_seed(0)
    text = diffusion.build(recipe.SIZES["m"]).text
    budget = dataclasses.replace(recipe.READING_BUDGET, steps=120)
    seen = []
    reading.fit("text", text, budget, tmp_path, lambda *told: seen.append(told[3]["right"]))
    assert seen[0] < 0.9 < seen[-1]


def test_every_word_is_one_token_and_the_tokenizer_agrees(tmp_path):
    rng = np.random.default_rng(1)
    scenes = [training_scene(rng) for _ in range(100)]
    tokenizer = build_tokenizer(tmp_path)
    theirs = tokenizer([scene.caption() for scene in scenes], padding="max_length", max_length=recipe.MAX_TOKENS)
    ours = encode_captions(scenes)
    assert ours.tolist() == theirs.input_ids
    assert len(set(word_ids().values())) == len(word_ids())
    assert tokenizer("", padding="max_length", max_length=recipe.MAX_TOKENS).input_ids == nothing().tolist()


def test_a_judge_example_labels_spoilt_objects_as_neither():
    _, (_, shape, colour, _, background) = judge.examples(np.random.default_rng(0), 64)
    assert (shape == len(judge.SHAPES)).any()
    assert (colour == len(judge.COLOURS)).any()
    assert set(np.unique(background)) == set(range(len(judge.BACKGROUNDS)))


@pytest.mark.slow
def test_each_network_learns(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "SHARD_PICTURES", 512)
    monkeypatch.setattr(recipe, "POOL_SHARDS", 1)
    first, last = {}, {}

    def progress(stage, done, total, figures):
        if figures:
            first.setdefault(stage, figures["loss"])
            last[stage] = figures["loss"]

    monkeypatch.setattr(loop, "LOG_EVERY_STEPS", 10)
    network = autoencoder.fit(tmp_path, 0.01, progress)
    judge.fit(tmp_path, 0.02, progress)
    diffusion.fit(recipe.SIZES["s"], tmp_path, network, 0.02, progress)
    assert last["autoencoder"] < 0.9 * first["autoencoder"]
    assert last["judge"] < 0.8 * first["judge"]
    assert last["shapes-s"] < 0.9 * first["shapes-s"]


@pytest.mark.slow
def test_an_exported_model_gives_the_same_numbers_as_torch(tmp_path):
    import onnxruntime

    torch.manual_seed(0)
    networks, coder = diffusion.build(TINY), autoencoder.build()
    export.model(TINY, networks, coder, tmp_path)
    assert max(file.stat().st_size for file in tmp_path.rglob("*.onnx")) < 1.5e6
    session = onnxruntime.InferenceSession(str(tmp_path / "unet.onnx"), providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        latents = torch.randn(batch, recipe.LATENT_CHANNELS, recipe.LATENT_SIDE, recipe.LATENT_SIDE)
        text, steps = torch.randn(batch, recipe.MAX_TOKENS, 16), torch.arange(batch) * 300
        with torch.no_grad():
            expected = networks.unet(latents, steps, encoder_hidden_states=text).sample.numpy()
        feed = {"latents": latents.numpy(), "timesteps": steps.numpy(), "text": text.numpy()}
        np.testing.assert_allclose(session.run(None, feed)[0], expected, atol=1e-4)


def test_what_cannot_be_trained_is_refused(tmp_path):
    with pytest.raises(loop.TrainError, match="choose one of all, s, m, l"):
        stages("xl")
    with pytest.raises(loop.TrainError, match="steps scale must be > 0"):
        run(tmp_path, "s", 0, resume=False, progress=ignore)
    (tmp_path / "judge.state.pt").write_bytes(b"")
    with pytest.raises(loop.TrainError, match="--resume"):
        run(tmp_path, "s", 1, resume=False, progress=ignore)
    assert stages("all") == ("autoencoder", "judge", "pool", "s", "m", "l")
