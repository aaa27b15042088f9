"""Sites that run all their tasks at once, each with a part of their speed: processor sharing.

Two clocks. **Event by event**: every task that is present has the same part, and gets more whenever another one ends
(`Sharers`; exact, because between two calls the ends come in the order of the work that is left). **Slot by slot**: all tasks of a
slot come at once and keep the part they were given, equal or chosen, behind a backlog of what slots before have not
finished (`Servers`). Work has any unit, such as cycles or denoising steps. S sites, R tasks at most at a site, N tasks in a slot.
"""

import dataclasses

import jax.numpy as jnp

from edgegen.core.arrays import Array, one_hot, take_rows
from edgegen.core.decision import REJECT
from edgegen.core.tree import value
from edgegen.sim.epochs import Entries
from edgegen.sim.occupancy.amounts import number, total

# ------------------------------------------------------------------------------------------------- event by event


@value
class Sharers:
    """Sites and the work that their tasks still need. A place with no work left is empty."""

    now_s: Array  # float[], the clock
    speed: Array  # float[S], work per second, of all tasks of a site together
    power_w: Array  # float[S], while there is a task
    left: Array  # float[R, S], work
    begin_s: Array  # float[R, S], when the task came

    @property
    def present(self) -> Array:
        """bool[R, S], places taken by tasks."""
        return self.left > 0


def empty(speed: Array, *, places: int, power_w: Array | float = 0.0) -> Sharers:
    """Return idle sites of these speeds, float[S], at time 0."""
    nothing = jnp.zeros((places, *speed.shape), speed.dtype)
    power_w = jnp.broadcast_to(jnp.asarray(power_w, speed.dtype), speed.shape)
    return Sharers(now_s=jnp.zeros((), speed.dtype), speed=speed, power_w=power_w, left=nothing, begin_s=nothing)


def cleared(sharers: Sharers) -> Sharers:
    """Return the same sites idle at time 0."""
    return dataclasses.replace(sharers, now_s=jnp.zeros_like(sharers.now_s), left=jnp.zeros_like(sharers.left))


def advance(sharers: Sharers, now_s: Array) -> tuple[Sharers, Entries]:
    """Go on to `now_s`. The entries are summed over sites:

    | entry        | meaning                                                  |
    |--------------|----------------------------------------------------------|
    | `finished`   | tasks that ended                                         |
    | `sojourn_s`  | of the tasks that ended, from their coming to their end  |
    | `done`       | work                                                     |
    | `busy_s`     | seconds in which a site had a task                       |
    | `energy_j`   | the same times its power                                 |
    """
    passed_s, rows = now_s - sharers.now_s, sharers.left.shape[0]
    ordered = jnp.sort(sharers.left, axis=0)  # empty places first
    rest = jnp.arange(rows, 0, -1, dtype=ordered.dtype)[:, None]  # tasks that run until this one ends, where it is one
    before = jnp.concatenate([jnp.zeros_like(ordered[:1]), ordered[:-1]])
    ends_s = jnp.cumsum((ordered - before) * rest / sharers.speed[None], axis=0)  # from the clock; 0 for empty places
    gone = ends_s <= passed_s  # empty places too
    last = jnp.where(gone, ordered, 0.0).max(axis=0)  # what each task has had when the last one ends
    last_s = jnp.where(gone, ends_s, 0.0).max(axis=0)
    still = number(~gone).sum(axis=0)
    had = last + jnp.where(still > 0, (passed_s - last_s) * sharers.speed / jnp.maximum(still, 1.0), 0.0)
    over = sharers.present & (sharers.left <= last[None])
    more = sharers.present & ~over
    after = jnp.where(more, jnp.maximum(sharers.left - had[None], jnp.finfo(had.dtype).tiny), 0.0)
    busy_s = jnp.where(still > 0, passed_s, last_s)
    ended = gone & (ordered > 0)
    entries = {
        "finished": total(number(over)),
        "sojourn_s": total(jnp.where(ended, ends_s, 0.0))
        + total(jnp.where(over, sharers.now_s - sharers.begin_s, 0.0)),
        "done": (busy_s * sharers.speed).sum(),
        "busy_s": busy_s.sum(),
        "energy_j": (sharers.power_w * busy_s).sum(),
    }
    return dataclasses.replace(sharers, now_s=now_s, left=after), entries


def admit(sharers: Sharers, site: Array, *, work: Array) -> tuple[Sharers, Entries]:
    """Give a task to `site` (int[]); `REJECT` refuses it. The entries, all of them always:

    | entry       | meaning                                |
    |-------------|----------------------------------------|
    | `assigned`  | 1 if the site took the task in         |
    | `refused`   | 1 if it was given to none              |
    | `dropped`   | 1 if the site had no place left        |
    | `work`      | of the task, where the site took it in |
    """
    taken = site != REJECT
    at = jnp.where(taken, site, 0)
    left = sharers.left[:, at]
    fits = taken & (left <= 0).any()
    place = jnp.where(fits, (left <= 0).argmax(), left.shape[0])  # past the end: nothing is written
    entries = {
        "assigned": number(fits),
        "refused": number(~taken),
        "dropped": number(taken & ~fits),
        "work": jnp.where(fits, work, 0.0),
    }
    after = dataclasses.replace(
        sharers,
        left=sharers.left.at[place, at].set(jnp.maximum(work, jnp.finfo(work.dtype).tiny), mode="drop"),
        begin_s=sharers.begin_s.at[place, at].set(sharers.now_s, mode="drop"),
    )
    return after, entries


# --------------------------------------------------------------------------------------------------- slot by slot


@value
class Servers:
    """Sites and what they still have to do."""

    speed: Array  # float[S], work per second
    backlog: Array  # float[S], work

    @property
    def wait_s(self) -> Array:
        """float[S], how long the backlog takes."""
        return self.backlog / self.speed


def idle(speed: Array) -> Servers:
    """Return sites of these speeds, float[S], with nothing to do."""
    return Servers(speed=speed, backlog=jnp.zeros_like(speed))


def crowd(site: Array, sites: int) -> Array:
    """float[S], how many tasks are given to each site, of `site` int[N]; a negative one is on none."""
    return number(one_hot(jnp, site, sites)).sum(axis=0)


def equal_share(site: Array, sites: int) -> Array:
    """float[N], each task's part where every site treats its tasks alike; 1 for a task that is on none."""
    return 1.0 / take_rows(jnp, crowd(site, sites), site, 1.0)


def finish_s(servers: Servers, site: Array, *, work: Array, share: Array) -> Array:
    """float[N], when each task is done: after the backlog, at its share of the speed. 0 for a task that is on no site."""
    speed = take_rows(jnp, servers.speed, site, 1.0)
    own = work / (speed * jnp.where(site >= 0, share, 1.0))
    return jnp.where(site >= 0, take_rows(jnp, servers.wait_s, site, 0.0) + own, 0.0)


def work_off(servers: Servers, site: Array, *, work: Array, seconds: float | Array) -> tuple[Servers, Entries]:
    """Take in the tasks of a slot, `work` float[N], and let so many seconds pass.

    The entries are `taken` and `done`, in units of work: what is taken is done or in the backlog.
    """
    taken = jnp.where(one_hot(jnp, site, servers.speed.shape[0]), work[:, None], 0.0).sum(axis=0)
    waiting = servers.backlog + taken
    left = jnp.maximum(waiting - servers.speed * seconds, 0.0)
    return dataclasses.replace(servers, backlog=left), {"taken": taken.sum(), "done": (waiting - left).sum()}
