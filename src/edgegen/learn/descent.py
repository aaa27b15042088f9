"""Gradient steps: Adam as torch has it, targets that follow, and means of what was learnt."""

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from edgegen.core.arrays import Array

P = TypeVar("P")
Moments = Any  # what Adam remembers of the gradients


def adam(weight_decay: float | Array = 0.0) -> optax.GradientTransformation:
    """Return Adam without its rate; weight decay joins the gradient (an L2 penalty, not the decoupled one of AdamW)."""
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.scale_by_adam())


def moments(params: Any) -> Moments:
    """Return what `adam` remembers before the first step; it does not depend on the weight decay."""
    return adam().init(params)


def descend(
    optimiser: optax.GradientTransformation, params: P, gradient: P, moments: Moments, *, rate: float | Array
) -> tuple[P, Moments]:
    """Take one step; the rate is apart from the optimiser, so that it can be traced."""
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to the power of an integer count
        steps, moments = optimiser.update(gradient, moments, params)  # type: ignore[arg-type]  # any pytree will do
    return jax.tree.map(lambda param, step: param - rate * step, params, steps), moments


def follow(target: P, online: P, *, rate: float | Array) -> P:
    """Move the target to the online parameters by a part `rate` of the way."""
    return jax.tree.map(lambda behind, ahead: behind + rate * (ahead - behind), target, online)


class Averaging(eqx.Module):
    """What is deployed: a mean of the networks of about the last part of the training (Polyak and Juditsky 1992).

    A network under training is thrown off its way again and again, the mean is not, whenever one stops.
    """

    part: float | Array = 0.2  # of the iterations so far; 0: the last network alone

    def follow(self, mean: P, latest: P, iterations: Array) -> P:
        """Return the mean after one more iteration, which ended with `latest`; `iterations` is int32[], those before it."""
        return follow(mean, latest, rate=1.0 / (1.0 + self.part * iterations.astype(jnp.result_type(float))))
