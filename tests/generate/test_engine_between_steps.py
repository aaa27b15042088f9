"""Between two steps: who goes on, who gives way, what it cost, and how a picture goes on elsewhere. Over all samplers."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegen.core.errors import InputError
from edgegen.generate import builtin
from edgegen.generate.backends.onnx import OnnxBackend
from edgegen.generate.checkpoint import MAGIC, MAX_CHECKPOINT_BYTES, Checkpoint, CheckpointError
from edgegen.generate.engine import Engine, EngineRequest
from edgegen.generate.fingerprints import of_files
from edgegen.generate.schedules import SHIFTED_COSINE, Flow, scaled_linear
from edgegen.generate.spending import Spent, declared

SCHEDULES = [SHIFTED_COSINE, scaled_linear("epsilon"), scaled_linear("v_prediction"), Flow(3.0)]
WAYS = [(schedule, sampler) for schedule in SCHEDULES for sampler in schedule.samplers]
ids = [f"{sampler} on {schedule.name}" for schedule, sampler in WAYS]


class Painter:
    """A backend with a known answer in any schedule: every prompt is a level, and the picture ends near it."""

    latent_shape = (2, 3, 3)

    def __init__(self, schedule=SHIFTED_COSINE, fingerprint="painter", clock=None):
        self.schedule, self.fingerprint, self.clock = schedule, fingerprint, clock
        self.batches = []

    def encode(self, prompts):
        self._last(0.001 * len(prompts))
        return np.array([[[len(prompt) / 10]] for prompt in prompts], np.float32)

    def denoise(self, latents, timesteps, text):
        assert len(latents) == len(timesteps) == len(text)
        self.batches.append(len(latents))
        self._last(0.01 * len(latents))
        clean = 0.9 * text[..., None] + 0.05 * np.tanh(latents)
        weights = [self._weights(timestep) for timestep in timesteps]
        of_latent, of_answer = np.array(weights).T.reshape(2, -1, 1, 1, 1)
        return ((clean - of_latent * latents) / of_answer).astype(np.float32)

    def _weights(self, timestep):
        scales = (1 - timestep / 1000, timestep / 1000)
        if self.schedule.samplers != ("euler",):
            scales = self.schedule.scales(timestep + 1)
        return self.schedule.prediction.clean(*scales)

    def decode(self, latents):
        self._last(0.002 * len(latents))
        planes = np.clip(100 * latents.transpose(0, 2, 3, 1), 0, 255).astype(np.uint8)
        return np.concatenate([planes, planes[..., :1]], -1)

    def _last(self, seconds):
        if self.clock is not None:
            self.clock.now_s += seconds


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def finish(engine):
    pictures, events = {}, []
    while len(engine):
        for event in engine.step():
            events.append(event)
            pictures |= {event.id: event.picture} if event.finished else {}
    return pictures, events


def alone(request, schedule, changes=()):
    """The picture and its latents' story: `changes` are (steps done, steps in all then)."""
    engine = Engine(Painter(schedule), 1)
    engine.submit(request)
    return through(engine, request.id, dict(changes))


def through(engine, name, changes):
    while True:
        done, _ = engine.progress(name)
        if done in changes:
            engine.retarget(name, changes[done])
        for event in engine.step():
            if event.id == name and event.finished:
                return event.picture


ways = st.sampled_from(WAYS)
wishes = st.tuples(
    st.sampled_from(["red", "a longer one", "the longest of all"]), st.integers(1, 9), st.integers(0, 99),
    st.sampled_from([1.0, 2.5]), st.sampled_from([None, 0.0, 0.1, 0.4]),
)  # fmt: skip


@given(st.sampled_from(SCHEDULES), st.lists(wishes, min_size=1, max_size=6), st.integers(1, 4), st.randoms())
def test_a_picture_is_the_same_whoever_is_with_it_and_whoever_displaced_it(schedule, drawn, places, chance):
    clock = Clock()
    engine, pictures = Engine(Painter(schedule, clock=clock), places, clock=clock), {}
    requests = []
    for number, (prompt, steps, seed, guidance, due_s) in enumerate(drawn):
        request = EngineRequest(f"{number}", prompt, steps, seed, chance.choice(schedule.samplers), guidance)
        requests.append(request)
        engine.submit(request, due_s=None if due_s is None else clock.now_s + due_s)
        pictures |= {event.id: event.picture for event in engine.step() if event.finished}
    pictures |= finish(engine)[0]
    for request in requests:
        assert (pictures[request.id] == alone(request, schedule)).all()


# ------------------------------------------------------------------------------------------------------ checkpoints


@pytest.mark.parametrize(("schedule", "sampler"), WAYS, ids=ids)
@pytest.mark.parametrize("changes", [{}, {2: 5}, {2: 7, 4: 12}], ids=str)
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_picture_continued_elsewhere_after_any_step_is_the_same_bit_for_bit(schedule, sampler, changes, guidance):
    request = EngineRequest("x", "the longest of all", 9, 5, sampler, guidance)
    expected = alone(request, schedule, changes)
    here = Engine(Painter(schedule), 2)
    here.submit(request)
    here.submit(EngineRequest("other", "red", 30, 1, sampler))
    while "x" in here._rows:
        done, _ = here.progress("x")
        if done in changes:
            here.retarget("x", changes[done])
        kept = Checkpoint.from_bytes(here.checkpoint("x").to_bytes())
        there = Engine(Painter(schedule), 3)
        there.submit(EngineRequest("company", "red", 20, 2, sampler))
        there.resume(kept, name="moved")
        assert there.progress("moved") == here.progress("x") == (kept.done, kept.steps)
        assert (there.preview("moved") == here.preview("x")).all()
        later = {at: steps for at, steps in changes.items() if at > done}
        assert (through(there, "moved", later) == expected).all()
        here.step()


def test_real_models_continue_each_other_and_do_not_depend_on_company():
    folder = builtin.folder("shapes-s")
    sampling = builtin.sampling(folder)
    here, there = Engine(OnnxBackend(folder), 4), Engine(OnnxBackend(folder), 4)
    requests = [EngineRequest(f"{steps}", f"a {colour} circle", steps, steps, *sampling)
                for steps, colour in ((4, "red"), (6, "blue"), (9, "green"))]  # fmt: skip
    for request in requests:
        here.submit(request)
    pictures = {}
    for _ in range(3):
        pictures |= {event.id: event.picture for event in here.step() if event.finished}
    data = here.checkpoint("9").to_bytes()
    assert len(data) < 10_000
    there.resume(Checkpoint.from_bytes(data))
    pictures |= finish(here)[0]
    continued = finish(there)[0]["9"]
    for request in requests:
        engine = Engine(OnnxBackend(folder), 1)
        engine.submit(request)
        by_itself = finish(engine)[0][request.id].astype(int)
        assert np.abs(by_itself - pictures[request.id]).max() <= 1, "the stated tolerance: one level of 255"
        if request.id == "9":
            assert np.abs(by_itself - continued).max() <= 1
    with pytest.raises(CheckpointError, match="cannot be continued with"):
        Engine(OnnxBackend(builtin.folder("shapes-m"))).resume(Checkpoint.from_bytes(data))


@pytest.fixture
def kept():
    engine = Engine(Painter(), 1)
    engine.submit(EngineRequest("x", "red", 8, 5, "dpmpp"))
    for _ in range(3):
        engine.step()
    engine.retarget("x", 6)
    engine.step()
    return engine.checkpoint("x")


def test_a_checkpoint_that_was_touched_anywhere_is_refused(kept):
    data = kept.to_bytes()
    for at in range(len(data)):
        with pytest.raises(CheckpointError):
            Checkpoint.from_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    for length in (0, 3, len(MAGIC) + 2, len(data) - 1):
        with pytest.raises(CheckpointError):
            Checkpoint.from_bytes(data[:length])
    with pytest.raises(CheckpointError, match="at most"):
        Checkpoint.from_bytes(MAGIC + bytes(MAX_CHECKPOINT_BYTES + 100))


@given(st.binary(max_size=300))
def test_what_is_no_checkpoint_is_refused_and_nothing_else_happens(data):
    for start in (b"", MAGIC):
        with pytest.raises(CheckpointError):
            Checkpoint.from_bytes(start + data)


def repacked(checkpoint, change):
    """A checkpoint with a valid sum and another header."""
    from edgegen.generate.checkpoint import _sum

    data = checkpoint.to_bytes()[:-16]
    begin = len(MAGIC) + 4
    length = int.from_bytes(data[len(MAGIC) : begin], "little")
    header = json.loads(data[begin : begin + length])
    change(header)
    packed = json.dumps(header).encode()
    body = MAGIC + len(packed).to_bytes(4, "little") + packed + data[begin + length :]
    return body + _sum(body)


WRONG = {
    "state": [("steps", 0), ("steps", 101), ("steps", True), ("done", -1), ("done", 6), ("done", "3"), ("sampler", "euler"),
              ("leg", [3, 600]), ("leg", [5, 600, 700]), ("leg", [3, 600, 500]), ("leg", [3, 0, 700]),
              ("leg", [3, 1e9, None]), ("leg", [3, float("nan"), 700]), ("leg", [0, 600, 700]), ("leg", "abc")],
    "request": [("prompt", 3), ("guidance", "2"), ("guidance", 0.5), ("guidance", float("inf")), ("seed", 1.5), ("more", 1)],
}  # fmt: skip


@pytest.mark.parametrize(("part", "field", "value"), [(part, *wrong) for part in WRONG for wrong in WRONG[part]])
def test_a_header_that_no_engine_writes_is_refused(kept, part, field, value):
    data = repacked(kept, lambda header: header[part].update({field: value}))
    engine = Engine(Painter())
    with pytest.raises(InputError):
        engine.resume(Checkpoint.from_bytes(data))
    assert len(engine) == 0


@pytest.mark.parametrize(
    "change", [{"shape": [2, 3, 4]}, {"shape": [10**6] * 3}, {"arrays": 1}, {"arrays": 9}, {"model": 3}]
)
def test_arrays_that_do_not_fit_are_refused(kept, change):
    with pytest.raises(CheckpointError):
        Checkpoint.from_bytes(repacked(kept, lambda header: header.update(change)))
    for missing in ("shape", "state", "request", "model", "arrays"):
        with pytest.raises(CheckpointError):
            Checkpoint.from_bytes(repacked(kept, lambda header, missing=missing: header.pop(missing)))


def test_only_the_same_model_goes_on(kept):
    with pytest.raises(CheckpointError, match="'painter' cannot be continued with 'another'"):
        Engine(Painter(fingerprint="another")).resume(kept)
    with pytest.raises(CheckpointError, match="shape"):
        Engine(Painter()).resume(dataclasses.replace(kept, latent=np.zeros((2, 3, 4), np.float32)))
    with pytest.raises(CheckpointError, match="clean guess"):
        Engine(Painter()).resume(dataclasses.replace(kept, clean=None))
    engine = Engine(Painter())
    engine.resume(kept)
    with pytest.raises(InputError, match="already running"):
        engine.resume(kept)


def test_a_fingerprint_changes_with_any_file_and_reads_large_files_in_samples(tmp_path, monkeypatch):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"x" * 100)
    second.write_bytes(b"y" * 100)
    known = of_files([first, second], "kind")
    assert known == of_files([first, second], "kind") != of_files([second, first], "kind") != known
    assert of_files([first, second], "other kind") != known
    second.write_bytes(b"y" * 99 + b"z")
    assert of_files([first, second], "kind") != known
    monkeypatch.setattr("edgegen.generate.fingerprints.WHOLE_BYTES", 1000)
    monkeypatch.setattr("edgegen.generate.fingerprints.SAMPLE_BYTES", 10)
    values = np.random.default_rng(0).integers(0, 255, 100_000, np.uint8)
    first.write_bytes(values.tobytes())
    large = of_files([first], "kind")
    first.write_bytes((values + 1).tobytes())
    assert of_files([first], "kind") != large


# ------------------------------------------------------------------------------------------------------------ order


def order_of_ends(due, *, places=1, steps=4):
    """Submit requests that are due at these times, all at once; return who ended when, and the passes of each."""
    clock = Clock()
    engine = Engine(Painter(clock=clock), places, clock=clock)
    for number, at in enumerate(due):
        engine.submit(EngineRequest(f"{number}", "red", steps), due_s=None if at is None else 100 + at)
    passes = []
    ends = {}
    while len(engine):
        events = engine.step()
        passes.append({event.id for event in events})
        ends |= {event.id: clock.now_s - 100 for event in events if event.finished}
    return ends, passes


def test_without_deadlines_it_is_the_order_of_arrival():
    ends, passes = order_of_ends([None] * 4)
    assert list(ends) == ["0", "1", "2", "3"]
    assert passes == [{f"{number}"} for number in range(4) for _ in range(4)]


def test_the_least_slack_goes_first_and_what_has_no_deadline_last():
    ends, _ = order_of_ends([None, 0.9, 0.3, 0.6])
    assert list(ends) == ["2", "3", "1", "0"]


def test_slack_counts_the_steps_that_are_left_and_not_only_the_deadline():
    clock = Clock()
    engine = Engine(Painter(clock=clock), 1, clock=clock)
    engine.submit(EngineRequest("warm", "red", 1))
    engine.step()
    assert engine.pass_s == pytest.approx(0.01)
    engine.submit(EngineRequest("short", "red", 2), due_s=clock.now_s + 0.5)  # 0.48 to spare
    engine.submit(EngineRequest("long", "red", 40), due_s=clock.now_s + 0.6)  # 0.2 to spare
    assert [event.id for _ in range(10) for event in engine.step()] == ["long"] * 10


def test_what_is_urgent_displaces_what_runs_between_two_steps():
    clock = Clock()
    engine = Engine(Painter(clock=clock), 1, clock=clock)
    engine.submit(EngineRequest("idle", "red", 20))
    for _ in range(5):
        engine.step()
    engine.submit(EngineRequest("urgent", "red", 5), due_s=clock.now_s + 0.06)
    assert [event.id for _ in range(5) for event in engine.step()] == ["urgent"] * 5
    assert engine.progress("idle") == (5, 20)
    assert {event.id for event in engine.step()} == {"idle"}


@pytest.mark.parametrize("places", [1, 2, 3])
def test_equally_urgent_requests_do_not_take_turns_at_every_pass(places):
    """By slack alone two would change places at every pass; a margin of four passes allows a quarter of that."""
    _, passes = order_of_ends([0.5] * 6, places=places, steps=16)
    changes = sum(len(one - other) for one, other in zip(passes[1:], passes[:-1], strict=True))
    assert changes <= 16 * 6 / 4 / places + 6


def test_one_by_one_they_are_in_time_where_taking_turns_would_make_all_of_them_late():
    """Four of 8 steps on one place, due as a queue would finish them."""
    ends, _ = order_of_ends([0.11, 0.19, 0.27, 0.35], steps=8)
    assert all(ends[f"{number}"] <= 0.11 + 0.08 * number + 1e-9 for number in range(4))


# ------------------------------------------------------------------------------------------------------- attribution


def test_time_and_energy_of_all_requests_add_up_to_the_engine_s():
    clock = Clock()
    engine = Engine(Painter(clock=clock), 2, clock=clock, meter=declared(7.0, clock))
    for number, (steps, guidance) in enumerate([(4, 1.0), (6, 2.0), (9, 1.0), (3, 3.0)]):
        engine.submit(EngineRequest(f"{number}", "red", steps, guidance=guidance))
        clock.now_s += 0.5  # nobody's
    engine.step()
    engine.preview("1")
    engine.cancel("2")
    clock.now_s += 1.0
    _, events = finish(engine)
    account = engine.account
    ended = [event.spent for event in events if event.finished]
    for part in (0, 1):
        assert sum(spent[part] for spent in ended) + account.given_up[part] == pytest.approx(account.busy[part])
    assert account.idle.seconds == pytest.approx(3.0)
    assert account.busy.seconds + account.idle.seconds + 0.001 == pytest.approx(clock.now_s - 100)  # the empty prompt
    assert account.busy.joules == pytest.approx(7 * account.busy.seconds)
    assert account.given_up.seconds > 0


def test_a_guided_request_pays_for_two_rows():
    clock = Clock()
    engine = Engine(Painter(clock=clock), 4, clock=clock)
    engine.submit(EngineRequest("plain", "red", 5))
    engine.submit(EngineRequest("guided", "red", 5, guidance=2.0))
    _, events = finish(engine)
    spent = {event.id: event.spent.seconds - 0.003 for event in events if event.finished}  # prompt and picture
    assert spent["guided"] == pytest.approx(2 * spent["plain"])


def test_a_request_that_waits_pays_nothing_for_it():
    clock = Clock()
    engine = Engine(Painter(clock=clock), 1, clock=clock)
    engine.submit(EngineRequest("first", "red", 5))
    engine.submit(EngineRequest("second", "red", 5))
    _, events = finish(engine)
    first, second = (event.spent for event in events if event.finished)
    for spent in (first, second):
        assert spent == pytest.approx(Spent(0.001 + 5 * 0.01 + 0.002, 0.0))


def test_real_time_adds_up_too():
    engine = Engine(OnnxBackend(builtin.folder("shapes-s")), 3)
    for steps in (2, 3, 5):
        engine.submit(EngineRequest(f"{steps}", "a red circle", steps))
    _, events = finish(engine)
    assert sum(event.spent.seconds for event in events if event.finished) == pytest.approx(engine.account.busy.seconds)
