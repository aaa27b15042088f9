"""Samplers against theory (a Gaussian, whose best denoiser is known) and against diffusers."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegen.core.errors import InputError, UnknownNameError
from edgegen.generate import samplers
from edgegen.generate.samplers import MAX_STEPS, SAMPLERS, SamplerState, advance
from edgegen.generate.schedules import ALPHAS, SHIFTED_COSINE, Discrete, Flow, scaled_linear

DISCRETE = SHIFTED_COSINE.samplers


def timesteps(steps):
    return np.array(SamplerState.start("ddim", steps).path.timesteps)


def timestep_in(state, ahead):
    """The timestep of the latent in so many steps; -1 is clean."""
    return state.position_in(ahead) - 1


def split(latent, guess, timestep):
    return samplers.split(latent, guess, timestep + 1)


def gaussian_v(latents, timestep, mean, spread):
    """Best v-prediction when clean latents are N(mean, spread^2): linear in the latent."""
    alpha = ALPHAS[timestep]
    signal, noise = np.sqrt(alpha), np.sqrt(1 - alpha)
    variance = alpha * spread**2 + noise**2
    clean = mean + signal * spread**2 / variance * (latents - signal * mean)
    return ((signal * latents - clean) / noise).astype(np.float32)


def run(sampler, steps, start, predict, changes=None):
    """Run to the end; `changes` are new numbers of steps by how many are done then."""
    states = [SamplerState.start(sampler, steps)] * len(start)
    latents = start
    while not states[0].finished:
        wanted = (changes or {}).get(states[0].done)
        states = [state.retarget(wanted) for state in states] if wanted else states
        guess = predict(latents, states[0].timestep)
        latents, _, states = advance(latents, guess, states)
    return latents


def path(state):
    """All timesteps that a state still has before it."""
    return [timestep_in(state, ahead) for ahead in range(state.steps - state.done)]


def after(steps, done, sampler="ddim"):
    """A state that has done so many steps, without the arithmetic."""
    return dataclasses.replace(SamplerState.start(sampler, steps), done=done)


def test_the_schedule_is_the_squared_cosine_with_a_sixteenth_of_its_signal_to_noise():
    at = np.array([99, 499, 899])
    cosine = np.cos(((at + 1) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(ALPHAS[at] / (1 - ALPHAS[at]), cosine / (1 - cosine) / 16, rtol=1e-6)
    assert (np.diff(ALPHAS) < 0).all()


@pytest.mark.parametrize("sampler", DISCRETE)
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 16, MAX_STEPS])
def test_a_point_is_hit_exactly_in_any_number_of_steps(sampler, steps):
    start = np.random.default_rng(0).standard_normal((4, 2, 3, 3), np.float32)
    found = run(sampler, steps, start, lambda x, t: gaussian_v(x, t, 0.7, 0.0))
    np.testing.assert_allclose(found, 0.7, atol=2e-3)


def gaussian_error(sampler, steps, mean=1.5, spread=0.4):
    """Largest distance from the exact flow of a Gaussian, which scales and shifts the noise."""
    start = np.random.default_rng(1).standard_normal((2, 4, 8, 8), np.float32)
    found = run(sampler, steps, start, lambda x, t: gaussian_v(x, t, mean, spread))
    return np.abs(found - mean - spread * start).max()


@pytest.mark.parametrize(("sampler", "most"), [("ddim", 0.1), ("dpmpp", 0.05)])
def test_with_many_steps_noise_becomes_the_gaussian(sampler, most):
    assert gaussian_error(sampler, MAX_STEPS) < most


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("dpmpp", 2)])
def test_twice_the_steps_divide_the_error_as_the_order_of_the_sampler_says(sampler, order):
    assert gaussian_error(sampler, 100) < 1.25 * gaussian_error(sampler, 50) / 2**order


@pytest.mark.parametrize(
    ("changes", "grid"),
    [
        ({}, timesteps(7)),
        # two sevenths are done, and 714 timesteps are left for three steps, or for four of which two are changed again
        ({2: 5}, [999, 856, 713, 475, 237]),
        ({2: 6, 4: 9}, [999, 856, 713, 535, 356, 285, 213, 142, 70]),
    ],
)
def test_ddim_matches_its_closed_form_on_a_gaussian(changes, grid):
    """A step maps (x - signal mean) to a multiple of itself; the product of the multiples is known."""
    mean, spread, steps = -0.8, 0.5, 7
    start = np.random.default_rng(2).standard_normal((1, 2, 4, 4), np.float32)
    grid = [*grid, None]
    deviation = start.astype(float) - np.sqrt(ALPHAS[grid[0]]) * mean
    for now, then in itertools.pairwise(grid):
        a, b = ALPHAS[now], 1.0 if then is None else ALPHAS[then]
        to_clean = np.sqrt(a) * spread**2 / (a * spread**2 + 1 - a)
        to_noise = (1 - np.sqrt(a) * to_clean) / np.sqrt(1 - a)
        deviation = (np.sqrt(b) * to_clean + np.sqrt(1 - b) * to_noise) * deviation
    found = run("ddim", steps, start, lambda x, t: gaussian_v(x, t, mean, spread), changes)
    np.testing.assert_allclose(found, mean + deviation, atol=1e-4)


def second_order(grid, start, predict):
    """DPM-Solver++ 2M on any grid, written down once more: the first and the last step are of first order."""
    latents, last, last_time = start.astype(float), None, None
    for now, following in itertools.pairwise(grid):
        clean = split(latents, predict(latents, now), now)[0].astype(float)
        alpha, then = ALPHAS[now], ALPHAS[following]
        time, next_time = (0.5 * np.log(value / (1 - value)) for value in (alpha, then))
        width = next_time - time
        slope = np.zeros_like(clean) if last is None else (clean - last) / (time - last_time)
        latents = (
            np.sqrt((1 - then) / (1 - alpha)) * latents
            - np.sqrt(then) * np.expm1(-width) * (clean + slope * width / 2)
        )  # fmt: skip
        last, last_time = clean, time
    return split(latents, predict(latents, grid[-1]), grid[-1])[0]


@pytest.mark.parametrize(
    ("steps", "changes"), [(8, {}), (16, {4: 8}), (8, {3: 20}), (16, {5: 12, 8: 30}), (12, {1: 4}), (20, {6: 9, 7: 14})]
)
def test_the_second_order_sampler_goes_on_from_where_it_really_was(steps, changes):
    """A slope over a distance that is wrong by 40 timesteps changes a wide Gaussian by 0.002 at least."""
    start = np.random.default_rng(3).standard_normal((2, 2, 4, 4), np.float32)
    state, grid = SamplerState.start("dpmpp", steps), []
    while not state.finished:
        state = state.retarget(changes.get(state.done, state.steps))
        grid.append(state.timestep)
        state = dataclasses.replace(state, done=state.done + 1)
    assert len(grid) == [steps, *changes.values()][-1]
    found = run("dpmpp", steps, start, lambda x, t: gaussian_v(x, t, 0.0, 3.0), changes)
    expected = second_order(grid, start, lambda x, t: gaussian_v(x, t, 0.0, 3.0))
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("dpmpp", 2)])
def test_the_order_of_a_sampler_survives_changes(sampler, order):
    def error(scale):
        start = np.random.default_rng(1).standard_normal((2, 4, 8, 8), np.float32)
        changes = {10 * scale: 50 * scale}
        found = run(sampler, 30 * scale, start, lambda x, t: gaussian_v(x, t, 1.5, 0.4), changes)
        return np.abs(found - 1.5 - 0.4 * start).max()

    assert error(2) < 1.25 * error(1) / 2**order


steps_now = st.integers(1, MAX_STEPS)


@given(steps_now, st.lists(st.tuples(st.integers(1, 30), steps_now), max_size=4))
def test_a_changed_path_starts_where_the_latent_is_falls_strictly_and_has_the_steps_that_were_asked_for(first, changes):
    state = SamplerState.start("ddim", first)
    for more, wanted in changes:
        state = dataclasses.replace(state, done=min(state.done + more, state.steps))
        if wanted not in state.reach:
            with pytest.raises(InputError, match="steps must be from"):
                state.retarget(wanted)
            continue
        changed = state.retarget(wanted)
        ahead = path(changed)
        assert len(ahead) == wanted - state.done
        assert ahead[0] == state.timestep
        assert timestep_in(changed, -1) == timestep_in(state, -1) > ahead[0]
        assert (np.diff(ahead) < 0).all()
        assert ahead[-1] >= 0 > timestep_in(changed, len(ahead))
        gaps = -np.diff([*ahead, -1])
        assert max(gaps) - min(gaps) <= 2  # even but for rounding at both ends
        state = changed


@pytest.mark.parametrize("sampler", DISCRETE)
def test_a_change_before_the_first_step_is_a_fresh_start_and_no_change_is_none(sampler):
    for first, wanted in [(16, 8), (8, 100), (1, 7)]:
        assert SamplerState.start(sampler, first).retarget(wanted) == SamplerState.start(sampler, wanted)
    for done in range(16):
        state = after(16, done, sampler)
        assert state.retarget(16) is state
    start = np.random.default_rng(0).standard_normal((1, 2, 4, 4), np.float32)
    plain, same = (run(sampler, 9, start, lambda x, t: gaussian_v(x, t, 0.3, 0.6), at) for at in ({}, {4: 9, 7: 9}))
    assert (plain == same).all()


def test_a_change_to_what_is_done_or_cannot_be_is_refused():
    for state, wanted in [(after(16, 4), 4), (after(16, 4), 3), (after(16, 0), 0), (after(16, 4), MAX_STEPS + 1)]:
        with pytest.raises(InputError, match=f"steps must be from {state.done + 1} to {MAX_STEPS} .*got {wanted}"):
            state.retarget(wanted)
    with pytest.raises(InputError, match="after 16 of 16"):
        after(16, 16).retarget(20)
    # The last of 16 steps begins at timestep 61 with 62 timesteps left, so it can be divided into 62 steps at most.
    assert after(16, 15).reach == range(16, 78)


@pytest.mark.parametrize(("steps", "ratio"), [(10, 1.0), (50, 0.6)])
def test_the_second_order_sampler_is_closer(steps, ratio):
    assert gaussian_error("dpmpp", steps, 0.3, 0.6) < ratio * gaussian_error("ddim", steps, 0.3, 0.6)


def test_rows_with_different_schedules_do_not_touch_each_other():
    rng = np.random.default_rng(4)
    latents, guess = rng.standard_normal((2, 3, 2, 4, 4), np.float32)
    changed = SamplerState("dpmpp", 5, 2, latents[0]).retarget(9)
    states = [SamplerState.start("ddim", 4), SamplerState.start("dpmpp", 9), changed]
    together, clean, later = advance(latents, guess, states)
    for row, state in enumerate(states):
        alone, alone_clean, alone_later = advance(latents[row : row + 1], guess[row : row + 1], [state])
        assert (together[row] == alone[0]).all()
        assert (clean[row] == alone_clean[0]).all()
        assert later[row].done == alone_later[0].done == state.done + 1


def test_a_state_survives_json():
    state = SamplerState("dpmpp", 6, 3, np.random.default_rng(0).standard_normal((2, 4, 4), np.float32))
    back = SamplerState.from_dict(json.loads(json.dumps(state.to_dict())), state.previous, SHIFTED_COSINE)
    assert (back.sampler, back.steps, back.done) == ("dpmpp", 6, 3)
    assert (back.previous == state.previous).all()
    assert SamplerState.from_dict(SamplerState.start("ddim", 2).to_dict(), None, SHIFTED_COSINE) == SamplerState(
        "ddim", 2
    )
    changed = after(16, 4).retarget(9)
    again = SamplerState.from_dict(json.loads(json.dumps(changed.to_dict())), None, SHIFTED_COSINE)
    assert again == changed
    assert path(changed) == path(again)


def test_split_inverts_the_definition_of_v():
    clean, noise = np.random.default_rng(5).standard_normal((2, 2, 4, 4))
    for timestep in (0, 10, 500, 998):
        a = ALPHAS[timestep]
        noisy, v = np.sqrt(a) * clean + np.sqrt(1 - a) * noise, np.sqrt(a) * noise - np.sqrt(1 - a) * clean
        found = split(noisy, v, timestep)
        np.testing.assert_allclose(found[0], clean, atol=1e-5)
        np.testing.assert_allclose(found[1], noise, atol=1e-5)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 4, 28])
def test_a_flow_follows_straight_lines_to_a_point_exactly(shift, steps):
    """With noise and picture known, noise - clean is the true direction everywhere, and Euler makes no error."""
    noise = np.random.default_rng(8).standard_normal((1, 2, 4, 4), np.float32)
    states, latents = [SamplerState.start("euler", steps, Flow(shift))], noise
    sigmas = []
    while not states[0].finished:
        sigmas.append(states[0].timestep / 1000)
        latents, clean, states = advance(latents, noise - 0.7, states)
        np.testing.assert_allclose(clean, 0.7, atol=1e-5)
    np.testing.assert_allclose(latents, 0.7, atol=1e-5)
    even = 1 - np.arange(steps) / steps
    np.testing.assert_allclose(sigmas, shift * even / (1 + (shift - 1) * even), rtol=1e-12)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_flow_that_is_changed_divides_what_is_left(shift):
    state = dataclasses.replace(SamplerState.start("euler", 8, Flow(shift)), done=2).retarget(5)
    assert [state.position_in(ahead) for ahead in range(4)] == [750, 500, 250, 0]
    assert state.reach == range(3, MAX_STEPS + 1)


@pytest.mark.parametrize("sampler", DISCRETE)
def test_what_a_network_answers_does_not_matter_when_it_knows_the_picture(sampler):
    """The same knowledge said as v and as epsilon leads to the same latents, on the same betas."""
    start = np.random.default_rng(9).standard_normal((2, 2, 4, 4), np.float32)
    found = []
    for schedule in (scaled_linear("epsilon"), scaled_linear("v_prediction")):
        states, latents = [SamplerState.start(sampler, 6, schedule)] * 2, start
        while not states[0].finished:
            signal, rest = schedule.scales(states[0].position_in(0))
            clean = 0.3 * np.tanh(latents)
            noise = (latents - signal * clean) / rest
            answer = noise if schedule.prediction.name == "epsilon" else signal * noise - rest * clean
            latents, _, states = advance(latents, answer, states)
        found.append(latents)
    np.testing.assert_allclose(*found, atol=2e-5)


def test_a_schedule_that_cannot_be_followed_is_refused():
    for alphas in (np.linspace(0.99, 0.0, 1000), np.linspace(0.99, 0.1, 500), np.linspace(0.1, 0.9, 1000)):
        with pytest.raises(InputError, match="1000 cumulative alphas that fall and stay above 0"):
            Discrete("wrong", alphas)
    with pytest.raises(UnknownNameError, match="no prediction of a network named 'sample'"):
        scaled_linear("sample")
    with pytest.raises(InputError, match="the shift of a flow"):
        Flow(0.0)
    with pytest.raises(UnknownNameError, match="no sampler named 'ddim'; known: euler"):
        SamplerState.start("ddim", 4, Flow())
    assert set(DISCRETE) | set(Flow().samplers) == set(SAMPLERS)


def test_what_does_not_exist_is_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'ddim'"):
        SamplerState.start("dim", 4)
    for steps in (0, -1, MAX_STEPS + 1):
        with pytest.raises(InputError, match="steps must be from 1"):
            SamplerState.start("ddim", steps)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # diffusers reads torch tensors in numpy's old way
@pytest.mark.parametrize(
    ("sampler", "steps"),
    # diffusers' DDIM steps back by 1000 // steps, which is the next timestep only where steps divides 1000.
    [("ddim", steps) for steps in (1, 2, 4, 8, 20, 50)] + [("dpmpp", steps) for steps in (1, 2, 4, 7, 16, 50)],
)
def test_samplers_equal_those_of_diffusers(sampler, steps):
    import torch
    from diffusers import DPMSolverMultistepScheduler

    from edgegen.train.diffusion import scheduler

    theirs = scheduler()  # with the betas that ship with the weights
    if sampler == "dpmpp":
        theirs = DPMSolverMultistepScheduler.from_config(
            theirs.config, algorithm_type="dpmsolver++", final_sigmas_type="zero", lower_order_final=True
        )
    theirs.set_timesteps(steps)
    assert theirs.timesteps.tolist() == timesteps(steps).tolist()
    start = np.random.default_rng(6).standard_normal((2, 4, 4, 4), np.float32)
    expected = torch.from_numpy(start)
    for timestep in theirs.timesteps:
        guess = torch.from_numpy(gaussian_v(expected.numpy(), int(timestep), 0.3, 0.6))
        expected = theirs.step(guess, timestep, expected).prev_sample
    found = run(sampler, steps, start, lambda x, t: gaussian_v(x, t, 0.3, 0.6))
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-3)
