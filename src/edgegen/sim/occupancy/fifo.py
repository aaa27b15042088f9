"""A queue per site, first come first served, on one or more parallel servers that remember the model they have loaded.

A task goes to the server of its site that is free first, begins when that one is free, loads its model where another one is
resident, and runs to its end. The rule keeps servers at work and is exact in time: begin and end are known when the task is
taken in (Kiefer and Wolfowitz 1955), so nothing has to be simulated in between. S sites, C servers per site, R tasks at most at
a site at a time; what comes when all R places are taken is dropped.
"""

import dataclasses

import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.core.decision import REJECT
from edgegen.core.errors import InputError
from edgegen.core.tree import value
from edgegen.sim.epochs import Entries
from edgegen.sim.occupancy.amounts import count, later, number

NOTHING = -1  # no model is resident


@value
class Queues:
    """Sites, their servers, and when what they have been given ends."""

    now_s: Array  # float[], the clock: what ends by then is over
    power_w: Array  # float[S], of one server that loads or runs
    free_s: Array  # float[C, S], when a server has done all that it was given
    resident: Array  # int[C, S], the model that is loaded then, or NOTHING
    end_s: Array  # float[R, S], of each task; those later than the clock are at the site

    @property
    def present(self) -> Array:
        """bool[R, S], places taken by tasks that run or wait."""
        return self.end_s > self.now_s

    @property
    def wait_s(self) -> Array:
        """float[S], how long a task that came now would wait before it is loaded or run."""
        return jnp.maximum(self.free_s.min(axis=0) - self.now_s, 0.0)

    @property
    def work_s(self) -> Array:
        """float[S], seconds of work that the servers of a site still have, loading included."""
        return jnp.maximum(self.free_s - self.now_s, 0.0).sum(axis=0)


def empty(sites: int, *, servers: int = 1, places: int, power_w: Array | float = 0.0) -> Queues:
    """Return idle sites at time 0 with nothing loaded.

    **Raises** `InputError` unless there is a place for every server.
    """
    if not 1 <= servers <= places:
        raise InputError(
            f"expected 1 <= servers <= places (running tasks have places), got {servers} and {places}", param="places"
        )
    dtype = jnp.result_type(float)
    return Queues(
        now_s=jnp.zeros((), dtype),
        power_w=jnp.broadcast_to(jnp.asarray(power_w, dtype), (sites,)),
        free_s=jnp.zeros((servers, sites), dtype),
        resident=jnp.full((servers, sites), NOTHING, jnp.int32),
        end_s=jnp.zeros((places, sites), dtype),
    )


def cleared(queues: Queues) -> Queues:
    """Return the same sites idle at time 0 with nothing loaded."""
    nothing = {name: jnp.zeros_like(getattr(queues, name)) for name in ("now_s", "free_s", "end_s")}
    return dataclasses.replace(queues, resident=jnp.full_like(queues.resident, NOTHING), **nothing)


def advance(queues: Queues, now_s: Array) -> tuple[Queues, Entries]:
    """Go on to `now_s`. The entries are summed over sites:

    | entry       | meaning                                                                |
    |-------------|------------------------------------------------------------------------|
    | `finished`  | tasks that ended                                                       |
    | `busy_s`    | seconds in which servers loaded or ran, added over servers             |
    | `energy_j`  | the same times their power                                             |
    """
    busy_s = jnp.clip(queues.free_s - queues.now_s, 0.0, now_s - queues.now_s).sum(axis=0)  # busy until free: no gaps
    entries = {
        "finished": count(queues.present & (queues.end_s <= now_s)),
        "busy_s": busy_s.sum(),
        "energy_j": (queues.power_w * busy_s).sum(),
    }
    return dataclasses.replace(queues, now_s=now_s), entries


def admit(
    queues: Queues, site: Array, *, service_s: Array, model: Array | int = NOTHING, load_s: Array | float = 0.0
) -> tuple[Queues, Entries]:
    """Give a task to `site` (int[]); `REJECT` refuses it. `load_s` is what its model takes to load where it is not resident.

    Of servers that are free equally soon, one with the model comes first. The entries, all of them always:

    | entry       | meaning                                                                |
    |-------------|------------------------------------------------------------------------|
    | `assigned`  | 1 if the site took the task in                                         |
    | `refused`   | 1 if it was given to none                                              |
    | `dropped`   | 1 if the site had no place left                                        |
    | `wait_s`    | from now until a server has time for it                                |
    | `load_s`    | loading its model                                                      |
    | `loads`     | 1 if the model had to be loaded                                        |
    | `run_s`     | running it                                                             |
    """
    taken = site != REJECT
    at = jnp.where(taken, site, 0)
    now_s, ends, frees, models = queues.now_s, queues.end_s[:, at], queues.free_s[:, at], queues.resident[:, at]
    there = ends > now_s
    fits = taken & ~there.all()
    begins = jnp.maximum(frees, now_s)
    begin_s = begins.min()
    server = jnp.where(begins == begin_s, 1.0 + number(models == model), 0.0).argmax()
    loads = fits & (models[server] != model)
    load_s = jnp.where(loads, jnp.asarray(load_s, now_s.dtype), 0.0)
    end_s = begin_s + load_s + service_s
    place = there.argmin()
    entries = {
        "assigned": number(fits),
        "refused": number(~taken),
        "dropped": number(taken & ~fits),
        "wait_s": jnp.where(fits, begin_s - now_s, 0.0),
        "load_s": load_s,
        "loads": number(loads),
        "run_s": jnp.where(fits, service_s, 0.0),
    }
    after = dataclasses.replace(
        queues,
        free_s=queues.free_s.at[server, at].set(jnp.where(fits, end_s, frees[server])),
        resident=queues.resident.at[server, at].set(jnp.where(fits, model, models[server])),
        end_s=queues.end_s.at[place, at].set(jnp.where(fits, later(now_s, end_s), ends[place])),
    )
    return after, entries
