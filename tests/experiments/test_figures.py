"""Figures of results: written, readable again by machine, and no bigger than a page."""

import numpy as np
import pytest
from PIL import Image

from edgegen.core.errors import InputError
from edgegen.core.result import interval
from edgegen.experiments.figures import draw_curves, draw_intervals, provenance_of

FACTS = {"command": "edgegen test", "seed": 3, "revision": "abc", "config": '{"a": 1}'}


def entries(metrics=2, policies=3):
    rng = np.random.default_rng(0)
    return [
        {"policy": f"p{p}", "metric": f"m{m}", **interval(rng.normal(m, 1, 1 if p == 0 else 8))}
        for m in range(metrics)
        for p in range(policies)
    ]


def test_a_figure_carries_its_provenance(tmp_path):
    path = draw_intervals(entries(), tmp_path / "new" / "x.png", title="x", provenance=FACTS)
    assert provenance_of(path) == FACTS
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_mean_is_where_it_should_be_and_the_footer_is_drawn(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("edgegen.experiments.figures.save", lambda figure, path, **_: drawn.append(figure))
    found = entries(metrics=1, policies=2)
    draw_intervals(found, tmp_path / "x.png", title="x", provenance=FACTS)
    (axes,) = drawn[0].axes
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert [float(line.get_xdata()[0]) for line in points] == [entry["mean"] for entry in found]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["p0", "p1"]
    monkeypatch.undo()
    from edgegen.experiments.figures import save

    save(drawn[0], tmp_path / "y.png", provenance=FACTS)
    assert drawn[0].get_supxlabel() == "command edgegen test, revision abc, seed 3"


def test_curves_show_a_band_over_seeds_and_none_for_one_seed(tmp_path):
    steps = np.arange(5) * 100
    lines = {"dqn": (steps, np.random.default_rng(0).normal(size=(4, 5))), "once": (steps, np.zeros((1, 5)))}
    path = draw_curves(lines, tmp_path / "c.png", title="x", across="steps", up="reward", provenance=FACTS)
    assert provenance_of(path)["seed"] == 3
    with Image.open(path) as image:
        assert image.width > image.height > 300


def test_too_many_panels_and_folders_that_are_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="expected 1 to 12 metrics, got 13"):
        draw_intervals(entries(metrics=13), tmp_path / "x.png", title="x", provenance=FACTS)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        draw_intervals(entries(), tmp_path / "file" / "x.png", title="x", provenance=FACTS)
