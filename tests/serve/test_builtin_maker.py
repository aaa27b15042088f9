"""Real denoising inside of a worker: the engine behind the worker's own interface."""

import base64
import io
import time

import numpy as np
import pytest
from PIL import Image

from edgegen.core.errors import EdgegenError
from edgegen.generate.engine import Engine, EngineRequest
from edgegen.generate.schedules import SHIFTED_COSINE
from edgegen.serve.workers import checks
from edgegen.serve.workers.builtin_maker import BuiltinMaker
from edgegen.serve.workers.desk import Desk
from edgegen.serve.workers.messages import Pace, decode


class PlainBackend:
    """A model small enough to follow by hand: it guesses the same clean picture at every step."""

    latent_shape = (3, 8, 8)
    schedule = SHIFTED_COSINE
    fingerprint = "plain"

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


@pytest.mark.parametrize("wanted", [3, 4, 9])
def test_a_change_of_steps_is_the_engine_s(maker, wanted):
    maker.load("mine")
    token = maker.begin(checks.job("one", model="mine", steps=6, seed=1))
    for _ in range(2):
        maker.step(token)
    assert maker.retarget(token, wanted)
    for _ in range(wanted - 2):
        maker.step(token)
    assert (picture(maker.picture(token)) == by_engine(6, {2: wanted})).all()


def by_engine(steps: int, changes: dict[int, int]) -> np.ndarray:
    engine = Engine(PlainBackend(), max_batch=1)
    engine.submit(EngineRequest("x", "a red circle", steps, 1))
    while True:
        (event,) = engine.step()
        if event.finished:
            return event.picture
        if event.step in changes:
            engine.retarget("x", changes[event.step])


def test_a_change_that_the_model_cannot_make_is_refused_and_does_no_harm(maker):
    maker.load("mine")
    token = maker.begin(checks.job("one", model="mine", steps=3, seed=1))
    assert not maker.retarget(token, 101)
    maker.step(token)
    assert not maker.retarget(token, 1)
    maker.step(token)
    maker.step(token)
    assert not maker.retarget(token, 8)
    assert (picture(maker.picture(token)) == by_engine(3, {})).all()


@pytest.mark.parametrize(("wanted", "made"), [(4, 4), (16, 16), (3, 8), (150, 8)])
def test_a_desk_changes_a_picture_on_its_way(maker, wanted, made):
    """Three steps are begun when the order comes; the model takes up to 100."""
    sent: list[dict] = []
    now = [0.0]
    desk = Desk(maker, lambda line: sent.append(decode(line)), clock=lambda: now[0])
    desk.start(checks.job("one", model="mine", steps=8, seed=1, pace=Pace(step_s=1.0)))
    while (idle_s := desk.advance()) is not None:
        if sent and sent[-1].get("step") == 2:
            desk.retarget("one", wanted)
        now[0] += idle_s
    assert sent[-1]["generate_s"] == made
    told = [(message["step"], message["steps"]) for message in sent if message["type"] == "progress"]
    assert told[:2] == [(1, 8), (2, 8)]
    assert told[2:] == [(step, made) for step in range(3, made + 1)]
    png = base64.b64decode(sent[-1]["png_b64"])
    assert (picture(png) == by_engine(8, {3: wanted} if made == wanted else {})).all()


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
