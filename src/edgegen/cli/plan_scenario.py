"""`edgegen plan SCENARIO.toml`: the plan of a scenario as a table, as JSON and as pictures."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from edgegen.cli.output import print_json, print_table, say, working

PANEL = "Options about a scenario"
MOST_ROWS = 60

Seed = Annotated[int | None, typer.Option(help="Draws the scenario; default: its own.", min=0, rich_help_panel=PANEL)]
MethodName = Annotated[str, typer.Option(help="plan, exact, alternating, or a simple rule.", rich_help_panel=PANEL)]
Goal = Annotated[
    float | None,
    typer.Option(help="Relative gap at which the planner stops; default: 0.001.", min=0, max=1, rich_help_panel=PANEL),
]
Explain = Annotated[bool, typer.Option("--explain", help="Say for each user why not elsewhere.", rich_help_panel=PANEL)]
Users = Annotated[
    list[str] | None, typer.Option(help="Explain only this user; may be repeated.", rich_help_panel=PANEL)
]
Pictures = Annotated[Path | None, typer.Option(help="Folder for pictures of the plan (PNG).", rich_help_panel=PANEL)]
Arrays = Annotated[
    Path | None,
    typer.Option(help="File for the arrays of instance and plan (.npz), for other solvers.", rich_help_panel=PANEL),
]
ListScenarios = Annotated[
    bool, typer.Option("--list-scenarios", help="List the packaged scenarios.", rich_help_panel=PANEL)
]


@dataclasses.dataclass(frozen=True)
class Options:
    """What was asked about a scenario."""

    seed: int | None = None
    method: str = "plan"
    goal: float | None = None
    explain: bool = False
    users: tuple[str, ...] = ()
    pictures: Path | None = None
    arrays: Path | None = None
    json: bool = False


def list_scenarios(json: bool) -> None:
    """Print the scenarios that come with the package."""
    from edgegen.plan.scenario.loading import packaged_scenarios

    scenarios = packaged_scenarios()
    if json:
        print_json([{"name": name, "description": text} for name, text in scenarios.items()])
    else:
        print_table("packaged scenarios", ("name", "what it is"), list(scenarios.items()))


def plan(name: str, options: Options) -> None:
    """Plan a scenario and print it."""
    from edgegen.core.errors import InputError
    from edgegen.experiments.planning import plan_scenario, report
    from edgegen.plan.certified.planner import BRANCHES, GOAL
    from edgegen.plan.scenario import parse_scenario, scenario_text

    if options.goal is not None and options.method != "plan":
        raise InputError(f"--goal is for --method plan; {options.method} has no gap to stop at", param="--goal")
    text = scenario_text(name)
    file = parse_scenario(text, source=name)
    wanted = list(options.users) if options.explain or options.users else None
    with working("planning (the first plan after an installation compiles for a minute)"):
        planned = plan_scenario(
            file,
            seed=options.seed,
            name=options.method,
            goal=GOAL if options.goal is None else options.goal,
            branches=None if options.goal is None else 10 * BRANCHES,  # who asks for a gap wants branches for it
        )
        answer = report(planned, source=name, text=text, explain=wanted)
    if options.arrays is not None:
        _save_arrays(planned, options.arrays)
    if options.pictures is not None and planned.found:
        from edgegen.experiments.plan_pictures import draw_plan

        answer["pictures"] = [str(path) for path in draw_plan(planned, options.pictures)]
        say(f"wrote {', '.join(answer['pictures'])}")
    if options.json:
        print_json(answer)
        if not planned.found:
            raise typer.Exit(3)
        return
    if not planned.found:
        _show_nothing(answer)
    else:
        _show(answer)


def _save_arrays(planned: Any, path: Path) -> None:
    import numpy as np

    from edgegen.core.errors import InputError

    if path.suffix != ".npz":
        raise InputError(f"arrays are written as a .npz file, got {path}", param="--arrays")
    columns = ("node", "model", "steps", "clock_hz", "uplink_hz", "downlink_hz")
    plan = {f"plan_{name}": getattr(planned.plan, name) for name in columns}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{f"instance_{name}": array for name, array in vars(planned.instance).items()}, **plan)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}", param="--arrays") from None
    say(f"wrote {path}")


# -------------------------------------------------------------------------------------------------- for people


def _show(answer: dict[str, Any]) -> None:
    rows = [_user_row(row) for row in answer["users"][:MOST_ROWS]]
    columns = ("user", "where", "model", "steps", "shares %", "error", "seconds / of", "joules / of", "binds")
    if rows:
        print_table(f"{answer['scenario']}, seed {answer['seed']}, by {answer['method']}", columns, rows, whole=3)
    if len(answer["users"]) > MOST_ROWS:
        say(f"and {len(answer['users']) - MOST_ROWS} more users; --json has them all")
    if answer["servers"]:
        _show_servers(answer["servers"])
    for entry in answer.get("explanations", []):
        _show_explanation(entry)
    _show_summary(answer)


def _user_row(row: dict[str, Any]) -> tuple:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.3g}"

    def of(value: float | None, limit: float | None) -> str:
        return "" if value is None else f"{value:.2g} / {'none' if limit is None else f'{limit:.3g}'}"

    shares = [row[f"{name}_share"] for name in ("clock", "uplink", "downlink")]
    return (
        row["user"],
        row["node"],
        row["model"],
        row["steps"] or "",
        " ".join(f"{100 * share:.0f}" for share in shares if share),
        number(row["error"]),
        of(row["total_s"], row["deadline_s"]),
        of(row["device_energy_j"], row["energy_budget_j"]),
        ", ".join(row["binds"]) or "trade-off",
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if share else ""


def _show_servers(servers: list[dict[str, Any]]) -> None:
    from edgegen.experiments.planning import RESOURCES, WORTH

    rows = [
        (
            row["server"],
            row["users"],
            *(_percent(row["used"][name]) or "0 %" for name in RESOURCES),
            *(f"{row[WORTH][name]:.2g}" for name in RESOURCES),
        )
        for row in servers
    ]
    columns = ("server", "users", *(f"{name} used" for name in RESOURCES), *(f"+10 % {name}" for name in RESOURCES))
    print_table("servers; what 10 % more of a capacity takes off the objective", columns, rows)


def _show_explanation(entry: dict[str, Any]) -> None:
    limits = ", ".join(entry["binds"]) or "nothing; error, time and energy are in balance"
    rows = [
        (
            other["node"],
            "" if other["cost_at_prices"] is None else f"{other['cost_at_prices']:.4f}",
            "" if other["objective_change"] is None else f"{other['objective_change']:+.4f}",
            other["steps"] or "",
            other["obstacle"],
        )
        for other in entry["others"]
    ]
    cost = "" if entry["cost_at_prices"] is None else f"{entry['cost_at_prices']:.4f} at prices; "
    title = f"{entry['user']}: {entry['node']} ({cost}binds: {limits})"
    print_table(title, ("instead", "at prices", "objective", "steps", "why not"), rows)


def _show_summary(answer: dict[str, Any]) -> None:
    refused = sum(row["node"] == "refused" for row in answer["users"])
    local = sum(row["node"] == "own device" for row in answer["users"])
    proof = "no bound: a simple rule proves nothing"
    if answer["bound"] is not None:
        gap = f"{100 * (answer['gap'] or 0):.2g} %"
        proof = f"no plan costs less than {answer['bound']:.6g}: the gap is at most {gap}"
    say(f"{answer['status']}: objective {answer['objective']:.6g} ({proof})")
    say(
        f"{len(answer['users'])} users: {local} on their own device, {refused} refused, the rest on servers; "
        f"accepted by the independent checker; planned in {1e3 * answer['cpu_s']:.3g} ms of processor time"
    )
    for note in answer["notes"]:
        say(f"note: {note}")


def _show_nothing(answer: dict[str, Any]) -> None:
    """Say that there is no plan, what would have to give, and end with exit code 3."""
    from edgegen.core.errors import InfeasibleError

    if answer["method"] != "plan":
        raise InfeasibleError(f"{answer['method']} finds no plan of {answer['scenario']} that keeps all limits")
    for entry in answer["impossible"]:
        reasons = "; ".join(f"{node}: {why}" for node, why in entry["obstacles"].items() if why)
        say(f"{entry['user']} cannot be served even alone. {reasons}")
    if answer["relaxations"]:
        rows = [(one["text"], f"{one['factor']:.3f}") for one in answer["relaxations"]]
        print_table("each of these alone makes a plan possible, the smallest change first", ("change", "factor"), rows)
    say("or set refusal in the scenario, the price of not serving a user: then a plan may refuse somebody")
    proven = "no plan serves everybody within the limits"
    unknown = "no plan was found, and none was excluded"
    raise InfeasibleError(
        f"{answer['scenario']}, seed {answer['seed']}: {proven if answer['status'] == 'infeasible' else unknown}"
    )
