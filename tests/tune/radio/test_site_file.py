"""Files of sites: the example is a problem, everything in it counts, and what is wrong is said with its place."""

import tomllib

import numpy as np
import pytest

from edgegen.core.errors import ConfigError
from edgegen.physics.channel import path_gain
from edgegen.tune.radio import site_file
from edgegen.tune.radio.bands import OwnBands
from edgegen.tune.radio.gain import START
from edgegen.tune.radio.planning import Limits, plan
from edgegen.tune.radio.site_file import EXAMPLE, load, parse


def example(**changes):
    return tomllib.loads(EXAMPLE) | changes


def test_the_example_is_planned():
    made = parse(example())
    assert made.names == ("clinic", "school", "farm")
    assert made.fitted is None
    assert made.problem.gain == START
    assert plan(made.problem).asked.sum() >= 2


def test_quantities_become_si():
    of = parse(example()).problem.sites
    np.testing.assert_allclose(of.flops, [12e12, 8e12, 4e12])
    np.testing.assert_allclose(of.kappa * of.flops**3, [60, 30, 15])
    np.testing.assert_allclose(of.uplink_hz, 20e6)
    np.testing.assert_allclose(of.transmit_w, 0.2)
    np.testing.assert_allclose(of.gain, path_gain(np.array([90.0, 150.0, 320.0])))
    np.testing.assert_allclose(of.start_s, [0, 2, 0])


def test_measured_runs_are_fitted_instead_of_the_guess(tmp_path):
    runs = [
        {"value": 1.0, "rank": 4, "bits": 32, "steps": steps, "rounds": rounds, "gain": 0.3 * (1 - 0.8**rounds)}
        for steps in (20, 60)
        for rounds in (1, 2, 4, 8)
    ]
    made = parse(example(runs=runs))
    assert made.fitted is not None
    assert made.problem.gain == made.fitted.gain
    assert made.fitted.n == 8
    assert made.problem.gain != START


def test_every_choice_of_the_file_reaches_the_problem():
    made = parse(example(band="own", mode="fedit", layers="all", least_sites=3), Limits(time_s=5.0)).problem
    assert isinstance(made.bands, OwnBands)
    assert (made.mode, made.sizes.adapted, made.least_sites, made.limits.time_s) == ("fedit", ("",), 3, 5.0)


def test_what_is_wrong_is_said_with_its_place(tmp_path):
    site = example()["sites"][0]
    for changes, words in (
        ({"sites": [site | {"speed": "12"}]}, r"sites\.0\.speed: expected a compute work"),
        ({"sites": [site | {"sped": "12 TFLOP"}]}, r"sites\.0\.sped"),
        ({"sites": []}, "sites"),
        ({"mode": "ff"}, "mode"),
        ({"model": "sd-15"}, "did you mean 'sd-1.5'"),
        ({"least_sites": 4}, "least_sites"),
        ({"sites": [site | {"bandwidth": "5 MHz"}, *example()["sites"][1:]]}, "same uplink_hz"),
    ):
        with pytest.raises(ConfigError, match=words):
            parse(example(**changes))
    with pytest.raises(ConfigError, match="cannot read the sites"):
        load(tmp_path / "nothing.toml")
    (tmp_path / "sites.toml").write_text(EXAMPLE)
    assert load(tmp_path / "sites.toml").names == site_file.parse(example()).names
