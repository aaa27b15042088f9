"""One scenario, one method, one plan: checked, and reported with the names that people know."""

import dataclasses
import hashlib
import math
import platform
import time
import zlib
from typing import Any

import numpy as np

from edgegen import __version__
from edgegen.core.errors import EdgegenError, UnknownNameError
from edgegen.core.units import format_si
from edgegen.plan.certified.checker import Audit, check
from edgegen.plan.certified.explain import MORE, Explained, Explainer
from edgegen.plan.certified.instance import LOCAL, REFUSED, Instance
from edgegen.plan.certified.methods import PLAN, method
from edgegen.plan.certified.planner import GOAL, CertifiedPlan
from edgegen.plan.certified.relaxation import Relaxation, impossible_alone, relaxations
from edgegen.plan.scenario import Names, ScenarioFile, names_of
from edgegen.plan.scenario.checks import profiles_of

RESOURCES = ("clock", "uplink", "downlink")
WORTH = f"worth_of_{100 * MORE:.0f}_percent_more"
_UNITS = {"deadline_s": "s", "energy_j": "J"}
_WORDS = {
    "deadline_s": "deadline",
    "energy_j": "energy budget",
    "server_hz": "clock",
    "uplink_hz": "uplink",
    "downlink_hz": "downlink",
}


@dataclasses.dataclass(frozen=True)
class Planned:
    """A plan of a scenario that the independent checker accepts, with everything to report it."""

    file: ScenarioFile
    seed: int
    method: str
    goal: float
    instance: Instance
    names: Names
    plan: CertifiedPlan
    audit: Audit
    cpu_s: float

    @property
    def found(self) -> bool:
        """Whether there is a plan."""
        return bool(np.isfinite(self.plan.objective))


def generator(seed: int, name: str) -> np.random.Generator:
    """Return the random numbers of a method: its own for each seed, whatever else runs."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def plan_scenario(
    file: ScenarioFile,
    *,
    seed: int | None = None,
    name: str = PLAN,
    goal: float = GOAL,
    branches: int | None = None,
) -> Planned:
    """Plan a scenario and check the plan.

    **Raises** `EdgegenError` when the checker refuses the plan, which is a fault of the method and not of the input.
    """
    seed = file.seed if seed is None else seed
    chosen = method(name, goal=goal, branches=branches)
    instance = file.build(seed)
    began_s = time.process_time()
    plan = chosen(instance, generator(seed, name))
    cpu_s = time.process_time() - began_s
    audit = audited(instance, plan, name)
    return Planned(file, seed, name, goal, instance, names_of(file), plan, audit, cpu_s)


def audited(instance: Instance, plan: CertifiedPlan, name: str) -> Audit:
    """Return what the independent checker says about a plan; a plan that it refuses is an error."""
    audit = check(instance, plan)
    if np.isfinite(plan.objective) and not audit.holds:
        raise EdgegenError(f"the checker refuses the plan of {name}: {'; '.join(audit.broken[:3])}; please report this")
    return audit


def errors_of(instance: Instance, plan: CertifiedPlan) -> np.ndarray:
    """Return float[N]: the average error of every user's result, NaN for the refused."""
    error = np.full(instance.users, np.nan)
    for n in np.flatnonzero(plan.node != REFUSED):
        option = (instance.steps == plan.steps[n]) & (instance.model == plan.model[n])
        error[n] = instance.error[n, plan.node[n], option][0]
    return error


# ------------------------------------------------------------------------------------------------------ the report


def report(planned: Planned, *, source: str, text: str, explain: list[str] | None = None) -> dict[str, Any]:
    """Return everything about a plan as plain data; infinite numbers are None.

    explain: names of the users to explain; an empty list for all, None for nobody.
    """
    plan, file = planned.plan, planned.file
    explainer = Explainer(planned.instance, plan) if planned.found else None
    answer: dict[str, Any] = {
        "scenario": file.name,
        "method": planned.method,
        "seed": planned.seed,
        "status": plan.status.value,
        "objective": plan.objective,
        "utility": float(planned.instance.weights.sum() - plan.objective),
        "bound": plan.bound,
        "gap": plan.gap,
        "branches": plan.branches,
        "cpu_s": planned.cpu_s,
        "checked": planned.found and planned.audit.holds,
        "users": _user_rows(planned, explainer) if explainer else [],
        "servers": _server_rows(planned, explainer) if explainer else [],
        "notes": notes(file),
        "provenance": provenance(planned, source, text),
    }
    if explain is not None and explainer:
        answer["explanations"] = [_explanation(planned.names, explainer.explain(n)) for n in _chosen(planned, explain)]
    if not planned.found and planned.method == PLAN:
        answer["relaxations"] = [
            {"field": one.field, "rows": list(one.rows), "factor": one.factor, "text": relaxation_text(planned, one)}
            for one in relaxations(planned.instance)
        ]
        answer["impossible"] = impossible(planned)
    return plain(answer)


def plain(value: Any) -> Any:
    """Return JSON data: arrays and NumPy numbers become Python's, what is not finite becomes None."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _user_rows(planned: Planned, explainer: Explainer) -> list[dict[str, Any]]:
    instance, plan, names = planned.instance, planned.plan, planned.names
    errors, rows = errors_of(instance, plan), []
    for n in range(instance.users):
        node = int(plan.node[n])
        most_hz = instance.device_hz[n] if node <= LOCAL else instance.server_hz[node - 1]
        bands = (instance.uplink_hz, instance.downlink_hz)
        up, down = (0.0, 0.0) if node <= LOCAL else (plan.uplink_hz[n], plan.downlink_hz[n])
        rows.append(
            {
                "user": names.users[n],
                "node": names.node(node),
                "model": names.model(n, node, int(plan.model[n])),
                "steps": int(plan.steps[n]),
                "clock_hz": float(plan.clock_hz[n]),
                "uplink_hz": float(up),
                "downlink_hz": float(down),
                "clock_share": float(plan.clock_hz[n] / most_hz) if node >= LOCAL else 0.0,
                "uplink_share": float(up / bands[0][node - 1]) if node > LOCAL else 0.0,
                "downlink_share": float(down / bands[1][node - 1]) if node > LOCAL else 0.0,
                "error": float(errors[n]),
                "total_s": float(planned.audit.total_s[n]),
                "deadline_s": float(instance.deadline_s[n]),
                "device_energy_j": float(planned.audit.device_energy_j[n]),
                "energy_budget_j": float(instance.energy_j[n]),
                "binds": list(explainer.binds(n)),
            }
        )
    return rows


def _server_rows(planned: Planned, explainer: Explainer) -> list[dict[str, Any]]:
    instance, plan, rows = planned.instance, planned.plan, []
    worth = explainer.worth_of_more()
    for m, name in enumerate(planned.names.servers):
        mine = plan.node == m + 1
        shares = (plan.clock_hz, plan.uplink_hz, plan.downlink_hz)
        capacity = (instance.server_hz[m], instance.uplink_hz[m], instance.downlink_hz[m])
        rows.append(
            {
                "server": name,
                "users": int(mine.sum()),
                "capacity_hz": dict(zip(RESOURCES, map(float, capacity), strict=True)),
                "used": {k: float(s[mine].sum() / c) for k, s, c in zip(RESOURCES, shares, capacity, strict=True)},
                WORTH: dict(zip(RESOURCES, map(float, worth[m]), strict=True)),
            }
        )
    return rows


def _chosen(planned: Planned, wanted: list[str]) -> list[int]:
    users = planned.names.users
    for name in wanted:
        if name not in users:
            raise UnknownNameError("user", name, users, param="user")
    return [users.index(name) for name in wanted] if wanted else list(range(len(users)))


def _explanation(names: Names, found: Explained) -> dict[str, Any]:
    return {
        "user": names.users[found.user],
        "node": names.node(found.node),
        "cost_at_prices": found.at_prices,
        "binds": list(found.binds),
        "others": [
            {
                "node": names.node(other.node),
                "cost_at_prices": other.at_prices,
                "objective_change": other.change,
                "steps": other.steps,
                "obstacle": other.obstacle,
            }
            for other in found.others
        ],
    }


def provenance(planned: Planned, source: str, text: str) -> dict[str, Any]:
    """Return what is needed to get the same plan again."""
    return {
        "edgegen": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scenario": source,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "seed": planned.seed,
        "method": planned.method,
        "goal": planned.goal,
    }


def notes(file: ScenarioFile) -> list[str]:
    """Return what a reader of the plan should know about the profiles behind it."""
    sizes: dict[int, list[str]] = {}
    assumed = []
    for _, profile in profiles_of(file):
        sizes.setdefault(profile.picture_px, []).append(profile.model)
        if any(key.startswith(("quality", "step_s")) for key in profile.provenance.assumed):
            assumed.append(f"{profile.model} on {profile.device}")
    found = []
    if len(sizes) > 1:
        kinds = "; ".join(f"{px} px: {', '.join(sorted(set(models)))}" for px, models in sorted(sizes.items()))
        found.append(
            f"pictures of different sizes count alike in quality ({kinds}); min_picture_px rules out small ones"
        )
    if assumed:
        listed = ", ".join(sorted(set(assumed)))
        found.append(f"some figures are assumed and not measured ({listed}); `edgegen profile show` says which")
    return found


# ----------------------------------------------------------------------------------------------- without any plan


def relaxation_text(planned: Planned, one: Relaxation) -> str:
    """Say in words which change would make a plan possible."""
    kind = "servers" if one.field in ("server_hz", "uplink_hz", "downlink_hz") else "users"
    known = getattr(planned.names, kind)
    word, unit = _WORDS[one.field], _UNITS.get(one.field, "Hz")
    if len(one.rows) == 1:
        value = float(getattr(planned.instance, one.field)[one.rows[0]])
        new = format_si(value * one.factor, unit)
        return f"{known[one.rows[0]]}: {word} {new} instead of {format_si(value, unit)} (x {one.factor:.3f})"
    who = f"every {kind[:-1]}" if len(one.rows) == len(known) else ", ".join(known[row] for row in one.rows)
    return f"{who}: {word} x {one.factor:.3f}"


def impossible(planned: Planned) -> list[dict[str, Any]]:
    """Return the users that nothing can serve even alone, with the reason for each node."""
    rows = []
    explainer = Explainer(planned.instance, planned.plan)
    for n in impossible_alone(planned.instance):
        reasons = {planned.names.node(j): explainer.obstacle(int(n), j) for j in range(planned.instance.servers + 1)}
        rows.append({"user": planned.names.users[n], "obstacles": reasons})
    return rows
