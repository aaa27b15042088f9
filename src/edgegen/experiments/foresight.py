"""What nobody can exceed: a bound for a policy that sees all arrivals before they come.

A linear program gives each request parts of options (node, model, steps), every one in time when it runs alone on an idle
fleet. A node works on one picture at a time, so what must be uploaded and made between two moments fits between them:
for every interval [s, e] of a grid, requests that come (with their upload) after s and must be made before e have work of
e - s at most. Loads, links that are taken and options that cannot be divided are left out: each only helps, so this is
a bound and no plan.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from edgegen.dispatch.books import idle
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.messages import Request
from edgegen.physics.options import Options, options

ORACLE = "oracle"
CHUNK = 64
LEVELS = 10  # the grid has intervals of the whole time over 1, 2, 4, ... at two offsets


def best_possible(catalog: Catalog, asked: Sequence[Request]) -> dict[str, float]:
    """Return upper bounds on attainment and quality in time, per request."""
    items = _items(catalog, asked)
    count = max(len(asked), 1)
    if not len(items["quality"]):
        return {"attainment": 0.0, "quality_in_time": 0.0}
    rows, limits = _constraints(items, len(asked))
    worth = {"attainment": np.ones(len(items["quality"])), "quality_in_time": items["quality"]}
    return {name: min(1.0, _solve(value, rows, limits) / count) for name, value in worth.items()}


def _items(catalog: Catalog, asked: Sequence[Request]) -> dict[str, np.ndarray]:
    """Return the options worth having: columns task, place (node, or device behind them), work, window, quality."""
    found: dict[str, list] = {name: [] for name in ("task", "place", "work_s", "begin_s", "end_s", "quality")}
    load = idle(catalog)
    for at in range(0, len(asked), CHUNK):
        part = asked[at : at + CHUNK]
        rows = [catalog.row(request) for request in part]
        # As if each had come just now: ages are 0.
        state = catalog.state(rows, 0.0, load)
        state = dataclasses.replace(state, tasks=dataclasses.replace(state.tasks, age_s=np.zeros(state.task_count)))
        table = options(state)
        for task, row in enumerate(rows):
            for node in range(table.possible.shape[1]):
                place = catalog.node_count + row.origin if node == 0 else node
                permitted = table.feasible[task, node] & row.permitted[node][:, None]
                for model, step in _worth_having(table, task, node, permitted):
                    begin_s = row.request.arrived_s + table.upload_s[task, node]
                    end_s = row.request.arrived_s + row.request.limits.deadline_s - table.download_s[task, node]
                    values = (at + task, place, table.work_s[task, node, model, step], begin_s, end_s)
                    for name, value in zip(found, (*values, table.quality[task, model, step]), strict=True):
                        found[name].append(value)
    return {name: np.array(values) for name, values in found.items()}


def _worth_having(table: Options, task: int, node: int, permitted: np.ndarray) -> list[tuple[int, int]]:
    """Return options of a node that no other one of it beats in both work and quality."""
    pairs = [(int(m), int(s)) for m, s in np.argwhere(permitted)]
    pairs.sort(key=lambda pair: (table.work_s[task, node][pair], -table.quality[task][pair]))
    best, kept = -1.0, []
    for pair in pairs:
        if table.quality[task][pair] > best + 1e-12:
            best = float(table.quality[task][pair])
            kept.append(pair)
    return kept


def _constraints(items: dict[str, np.ndarray], tasks: int):
    """Return rows and limits: one option for each task, and room in every interval of every place."""
    from scipy.sparse import coo_array, csr_array, vstack

    count = len(items["task"])
    each = csr_array(coo_array((np.ones(count), (items["task"], np.arange(count))), shape=(tasks, count)))
    rows, limits = [each], [np.ones(tasks)]
    first_s, last_s = (
        float(items["begin_s"].min()),
        float(np.where(np.isfinite(items["end_s"]), items["end_s"], 0).max()),
    )
    for place in np.unique(items["place"]):
        own = np.flatnonzero(items["place"] == place)
        for begin_s, end_s in _grid(first_s, last_s):
            inside = own[(items["begin_s"][own] >= begin_s) & (items["end_s"][own] <= end_s)]
            if items["work_s"][inside].sum() > end_s - begin_s:
                data = (items["work_s"][inside], (np.zeros(len(inside), dtype=int), inside))
                rows.append(csr_array(coo_array(data, shape=(1, count))))
                limits.append(np.array([end_s - begin_s]))
    return vstack(rows), np.concatenate(limits)


def _grid(first_s: float, last_s: float) -> list[tuple[float, float]]:
    """Return intervals of many lengths that cover the time."""
    whole, found = max(last_s - first_s, 1e-9), []
    for level in range(LEVELS):
        width = whole / 2**level
        if width < 0.5 and level > 0:
            break
        starts = first_s + width / 2 * np.arange(2 ** (level + 1))
        found += [(float(start), float(start + width)) for start in starts]
    return found


def _solve(worth: np.ndarray, rows, limits: np.ndarray) -> float:
    from scipy.optimize import linprog

    solved = linprog(-worth, A_ub=rows, b_ub=limits, bounds=(0.0, 1.0), method="highs")
    if solved.status != 0:
        raise RuntimeError(f"the bound could not be computed: {solved.message}")
    return -float(solved.fun)
