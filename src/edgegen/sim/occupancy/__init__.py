"""How sites are occupied: the rules by which tasks share a machine, one module each.

| module     | rule                                                                                        | clock  |
|------------|---------------------------------------------------------------------------------------------|--------|
| `pool`     | so many denoising steps may run at once; a task that does not fit crashes the site          | events |
| `fifo`     | a queue for one or more servers; loading takes time where another model is resident         | events |
| `share`    | all tasks run at once, each with a part of the speed: equal (exact), or given, with backlog | both   |
| `budget`   | so many steps per slot; what is left over is lost or carried over up to a limit             | slots  |
| `capacity` | so many steps per hour, a queue of so many hours, and what is beyond is dropped             | any    |

Each module has a record of its sites, `empty(...)` to begin with, `advance` to let time pass and `admit` to give tasks to sites.
Both return the record after it and entries of the ledger; none draws anything. `cleared` gives idle sites to an environment that
restarts. A task is always assigned, refused (`core.decision.REJECT`) or dropped, and what was assigned has finished, was lost or is
still there; the same holds for work, and joules are watts times the time at work.
"""
