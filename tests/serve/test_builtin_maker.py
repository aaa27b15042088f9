"""Real denoising inside of a worker: the engine behind the worker's own interface."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from edgegen.core.errors import EdgegenError
from edgegen.serve.workers import checks
from edgegen.serve.workers.builtin_maker import BuiltinMaker
from edgegen.serve.workers.desk import Desk
from edgegen.serve.workers.messages import Pace, decode


class PlainBackend:
    """A model small enough to follow by hand: it guesses the same clean picture at every step."""

    latent_shape = (3, 8, 8)

    def encode(self, prompts):
        return np.array([[[float(len(prompt))]] for prompt in prompts], np.float32)

    def denoise(self, latents, timesteps, text):
        del timesteps
        return latents * 0.1 + text[:, :, :, None] * 0.01

    def decode(self, latents):
        scaled = np.clip(latents * 64 + 128, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
        return scaled.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture
def maker(tmp_path):
    return BuiltinMaker({"mine": str(tmp_path)}, open_backend=lambda folder: PlainBackend())


def picture(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def make(maker, *, seed: int, steps: int = 4) -> np.ndarray:
    token = maker.begin(checks.job("one", model="mine", steps=steps, seed=seed))
    for _ in range(steps):
        maker.step(token)
    return picture(maker.picture(token))


def test_the_same_seed_makes_the_same_picture_and_another_one_another(maker):
    maker.load("mine")
    first, again, other = make(maker, seed=1), make(maker, seed=1), make(maker, seed=2)
    assert first.shape == (64, 64, 3)
    assert (first == again).all()
    assert (first != other).any()


def test_a_picture_does_not_depend_on_those_made_between_its_steps(maker):
    maker.load("mine")
    alone = make(maker, seed=1)
    tokens = [maker.begin(checks.job(f"{seed}", model="mine", steps=4, seed=seed)) for seed in (1, 2)]
    for token in (*tokens, *tokens[::-1], *tokens, *tokens):
        maker.step(token)
    assert (picture(maker.picture(tokens[0])) == alone).all()


def test_what_is_there_so_far_can_be_seen_and_dropped(maker):
    maker.load("mine")
    token = maker.begin(checks.job("one", model="mine", steps=4))
    maker.step(token)
    assert picture(maker.picture(token)).shape == (64, 64, 3)
    maker.drop(token)
    with pytest.raises(EdgegenError, match="no request"):
        maker.picture(token)


def test_models_come_and_go(maker):
    maker.load("mine")
    maker.load("mine")
    assert maker.loaded("mine")
    maker.evict("mine")
    maker.evict("mine")
    assert not maker.loaded("mine")


def run_desk(desk: Desk, sent: list[dict], until: str) -> None:
    while not any(message["type"] == until for message in sent):
        time.sleep(desk.advance() or 0)


def test_a_model_that_does_not_exist_fails_the_picture_and_not_the_worker(maker):
    sent: list[dict] = []
    desk = Desk(maker, lambda line: sent.append(decode(line)))
    desk.start(checks.job("one", model="shapes-xxl"))
    run_desk(desk, sent, "failed")
    assert "no built-in model named 'shapes-xxl'" in sent[0]["reason"]
    desk.start(checks.job("two", model="mine", previews=(2,), pace=Pace(step_s=0.001)))
    run_desk(desk, sent, "finished")
    assert [message["step"] for message in sent if message.get("preview_b64")] == [2]


def test_a_cancelled_picture_leaves_the_desk(maker):
    sent: list[dict] = []
    desk = Desk(maker, lambda line: sent.append(decode(line)))
    desk.start(checks.job("one", model="mine", steps=50, pace=Pace(step_s=0.01)))
    desk.start(checks.job("two", model="mine", steps=50, pace=Pace(step_s=0.01)))
    run_desk(desk, sent, "progress")
    desk.cancel("two")
    desk.cancel("one")
    desk.cancel("one")
    assert desk.advance() is None
