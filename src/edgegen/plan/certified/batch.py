"""Plan many instances in one call: the compiled loops leave the interpreter's lock, so threads share the work.

Threads instead of processes: measured for 100 instances of 20 users on two free cores, threads took 0.57 to 0.61 of the
time of one by one and warm processes 0.55, but processes take a second or more to start and copy every instance.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from edgegen.core.errors import InputError
from edgegen.plan.certified.instance import Instance
from edgegen.plan.certified.planner import GOAL, CertifiedPlan, plan
from edgegen.plan.certified.wide.executors import cores


def plan_many(
    instances: Iterable[Instance], *, workers: int | None = None, goal: float = GOAL, branches: int | None = None
) -> list[CertifiedPlan]:
    """Return the plan of every instance, in order; each is what `plan` returns for it, bit for bit.

    workers: threads, by default one per core. goal and branches: as `plan` takes them.
    **Raises** `InputError` for fewer than one worker.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}", param="workers")
    one = partial(plan, goal=goal, branches=branches)
    with ThreadPoolExecutor(workers or cores()) as threads:
        return list(threads.map(one, instances))
