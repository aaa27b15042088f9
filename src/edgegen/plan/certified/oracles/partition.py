"""Set partitioning solved by HiGHS: which set of users goes to which server, with the exact value of every set.

Values of sets come from the planner's set solver, so this checks its search for an assignment and not its values.
"""

import time

import numpy as np

from edgegen.core.errors import InputError
from edgegen.plan.certified.exact import Sets
from edgegen.plan.certified.instance import Instance
from edgegen.plan.certified.oracles.answer import Answer, Effort, answer, no_plan
from edgegen.plan.certified.planner import columns
from edgegen.plan.certified.tables import local_options, tables

MOST_USERS = 10  # 2^N sets on every server


def partition(instance: Instance, effort: Effort) -> Answer:
    """Solve the assignment over all sets; the time includes their values.

    **Raises** `InputError` for more than `MOST_USERS` users.
    """
    from scipy.optimize import Bounds, milp

    users, servers = instance.users, instance.servers
    if users > MOST_USERS:
        raise InputError(f"set partitioning takes at most {MOST_USERS} users, got {users}; leave some out")
    began_s = time.process_time()
    local = local_options(instance)
    table = tables(instance, local)
    sets = Sets(table)
    members = [np.flatnonzero([mask >> n & 1 for n in range(users)]) for mask in range(1, 1 << users)]
    worth = {(m, k): sets.value(m, rows)[0] for m in range(servers) for k, rows in enumerate(members)}
    chosen = [key for key, value in worth.items() if np.isfinite(value)]
    alone = np.flatnonzero(np.isfinite(local.cost))
    cost = np.concatenate([[worth[key] for key in chosen], local.cost[alone]])
    rows = np.zeros((users + servers, cost.size))
    for column, (m, k) in enumerate(chosen):
        rows[members[k], column] = rows[users + m, column] = 1.0
    rows[alone, len(chosen) + np.arange(alone.size)] = 1.0
    once = (rows, np.repeat([1.0, 0.0], [users, servers]), np.ones(users + servers))
    limits = {"time_limit": effort.limit_s, "mip_rel_gap": 0.0}
    found = milp(cost, integrality=np.ones(cost.size), bounds=Bounds(0, 1), constraints=once, options=limits)
    seconds = time.process_time() - began_s
    bound = np.inf if found.status == 2 else -np.inf if found.mip_dual_bound is None else found.mip_dual_bound
    known = {"bound": float(bound), "status": found.message, "seconds": seconds}
    if found.x is None:
        return no_plan(instance, first_s=np.inf, **known)
    node = np.zeros(users, dtype=np.int64)
    for column, (m, k) in enumerate(chosen):
        if found.x[column] > 0.5:
            node[members[k]] = m + 1
    plan = columns(instance, local, sets.assignment(node)[0])
    first_s = seconds if found.fun <= effort.target else np.inf
    return answer(instance, plan, claimed=float(found.fun), first_s=first_s, **known)
