"""Gradient steps: Adam as torch has it, and targets that follow."""

from typing import Any, TypeVar

import jax
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
