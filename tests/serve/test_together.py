"""A worker's pictures without a pace share passes; pictures are given back, continued, and done in order of their slack."""

import asyncio
import base64
import io

import numpy as np
import pytest
from PIL import Image

from edgegen.generate import builtin
from edgegen.generate.schedules import SHIFTED_COSINE
from edgegen.generate.show import make as make_pictures
from edgegen.serve.workers import checks
from edgegen.serve.workers.builtin_maker import BuiltinMaker
from edgegen.serve.workers.client import ProcessWorker
from edgegen.serve.workers.desk import Desk
from edgegen.serve.workers.makers import InstantMaker
from edgegen.serve.workers.messages import (
    LineError,
    Pace,
    decode,
    decode_job,
    decode_release,
    encode,
    encode_job,
    pack,
    unpack,
)
from edgegen.serve.workers.protocol import ReleasedError


class Counting:
    """A small model that counts its passes, breaks when it is told to, and lasts a while on a clock."""

    latent_shape = (3, 8, 8)
    schedule = SHIFTED_COSINE

    def __init__(self, fingerprint, clock):
        self.fingerprint, self.clock, self.batches, self.broken = fingerprint, clock, [], False

    def encode(self, prompts):
        if "unspeakable" in prompts:
            raise ValueError("a word that it does not know")
        return np.array([[[float(len(prompt))]] for prompt in prompts], np.float32)

    def denoise(self, latents, timesteps, text):
        if self.broken:
            raise RuntimeError("out of memory")
        self.clock.now_s += 0.02  # per pass, however many share it
        self.batches.append(len(latents))
        return (latents * 0.1 + text[:, :, :, None] * 0.01 * (1 + timesteps[:, None, None, None] / 999)).astype(
            np.float32
        )

    def decode(self, latents):
        scaled = np.clip(latents * 64 + 128, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
        return scaled.repeat(8, axis=1).repeat(8, axis=2)


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


class Bench:
    """A desk on a clock of its own, and what it sends."""

    def __init__(self, tmp_path, slots=4, weights="one"):
        self.clock, self.sent, self.models = Clock(), [], {}
        folders = {}
        for name in ("mine", "yours"):
            (tmp_path / f"{weights}-{name}").mkdir(exist_ok=True)
            folders[name] = str(tmp_path / f"{weights}-{name}")
        self.maker = BuiltinMaker(folders, open_backend=self._open, slots=slots)
        self.desk = Desk(self.maker, self._hear, slots=slots, clock=self.clock)
        self.on = lambda message: None

    def _open(self, folder):
        self.models[folder.name.split("-")[1]] = model = Counting(folder.name, self.clock)
        return model

    def _hear(self, line):
        self.sent.append(decode(line))
        self.on(self.sent[-1])

    def start(self, name, **fields):
        job = checks.job(name, **{"model": "mine", **fields})
        self.desk.start(decode_job(decode(encode_job(job))))

    def run(self):
        while (idle_s := self.desk.advance()) is not None:
            self.clock.now_s += idle_s

    def of(self, kind, name=None):
        return [m for m in self.sent if m["type"] == kind and name in (None, m["id"])]

    def png(self, name):
        (message,) = self.of("finished", name)
        return message["png_b64"]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def alone(tmp_path, name="x", **fields):
    single = Bench(tmp_path, slots=1)
    single.start(name, **fields)
    single.run()
    return single.png(name)


PACES = [Pace(), Pace(step_s=0.05, fixed_s=0.02)]


def test_pictures_without_a_pace_share_the_passes_of_one_engine(bench, tmp_path):
    for at, steps in enumerate((4, 8, 2, 8)):
        bench.start(f"{at}", steps=steps, seed=at)
    bench.run()
    assert bench.models["mine"].batches == [4, 4, 3, 3, 2, 2, 2, 2]
    for at, steps in enumerate((4, 8, 2, 8)):
        assert bench.png(f"{at}") == alone(tmp_path, steps=steps, seed=at)
        told = bench.of("progress", f"{at}")
        assert [(m["step"], m["steps"]) for m in told] == [(step, steps) for step in range(1, steps + 1)]
    first = bench.of("finished", "0")[0]
    assert first["generate_s"] == pytest.approx(4 * 0.02)
    assert first["queue_s"] == pytest.approx(0.0)


def test_more_than_share_a_pass_wait_for_their_turn_and_that_is_their_queue(bench):
    for at in range(6):
        bench.start(f"{at}", steps=5, seed=at)
    bench.run()
    assert max(bench.models["mine"].batches) == 4
    assert bench.of("finished", "5")[0]["queue_s"] == pytest.approx(0.1)
    assert bench.of("finished", "5")[0]["generate_s"] == pytest.approx(0.1)


def test_models_do_not_share_passes_and_both_go_on(bench):
    for at in range(4):
        bench.start(f"{at}", steps=3, model=("mine", "yours")[at % 2])
    bench.run()
    assert bench.models["mine"].batches == bench.models["yours"].batches == [2, 2, 2]


def test_paced_pictures_keep_their_pace_beside_those_without(tmp_path):
    bench = Bench(tmp_path, slots=2)
    bench.start("paced", steps=4, pace=Pace(step_s=0.5))
    bench.start("fast", steps=4)
    bench.run()
    assert bench.of("finished", "paced")[0]["generate_s"] == pytest.approx(2.0, abs=0.03)
    assert bench.of("finished", "fast")[0]["generate_s"] < 0.2
    assert bench.png("paced") == bench.png("fast")


def test_what_fails_takes_only_its_own_pass_with_it(bench):
    bench.start("good", steps=3, model="yours")
    bench.start("unread", prompt="unspeakable")
    bench.start("bad", steps=3)
    bench.desk.advance()
    bench.models["mine"].broken = True
    bench.run()
    assert {m["id"]: m["reason"] for m in bench.of("failed")} == {
        "unread": "ValueError: a word that it does not know",
        "bad": "RuntimeError: out of memory",
    }
    assert bench.of("finished", "good")
    bench.models["mine"].broken = False
    bench.start("later", steps=2)
    bench.run()
    assert bench.of("finished", "later")


@pytest.mark.parametrize("pace", PACES, ids=["shared", "paced"])
def test_those_with_the_least_time_to_spare_go_first(tmp_path, pace):
    bench = Bench(tmp_path, slots=1)
    for name, due_s, steps in (
        ("first", 0.1, 1),
        ("none", None, 2),
        ("late", 9.0, 2),
        ("soon", 4.0, 2),
        ("long", 6.0, 60),
    ):
        bench.start(name, due_s=due_s, steps=steps, pace=pace)
        bench.desk.advance()
    bench.run()
    order = [m["id"] for m in bench.of("finished")]
    expected = ["first", "long", "soon", "late", "none"] if pace.step_s else ["first", "soon", "long", "late", "none"]
    assert order == expected


def test_without_deadlines_they_go_in_the_order_in_which_they_came(tmp_path):
    for pace in PACES:
        bench = Bench(tmp_path, slots=1)
        for at in range(5):
            bench.start(f"{at}", steps=3, pace=pace)
        bench.run()
        assert [m["id"] for m in bench.of("finished")] == [f"{at}" for at in range(5)]


@pytest.mark.parametrize("pace", PACES, ids=["shared", "paced"])
@pytest.mark.parametrize("after", [1, 3, 6])
def test_a_picture_that_was_given_back_is_finished_elsewhere_as_the_same_picture(bench, tmp_path, pace, after):
    bench.on = lambda m: (
        bench.desk.release("x") if (m["type"], m.get("step"), m["id"]) == ("progress", after, "x") else None
    )
    bench.start("x", steps=9, seed=3, pace=pace)
    bench.start("other", steps=9, seed=4, pace=pace)
    bench.run()
    (given,) = bench.of("released")
    assert bench.of("finished", "other")
    assert not bench.of("finished", "x")
    assert given["step"] in (after, after + 1)
    there = Bench(tmp_path)
    there.start("moved", steps=9, seed=3, pace=pace, checkpoint_b64=given["checkpoint_b64"])
    there.run()
    told = there.of("progress", "moved")
    assert [(m["step"], m["steps"]) for m in told] == [(step, 9) for step in range(given["step"] + 1, 10)]
    assert there.png("moved") == alone(tmp_path, steps=9, seed=3)
    assert len(there.models["mine"].batches) == 9 - given["step"]


@pytest.mark.parametrize("pace", PACES, ids=["shared", "paced"])
def test_checkpoints_come_with_progress_and_each_of_them_leads_to_the_same_picture(bench, tmp_path, pace):
    bench.start("x", steps=8, seed=3, pace=pace, keep_every=3)
    bench.run()
    kept = {m["step"]: m["checkpoint_b64"] for m in bench.of("progress") if m["checkpoint_b64"]}
    assert sorted(kept) == [3, 6]
    for step, checkpoint in kept.items():
        there = Bench(tmp_path)
        there.start("x", steps=8, seed=3, pace=pace, checkpoint_b64=checkpoint)
        there.run()
        assert there.of("progress")[0]["step"] == step + 1
        assert there.png("x") == bench.png("x")


@pytest.mark.parametrize("pace", PACES, ids=["shared", "paced"])
def test_a_continued_picture_may_have_another_number_of_steps(bench, tmp_path, pace):
    bench.start("x", steps=8, seed=3, pace=pace, keep_every=4)
    bench.run()
    checkpoint = bench.of("progress")[3]["checkpoint_b64"]
    expected = {6: 6, 12: 12, 4: 8, 2: 8}  # what is done cannot be undone
    for wanted, made in expected.items():
        there = Bench(tmp_path)
        there.start("x", steps=wanted, seed=3, pace=pace, checkpoint_b64=checkpoint)
        there.run()
        last = there.of("progress")[-1]
        assert (last["step"], last["steps"]) == (made, made)


@pytest.mark.parametrize("pace", PACES, ids=["shared", "paced"])
def test_what_cannot_be_continued_is_made_anew(bench, tmp_path, pace):
    bench.start("x", steps=6, seed=3, pace=pace, keep_every=3)
    bench.run()
    checkpoint = bench.of("progress")[2]["checkpoint_b64"]
    damaged = pack(unpack(checkpoint)[:-1] + b"!")
    for fields in ({"checkpoint_b64": damaged}, {"checkpoint_b64": "?"}, {"checkpoint_b64": checkpoint, "seed": 4},
                   {"checkpoint_b64": checkpoint, "weights": "other"}):  # fmt: skip
        there = Bench(tmp_path, weights=fields.pop("weights", "one"))
        there.start("x", **{"steps": 6, "seed": 3, "pace": pace, **fields})
        there.run()
        assert there.of("progress")[0]["step"] == 1
        assert there.png("x") == alone(tmp_path, steps=6, seed=fields.get("seed", 3))


def test_what_waits_is_given_back_as_it_came(tmp_path):
    bench = Bench(tmp_path)
    bench.start("x", steps=6, seed=3, keep_every=3)
    bench.run()
    checkpoint = bench.of("progress")[2]["checkpoint_b64"]
    for pace in PACES:
        bench = Bench(tmp_path, slots=1)
        bench.start("runs", steps=50, pace=pace)
        bench.start("fresh", steps=6, pace=pace)
        bench.start("moved", steps=6, seed=3, pace=pace, checkpoint_b64=checkpoint)
        if pace.step_s:
            bench.desk.advance()
        bench.desk.release("fresh")
        bench.desk.release("moved")
        bench.desk.release("nobody")
        assert [(m["id"], m["step"], m["checkpoint_b64"]) for m in bench.of("released")] == [
            ("fresh", 0, None),
            ("moved", 3, checkpoint),
        ]
        bench.run()
        assert [m["id"] for m in bench.of("finished")] == ["runs"]


def test_a_paced_picture_in_its_last_step_is_finished(tmp_path):
    bench = Bench(tmp_path)
    bench.start("x", steps=6, pace=Pace(step_s=1.0))
    while not bench.models or len(bench.models["mine"].batches) < 6:
        bench.clock.now_s += bench.desk.advance() or 0.0
    bench.desk.release("x")
    bench.run()
    assert bench.of("finished", "x")
    assert not bench.of("released")


def test_a_change_between_two_passes_concerns_the_next_one(bench):
    def hear(message):
        if message["type"] == "progress" and message["step"] == 3 and message["id"] == "fewer":
            bench.desk.retarget("fewer", 5)
            bench.desk.retarget("more", 12)
            bench.desk.retarget("late", 2)
            bench.desk.cancel("gone")

    bench.on = hear
    for name in ("fewer", "more", "late", "gone"):
        bench.start(name, steps=8)
    bench.desk.retarget("late", 7)  # before it has begun
    bench.run()
    last = {m["id"]: (m["step"], m["steps"]) for m in bench.of("progress")}
    assert last["fewer"] == (5, 5)
    assert last["more"] == (12, 12)
    assert last["late"] == (7, 7)
    assert {m["id"] for m in bench.of("finished")} == {"fewer", "more", "late"}


def test_an_evicted_model_finishes_what_it_has_begun(bench):
    bench.start("x", steps=6)
    bench.desk.advance()
    bench.desk.evict("mine")
    bench.run()
    assert bench.of("finished", "x")
    assert not bench.maker.loaded("mine")


def test_a_release_that_is_no_message_is_named():
    assert decode_release(decode(encode("release", id="x"))) == "x"
    with pytest.raises(LineError, match="expected a release with an id"):
        decode_release(decode(encode("release", id=3)))


def test_the_maker_without_models_counts_on(tmp_path):
    maker = InstantMaker()
    token = maker.begin(checks.job("x", steps=4))
    maker.step(token)
    checkpoint = pack(maker.checkpoint(token))
    assert maker.done(checks.job("x", checkpoint_b64=checkpoint)) == 1
    assert maker.done(checks.job("x", model="other", checkpoint_b64=checkpoint)) == 0
    for wrong in ("W10=", pack(b'{"instant": "shapes-s", "done": -1}'), pack(b'{"instant": "shapes-s", "done": true}')):
        assert maker.done(checks.job("x", checkpoint_b64=wrong)) == 0


async def test_worker_processes_share_passes_and_continue_each_other():
    """Real models in real processes: six pictures in passes of four; one of them goes on in a second process."""
    colours = ("red", "green", "blue", "yellow", "purple", "orange")
    prompts, steps = [f"a {colour} circle" for colour in colours], [40, 5, 9, 3, 6, 12]

    def job(at, **fields):
        return checks.job(f"{at}", prompt=prompts[at], steps=steps[at], seed=at, **fields)

    async with (
        checks.opened(lambda: ProcessWorker("here", slots=4)) as here,
        checks.opened(lambda: ProcessWorker("there", slots=4)) as there,
    ):

        def notice(progress):
            if progress.step >= 4:
                here.release("0")

        await asyncio.gather(here.load("shapes-s", pad_s=0), there.load("shapes-s", pad_s=0))
        reports = await asyncio.gather(
            *(here.run(job(at), notice if at == 0 else lambda progress: None) for at in range(6)),
            return_exceptions=True,
        )
        given = reports[0]
        assert isinstance(given, ReleasedError)
        assert given.step >= 4
        seen = []
        reports[0] = await there.run(job(0, checkpoint_b64=given.checkpoint_b64), seen.append)
        assert (seen[-1].step, seen[-1].steps) == (40, 40)
        assert seen[0].step > given.step
    for at, report in enumerate(reports):
        png = np.asarray(Image.open(io.BytesIO(base64.b64decode(report.png_b64)))).astype(int)
        (expected,) = make_pictures(builtin.folder("shapes-s"), [prompts[at]], steps=steps[at], seeds=[at])
        assert np.abs(png - expected).max() <= 1
        assert report.compute_s > 0
