"""Learning a curve of quality from the scores of what was served: Bayes over shapes, in closed form for the height.

A curve is 0 up to a first knee, rises in a straight line to a second one, and stays: its height times a shape. Shapes are a
finite list with equal prior weights. Given the shape the height has a normal prior and scores are linear in it, so the
posterior is a mixture of normals with weights from the evidence (Bishop 2006, sections 3.3 and 3.4). A score shows the
curve as it is; one that is seen twice says nothing new. K numbers of steps, M shapes.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from edgegen.core.arrays import Array
from edgegen.core.tree import value


@value
class Belief:
    """What is believed of a curve at K numbers of steps."""

    mean: Array  # float[K]
    spread: Array  # float[K], standard deviation; 0 where a score was seen


class Shapes(eqx.Module):
    """The curves that are thought possible."""

    shapes: Array  # float[M, K], 0 to 1
    height: float  # prior mean
    spread: float  # prior standard deviation of the height
    blur: float  # how far a curve may lie off the nearest shape, as a standard deviation

    def believe(self, count: Array, total: Array) -> Belief:
        """Return the belief after `count` scores that sum to `total`, float[K] each, by number of steps."""
        shapes, seen = jnp.asarray(self.shapes, dtype=count.dtype), count > 0
        score = total / jnp.maximum(count, 1.0)
        weight = jnp.where(seen, 1.0 / self.blur**2, 0.0)
        precision = 1.0 / self.spread**2 + shapes**2 @ weight
        height = (self.height / self.spread**2 + shapes @ (weight * score)) / precision
        trust = jax.nn.softmax(0.5 * (precision * height**2 - jnp.log(precision)))
        mean = (trust * height) @ shapes
        square = (trust * (height**2 + 1.0 / precision)) @ shapes**2
        spread = jnp.sqrt(jnp.maximum(square - mean**2, 0.0))
        return Belief(mean=jnp.where(seen, score, mean), spread=jnp.where(seen, 0.0, spread))


def two_knees(first: np.ndarray, second: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """float[M, K], the shapes with a first and a later second knee from these lists, at these numbers of steps."""
    begin, end = (knee.ravel() for knee in np.meshgrid(first, second, indexing="ij"))
    begin, end = begin[begin < end], end[begin < end]
    return np.clip((steps - begin[:, None]) / (end - begin)[:, None], 0.0, 1.0)
