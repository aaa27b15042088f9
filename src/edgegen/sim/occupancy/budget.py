"""A budget of denoising steps per slot: a site grants them while they last, and the next slot brings new ones.

What is left over at the end of a slot is lost, or carried over up to a limit (a token bucket). S sites.
"""

import dataclasses

import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.core.decision import REJECT
from edgegen.core.tree import value
from edgegen.sim.epochs import Entries
from edgegen.sim.occupancy.amounts import number


@value
class Budgets:
    """Sites and the steps that they may still grant in this slot."""

    income: Array  # float[S] or int[S], steps that a slot brings
    spare: Array  # like income [S], the most that is carried over from one slot to the next
    left: Array  # like income [S], steps


def empty(income: Array, *, spare: Array | None = None) -> Budgets:
    """Return sites before their first slot, [S]; without `spare` nothing is carried over."""
    nothing = jnp.zeros_like(income)
    return Budgets(income=income, spare=nothing if spare is None else spare, left=nothing)


def cleared(budgets: Budgets) -> Budgets:
    """Return the same sites before their first slot."""
    return dataclasses.replace(budgets, left=jnp.zeros_like(budgets.left))


def advance(budgets: Budgets) -> tuple[Budgets, Entries]:
    """Begin the next slot. The entries are summed over sites:

    | entry      | meaning                                                  |
    |------------|----------------------------------------------------------|
    | `income`   | steps that the slot brings                               |
    | `expired`  | steps that were left over and are lost                   |
    """
    kept = jnp.minimum(budgets.left, budgets.spare)
    entries = {"income": _float(budgets.income).sum(), "expired": _float(budgets.left - kept).sum()}
    return dataclasses.replace(budgets, left=kept + budgets.income), entries


def admit(budgets: Budgets, site: Array, *, steps: Array) -> tuple[Budgets, Entries]:
    """Grant a task its steps at `site` (int[]), all or none; `REJECT` refuses it.

    A caller that can do with fewer asks for `jnp.minimum(steps, budgets.left[site])`. The entries, all of them always:

    | entry       | meaning                                |
    |-------------|----------------------------------------|
    | `assigned`  | 1 if the task got its steps            |
    | `refused`   | 1 if it was given to no site           |
    | `dropped`   | 1 if not enough steps were left        |
    | `steps`     | granted                                |
    """
    taken = site != REJECT
    at = jnp.where(taken, site, 0)
    left = budgets.left[at]
    fits = taken & (steps <= left)
    granted = jnp.where(fits, steps, jnp.zeros_like(steps))
    entries = {
        "assigned": number(fits),
        "refused": number(~taken),
        "dropped": number(taken & ~fits),
        "steps": _float(granted),
    }
    return dataclasses.replace(budgets, left=budgets.left.at[at].set(left - granted)), entries


def admit_all(budgets: Budgets, site: Array, *, steps: Array) -> tuple[Budgets, Entries]:
    """Serve the tasks of a slot in order, `site` int[N] and `steps` [N]; the entries are those of `admit`, float[N] each."""
    return jax.lax.scan(lambda now, task: admit(now, task[0], steps=task[1]), budgets, (site, steps))


def _float(steps: Array) -> Array:
    return steps.astype(jnp.result_type(float))
