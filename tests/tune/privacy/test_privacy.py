"""Settings of privacy, the warning of too few clients, and noise on whole updates."""

import math
from dataclasses import replace

import numpy as np
import pytest

from edgegen.core.errors import InputError, UnknownNameError
from edgegen.tune.privacy.client_noise import clipped, noisy_mean, norm
from edgegen.tune.privacy.promise import CLIENT, EXAMPLE, Privacy, too_few_clients

# ------------------------------------------------------------------------------------------------------------ settings


def test_an_unknown_kind_is_refused_with_the_nearest_one():
    with pytest.raises(UnknownNameError, match="did you mean 'example'"):
        Privacy(kind="exmaple")


@pytest.mark.parametrize(
    ("name", "value"), [("noise", 0.0), ("clip", -1.0), ("delta", 0.0), ("delta", 1.0), ("max_epsilon", 0.0)]
)
def test_a_setting_that_means_no_privacy_is_refused_by_name(name, value):
    with pytest.raises(InputError) as refused:
        Privacy(kind=EXAMPLE, **{name: value})
    assert refused.value.param == name


def test_few_clients_are_warned_of_and_as_many_as_the_warning_names_are_not():
    privacy = Privacy(kind=CLIENT, noise=1.0)
    warning = too_few_clients(privacy, clients=3, parameters=7168)
    assert warning is not None
    assert warning.enough_clients == 85  # sqrt(7168) = 84.7
    assert "kind = 'example'" in str(warning)
    assert too_few_clients(privacy, clients=warning.enough_clients, parameters=7168) is None
    assert too_few_clients(replace(privacy, kind=EXAMPLE), clients=3, parameters=7168) is None


def test_the_warning_is_right_about_noise_and_signal():
    """Measured: the norm of the noise on a mean over the norm of the largest mean."""
    privacy, clients, size = Privacy(kind=CLIENT, noise=0.7, clip=2.0), 5, 4000
    still = [{"a": np.zeros(size, np.float32)}] * clients
    noise = norm(noisy_mean(still, privacy, np.random.default_rng(0)))
    warning = too_few_clients(privacy, clients=clients, parameters=size)
    assert warning is not None
    assert noise / privacy.clip == pytest.approx(warning.noise_over_signal, rel=0.05)


# ------------------------------------------------------------------------------------------------------------- clients


def updates(count: int, scale: float, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [
        {"a": (scale * rng.standard_normal((7, 5))).astype(np.float32), "b": rng.standard_normal(3).astype(np.float32)}
        for _ in range(count)
    ]


def test_no_update_is_longer_than_the_clip_and_its_direction_stays():
    for update in updates(20, scale=50.0):
        cut = clipped(update, 0.5)
        assert norm(cut) <= 0.5 + 1e-6
        inner = sum(float((cut[name] * update[name]).sum()) for name in cut)
        assert inner == pytest.approx(norm(cut) * norm(update), rel=1e-6)


def test_a_short_update_stays_as_it_is_and_so_does_none_at_all():
    (update,) = updates(1, scale=1e-3)
    assert all((clipped(update, 100.0)[name] == update[name]).all() for name in update)
    assert norm(clipped({"a": np.zeros(4, np.float32)}, 1.0)) == 0.0


def test_an_update_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="not finite"):
        clipped({"a": np.array([1.0, math.nan], np.float32)}, 1.0)


@pytest.mark.parametrize("clients", [1, 4])
def test_the_noise_on_a_mean_is_z_times_clip_over_clients(clients):
    privacy = Privacy(CLIENT, noise=1.3, clip=0.5)
    still = [{"a": np.zeros(100_000, np.float32)}] * clients
    noise = noisy_mean(still, privacy, np.random.default_rng(1))["a"]
    assert noise.std() == pytest.approx(1.3 * 0.5 / clients, rel=0.03)
    assert abs(noise.mean()) < 4 * noise.std() / math.sqrt(noise.size)


def test_one_client_more_or_less_moves_the_sum_by_at_most_the_clip():
    """The sensitivity that the accountant assumes, with an outlier."""
    privacy = Privacy(CLIENT, noise=1e-12, clip=0.5)
    many = [*updates(4, scale=0.1), *updates(1, scale=1e4, seed=9)]
    total = {name: 5 * array for name, array in noisy_mean(many, privacy, np.random.default_rng(0)).items()}
    without = {name: 4 * array for name, array in noisy_mean(many[:4], privacy, np.random.default_rng(0)).items()}
    assert norm({name: total[name] - without[name] for name in total}) <= 0.5 + 1e-5


def test_clipping_and_noise_are_those_of_flower():
    flower = pytest.importorskip("flwr.supercore.differential_privacy")
    (update,) = updates(1, scale=3.0)
    base = [np.ones_like(array) for array in update.values()]
    moved = [one + array for one, array in zip(base, update.values(), strict=True)]
    flower.compute_clip_model_update(moved, base, 0.5)
    for theirs, start, ours in zip(moved, base, clipped(update, 0.5).values(), strict=True):
        np.testing.assert_allclose(theirs - start, ours, atol=1e-6)
    assert flower.compute_stdv(1.3, 0.5, 4) == pytest.approx(1.3 * 0.5 / 4)
