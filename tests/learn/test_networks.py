"""Networks: Mish and its slope, starts, layers that keep their weight transposed, the embedding of time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conformance.compiling import quickly
from edgegen.learn import networks


def plain_mish(x):
    return x * jnp.tanh(jnp.logaddexp(x, 0.0))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_mish_is_x_tanh_softplus_and_so_is_its_slope_far_out_too(dtype):
    x = jnp.concatenate([jnp.linspace(-40.0, 40.0, 1601), jnp.array([-500.0, -90.0, 90.0, 500.0])]).astype(dtype)
    given, want = (quickly(jax.vmap(jax.value_and_grad(function))) for function in (networks.mish, plain_mish))
    tolerance = 1e-12 if dtype == jnp.float64 else 3e-6
    for got, wanted in zip(given(x), want(x.astype(jnp.float64)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


def test_dense_layers_map_like_their_matrix_whether_they_narrow_or_widen():
    for inputs, outputs in ((3, 5), (5, 3), (4, 4)):
        weight, offset = np.ones((inputs, outputs)) + np.eye(inputs, outputs), np.arange(outputs, dtype=float)
        layer = networks.dense(inputs, outputs, start=lambda *_, start=(weight, offset): start, key=jax.random.key(1))
        x = np.linspace(0.0, 1.0, inputs)
        np.testing.assert_allclose(layer(x), x @ weight + offset, atol=1e-14)


def test_uniform_starts_fill_the_interval_that_the_inputs_allow():
    weight, offset = networks.uniform(jax.random.key(0), 16, 200)
    for drawn in (weight, offset):
        assert float(jnp.abs(drawn).max()) <= 0.25
        assert float(jnp.abs(drawn).max()) > 0.24
        assert abs(float(drawn.mean())) < 0.03


def test_orthogonal_starts_stretch_every_vector_by_the_gain():
    weight, offset = networks.orthogonal(3.0)(jax.random.key(0), 4, 7)
    np.testing.assert_allclose(weight @ weight.T, 9.0 * np.eye(4), atol=1e-12)
    assert not offset.any()


def test_a_perceptron_has_its_nonlinearity_between_layers_only_and_its_last_start_apart():
    net = networks.perceptron((2, 6, 4, 3), last=lambda *_: (jnp.zeros((4, 3)), jnp.zeros(3)), key=jax.random.key(0))
    assert [layer.offset.shape[0] for layer in net.layers] == [6, 4, 3]
    np.testing.assert_allclose(net(jnp.ones(2)), np.zeros(3), atol=1e-15)
    flat = networks.Perceptron(layers=net.layers, activation=lambda x: 0.0 * x + 1.0)
    np.testing.assert_allclose(flat(jnp.ones(2)), np.zeros(3), atol=1e-15)
    open_ended = networks.Perceptron(layers=net.layers[:2], activation=lambda x: 0.0 * x + 1.0)
    second = net.layers[1]
    np.testing.assert_allclose(open_ended(jnp.ones(2)), second.weight.sum(axis=1) + second.offset, atol=1e-14)


def test_sinusoids_tell_neighbouring_times_apart_and_start_at_zero_and_one():
    at = np.asarray(quickly(jax.vmap(lambda time: networks.sinusoids(time, 16)))(jnp.arange(20.0)))
    np.testing.assert_allclose(at[0], [0.0] * 8 + [1.0] * 8, atol=1e-15)
    np.testing.assert_allclose(at[3, 0], np.sin(3.0))
    np.testing.assert_allclose(at[3, 7], np.sin(3.0 / 10_000.0))
    apart = np.linalg.norm(at[:, None] - at[None], axis=-1) + 10.0 * np.eye(20)
    assert float(apart.min()) > 0.5
