"""The benchmark of changed steps compares what it says it compares."""

import dataclasses

import numpy as np
import pytest

from edgegen.bench.retarget import CHANGES, _bars, make
from edgegen.core.errors import InputError
from edgegen.generate import builtin
from edgegen.generate.backends.onnx import OnnxBackend
from edgegen.generate.grammar import held_out_scenes
from edgegen.generate.samplers import SamplerState
from edgegen.generate.show import run

CAPTIONS = ["a red circle", "a blue square", "a green cross"] * 3  # more than one batch


def test_only_the_change_tells_its_pictures_from_those_that_are_served():
    backend, sampling = OnnxBackend(builtin.folder("shapes-s")), builtin.sampling(builtin.folder("shapes-s"))

    def made(steps, change):
        return make(backend, CAPTIONS, steps, sampling=sampling, change=change)

    served = run(backend, CAPTIONS, steps=3, seeds=range(len(CAPTIONS)), sampling=sampling)
    assert (made(3, None) == served).all()
    assert (made(3, (1, 3)) == served).all()
    assert (made(8, (0, 3)) == served).all()
    changed = made(8, (1, 3))
    assert all((one != other).any() for one, other in zip(changed, served, strict=True))


def test_every_change_is_one_that_can_be():
    for first, done, last in CHANGES:
        state = dataclasses.replace(SamplerState.start("dpmpp", first), done=done)
        assert state.retarget(last).steps == last
    with pytest.raises(InputError, match="steps must be from 9"):
        dataclasses.replace(SamplerState.start("dpmpp", 16), done=8).retarget(8)


def test_a_figure_is_a_mean_with_its_interval_over_all_and_by_category():
    scenes = held_out_scenes("basic", 4, 0) + held_out_scenes("relation", 4, 0)
    bars = _bars("x", scenes, np.array([0.0, 1.0, 0.0, 1.0, 0.5, 0.5, 0.5, 0.5]))
    assert [(bar.bar, bar.value, bar.n) for bar in bars] == [
        ("x, all", 0.5, 8),
        ("x, basic", 0.5, 4),
        ("x, relation", 0.5, 4),
    ]
    assert bars[1].high - 0.5 == pytest.approx(1.96 * np.sqrt(1 / 3) / 2)
    assert bars[2].low == bars[2].high == 0.5
