"""The benchmark of the engine compares what it says it compares."""

import numpy as np

from edgegen.bench import engine as bench
from edgegen.generate import builtin
from edgegen.generate.backends.onnx import OnnxBackend
from edgegen.generate.show import run


def test_the_static_batch_makes_the_very_pictures_that_the_engine_makes():
    folder = builtin.folder("shapes-s")
    backend, sampling = OnnxBackend(folder), builtin.sampling(folder)
    static = bench.static_batch(backend, sampling, 5)
    served = run(backend, [bench.PROMPT] * 8, steps=5, seeds=range(8), sampling=sampling)
    assert np.abs(static.astype(int) - served).max() <= 1


def test_the_mix_has_all_step_counts_equally_often_in_any_run():
    work = bench._Work(None, ("ddim", 1.0))
    for count in (bench.TOGETHER, bench.STREAM):
        steps = [request.steps for request in work.requests(count)]
        assert {kind: steps.count(kind) for kind in bench.MIX} == dict.fromkeys(bench.MIX, count // 4)
    assert bench.TOGETHER == 8
    assert bench.MIX == (4, 8, 16, 32)


def test_variants_take_turns_and_figures_are_medians_of_ratios():
    calls = []
    found = bench.take_turns({"a": lambda: calls.append("a") or 2.0, "b": lambda: calls.append("b") or 1.0}, 4)
    assert (found["a"] / found["b"] == 2.0).all()
    assert len(found["a"]) == 4
    assert all({calls[at], calls[at + 1]} == {"a", "b"} for at in range(0, len(calls), 2))
    ratios = np.array([0.9, 1.0, 5.0])
    assert not bench._bar("x", ratios, at_least=1.1).ok
    assert bench._bar("x", ratios, at_most=1.1).ok
    assert bench._bar("x", ratios).ok is None


def test_one_short_run_of_the_smallest_model_gives_every_bar():
    bars = bench.bars_of("shapes-s", rounds=1)
    assert len(bars) == 9
    assert all(np.isfinite(bar.value) and bar.value > 0 for bar in bars)
    assert [bar.goal for bar in bars[:2]] == [">= 0.95"] * 2
    assert [bar.goal for bar in bars[-2:]] == ["<= 1.03"] * 2
