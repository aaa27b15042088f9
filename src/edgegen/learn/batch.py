"""What an off-policy learner learns from: transitions over n epochs, as a replay buffer returns them."""

from edgegen.core.arrays import Array
from edgegen.core.tree import value


@value
class Batch:
    """B transitions (observation, action, n-step return, observation n epochs later). D features, K actions.

    The target of a learner is `reward + discount * value(next_observation)`: the buffer knows n and gamma, the learner does not.
    """

    observation: Array  # float[B, D]
    allowed: Array  # bool[B, K], which actions could be taken
    action: Array  # int[B]
    reward: Array  # float[B], sum over k < n of gamma^k r_k, up to the end of the episode
    next_observation: Array  # float[B, D]
    next_allowed: Array  # bool[B, K]
    discount: Array  # float[B], gamma^n; less epochs where the episode was cut; 0 where it terminated
