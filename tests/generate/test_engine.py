"""The engine: requests come and go between steps, and a picture does not depend on its company."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegen.core.errors import InputError
from edgegen.generate.engine import Engine, EngineError, EngineRequest
from edgegen.generate.schedules import ALPHAS, SHIFTED_COSINE


class Painter:
    """A backend with a known answer: every prompt is a level, and the picture ends at that level."""

    latent_shape = (2, 3, 3)
    schedule = SHIFTED_COSINE
    fingerprint = "painter"

    def __init__(self):
        self.batches = []

    def encode(self, prompts):
        return np.array([[[len(prompt) / 10]] for prompt in prompts], np.float32)

    def denoise(self, latents, timesteps, text):
        assert len(latents) == len(timesteps) == len(text)
        self.batches.append(len(latents))
        alpha = ALPHAS[timesteps][:, None, None, None]
        clean = 0.9 * text[..., None] + 0.05 * np.tanh(latents)
        return ((np.sqrt(alpha) * latents - clean) / np.sqrt(1 - alpha)).astype(np.float32)

    def decode(self, latents):
        return (
            np.clip(100 * latents.mean(1, keepdims=True).transpose(0, 2, 3, 1), 0, 255).astype(np.uint8).repeat(3, -1)
        )


def finish(engine):
    pictures, events = {}, []
    while len(engine):
        for event in engine.step():
            events.append(event)
            assert event.finished == (event.picture is not None) == (event.step == event.steps)
            if event.picture is not None:
                pictures[event.id] = event.picture
    return pictures, events


def alone(request):
    engine = Engine(Painter())
    engine.submit(request)
    return finish(engine)[0][request.id]


prompts = st.sampled_from(["red", "a longer one", "the longest of all"])
wishes = st.tuples(
    prompts, st.integers(1, 9), st.integers(0, 99), st.sampled_from(["ddim", "dpmpp"]), st.sampled_from([1.0, 2.0])
)


@given(st.lists(wishes, min_size=1, max_size=6), st.integers(1, 4), st.integers(0, 5))
def test_a_picture_is_the_same_in_any_company(drawn, max_batch, pause):
    """Requests join one by one, `pause` passes apart."""
    wanted = [EngineRequest(f"{number}", *wish) for number, wish in enumerate(drawn)]
    engine, waiting, pictures, passes = Engine(Painter(), max_batch), list(wanted), {}, 0
    while waiting or len(engine):
        if waiting and passes >= pause * (len(wanted) - len(waiting)):
            engine.submit(waiting.pop())
        passes += 1
        pictures |= {event.id: event.picture for event in engine.step() if event.picture is not None}
    for request in wanted:
        assert (pictures[request.id] == alone(request)).all()


def test_every_request_takes_its_own_number_of_steps_in_shared_passes():
    backend = Painter()
    engine = Engine(backend, max_batch=8)
    for steps in (2, 4, 6):
        engine.submit(EngineRequest(f"{steps}", "red", steps))
    _, events = finish(engine)
    for steps in (2, 4, 6):
        assert [e.step for e in events if e.id == f"{steps}"] == list(range(1, steps + 1))
    assert backend.batches == [3, 3, 2, 2, 1, 1]


def test_no_pass_is_larger_than_the_batch_and_waiting_requests_keep_their_order():
    backend = Painter()
    engine = Engine(backend, max_batch=2)
    for number in range(5):
        engine.submit(EngineRequest(f"{number}", "red", 2))
    _, events = finish(engine)
    assert max(backend.batches) == 2
    assert [event.id for event in events if event.finished] == ["0", "1", "2", "3", "4"]


def test_guidance_moves_away_from_the_empty_prompt_and_doubles_the_pass():
    backend = Painter()
    engine = Engine(backend)
    engine.submit(EngineRequest("plain", "red", 1))
    engine.submit(EngineRequest("guided", "red", 1, guidance=3.0))
    pictures, _ = finish(engine)
    assert backend.batches == [3]
    assert pictures["guided"].mean() > 2 * pictures["plain"].mean()


def test_a_cancelled_request_stops_and_the_others_go_on():
    engine = Engine(Painter())
    keep, drop = EngineRequest("keep", "red", 5, seed=1), EngineRequest("drop", "red", 5, seed=2)
    engine.submit(keep)
    engine.submit(drop)
    engine.step()
    assert engine.cancel("drop")
    assert not engine.cancel("drop")
    pictures, events = finish(engine)
    assert {event.id for event in events} == {"keep"}
    assert (pictures["keep"] == alone(keep)).all()


changes = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12), st.integers(1, 20)), max_size=4)


def with_changes(requests, changes, max_batch):
    """Run requests together; a change is (which, after how many passes, new steps). Returns pictures and last steps."""
    engine, told, pictures, passes = Engine(Painter(), max_batch), {}, {}, 0
    for request in requests:
        engine.submit(request)
    while len(engine):
        for which, when, steps in changes:
            if when == passes:
                engine.retarget(f"{which}", steps)
        for event in engine.step():
            told[event.id] = (event.step, event.steps)
            pictures |= {event.id: event.picture} if event.finished else {}
        passes += 1
    return pictures, told


@given(st.lists(wishes, min_size=1, max_size=6), changes)
def test_changed_requests_do_not_depend_on_their_company_either(drawn, changes):
    wanted = [EngineRequest(f"{number}", *wish) for number, wish in enumerate(drawn)]
    pictures, told = with_changes(wanted, changes, max_batch=len(wanted))
    for request in wanted:
        own = [change for change in changes if f"{change[0]}" == request.id]
        expected, expected_told = with_changes([request], own, max_batch=1)
        assert (pictures[request.id] == expected[request.id]).all()
        assert told[request.id] == expected_told[request.id]
        assert told[request.id][0] == told[request.id][1]


def test_a_change_is_told_with_the_next_step_and_takes_as_many_steps_as_it_says():
    engine = Engine(Painter())
    engine.submit(EngineRequest("fewer", "red", 6))
    engine.submit(EngineRequest("more", "red", 3))
    engine.step()
    assert engine.retarget("fewer", 4)
    assert engine.retarget("more", 5)
    _, events = finish(engine)
    assert [(e.step, e.steps) for e in events if e.id == "fewer"] == [(2, 4), (3, 4), (4, 4)]
    assert [(e.step, e.steps) for e in events if e.id == "more"] == [(2, 5), (3, 5), (4, 5), (5, 5)]


def test_a_change_that_comes_too_late_changes_nothing():
    request = EngineRequest("x", "red", 4, seed=3)
    engine = Engine(Painter())
    engine.submit(request)
    for done in range(1, 4):
        engine.step()
        assert not engine.retarget("x", done)
        assert engine.retarget("x", 4), "the same number is no change, and it is in time"
    (event,) = engine.step()
    assert (event.picture == alone(request)).all()
    assert not engine.retarget("x", 8), "it is finished"
    assert not engine.retarget("y", 8), "it was never there"
    engine.submit(request)
    assert engine.cancel("x")
    assert not engine.retarget("x", 8), "it was cancelled"
    with pytest.raises(InputError, match="steps must be from 1 to 100, got 101"):
        engine.retarget("x", 101)


def test_a_seed_decides_the_picture():
    one, again, other = (alone(EngineRequest("x", "red", 3, seed=seed)) for seed in (7, 7, 8))
    assert (one == again).all()
    assert (one != other).any()


def test_a_preview_shows_the_picture_forming():
    engine = Engine(Painter())
    request = EngineRequest("x", "the longest of all", 8)
    engine.submit(request)
    assert engine.preview("x").shape == (3, 3, 3)
    engine.step()
    early = engine.preview("x").astype(int)
    assert np.abs(early - alone(request).astype(int)).max() < 30  # the clean guess, not the noise
    assert len(engine) == 1


def test_what_is_wrong_is_refused():
    engine = Engine(Painter())
    engine.submit(EngineRequest("x", "red", 3))
    with pytest.raises(EngineError, match="already running"):
        engine.submit(EngineRequest("x", "red", 3))
    with pytest.raises(EngineError, match="no request 'y'"):
        engine.preview("y")
    with pytest.raises(EngineError, match="guidance must be >= 1"):
        engine.submit(EngineRequest("y", "red", 3, guidance=float("nan")))
    with pytest.raises(InputError, match="steps"):
        engine.submit(EngineRequest("y", "red", 0))
    with pytest.raises(EngineError, match="max_batch"):
        Engine(Painter(), max_batch=0)
    assert len(engine) == 1


def test_nothing_to_do_is_no_event():
    assert Engine(Painter()).step() == []
