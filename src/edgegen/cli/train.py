"""`edgegen train`: let a learner learn in a system, show it beside the rules, keep what it has learnt."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgegen.cli.output import AsJson, print_json, print_table, say

if TYPE_CHECKING:
    from edgegen.experiments.training import Place
    from edgegen.learn.training import Row, Trained

DEFAULT_LEARNER, DEFAULT_CPU_S = "ppo", 30.0


def train(
    system: Annotated[
        str, typer.Argument(help="`fleet` (the gateway's machines) or `aaas` (the choice of a provider).")
    ] = "fleet",
    learner: Annotated[str, typer.Option(help="A learner; `--list-learners` names them.")] = DEFAULT_LEARNER,
    cpu: Annotated[str, typer.Option(help="Processor time, such as '60 s'.")] = "",
    steps: Annotated[float, typer.Option(help="Environment steps; 0: no limit.", min=0)] = 0,
    updates: Annotated[float, typer.Option(help="Gradient steps; 0: no limit.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Of networks and training; the evaluation is the same for all.", min=0)] = 0,
    episodes: Annotated[int, typer.Option(help="Evaluation episodes per instance.", min=2, max=10_000)] = 32,
    instances: Annotated[int, typer.Option(help="aaas: drawn instances; 0: the published one.", min=0, max=4096)] = 0,
    masked: Annotated[bool, typer.Option(help="aaas: choose only where a task fits.")] = True,
    config: Annotated[
        Path | None, typer.Option(help="fleet: a configuration; default: edgegen.toml, or built in.")
    ] = None,
    rate: Annotated[float, typer.Option(help="fleet: requests per second.", min=0.01, max=1e4)] = 12.0,
    out: Annotated[Path | None, typer.Option(help="File for the agent, FILE.agent.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="File to go on from when a run was cut off.")] = None,
    table: Annotated[Path | None, typer.Option(help="File for the learning curve, .csv or .parquet.")] = None,
    picture: Annotated[Path | None, typer.Option(help="File for the learning curve (PNG).")] = None,
    list_learners: Annotated[bool, typer.Option("--list-learners", help="List the learners.")] = False,
    json: AsJson = False,
) -> None:
    """Train an agent, and show what it earns beside simple rules on the same episodes.

    The run ends with the first budget that is used up: processor time (30 s where nothing is said), environment steps, or
    gradient steps. `edgegen serve --policy FILE.agent` lets an agent of `fleet` decide live.
    """
    from edgegen.core.provenance import of_run
    from edgegen.core.units import parse_quantity
    from edgegen.experiments import training
    from edgegen.learn import presets
    from edgegen.learn.training import Budget

    if list_learners:
        _list(presets.PRESETS, json)
        return
    training.check_system(system)
    _check_files(out, table, [picture, checkpoint])
    cpu_s = parse_quantity(cpu, "time") if cpu else (float("inf") if steps or updates else DEFAULT_CPU_S)
    budget = Budget(steps=steps or float("inf"), updates=updates or float("inf"), cpu_s=cpu_s)
    one, count = training.chosen(learner)
    place = _place(system, count, instances, masked, config, rate, episodes, seed)
    say(f"{learner} in {system}, {count} environments at once; compiling takes a few seconds")
    trained = training.learn(place, one, seed=seed, budget=budget, progress=_told, checkpoint=checkpoint)
    facts = of_run({"system": system, "learner": learner, **place.settings, "episodes": episodes}, seed=seed)
    _keep(place, learner, trained, seed, out, table, facts)
    rows = _report(place, learner, trained, out, json)
    if picture is not None:
        _draw(place, learner, trained, picture, facts, {name: mean for name, mean, *_ in rows if name in place.rules})


def _place(system, count, instances, masked, config, rate, episodes, seed) -> "Place":
    from edgegen.config import find_config
    from edgegen.experiments import training

    if system == training.FLEET:
        chosen = find_config(config)
        return training.on_fleet(count, chosen, rate_hz=rate, horizon_s=30.0, episodes=episodes, seed=seed)
    return training.on_providers(count, instances=instances, episodes=episodes, seed=seed, masked=masked)


def _check_files(out: Path | None, table: Path | None, others: list[Path | None]) -> None:
    """Refuse files that could not be written at the end, before any work is done."""
    from edgegen.core.errors import InputError
    from edgegen.registry import AGENT_SUFFIX

    if out is not None and out.suffix != AGENT_SUFFIX:
        raise InputError(f"--out expects a file that ends in {AGENT_SUFFIX}, got {out}", param="--out")
    if table is not None and table.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"--table expects a file that ends in .csv or .parquet, got {table}", param="--table")
    for path in filter(None, [out, table, *others]):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}", param=str(path)) from None
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise InputError(f"cannot write {path}: it is a folder, or in one that is closed", param=str(path))


def _told(row: "Row") -> None:
    worth = f", evaluated {row.evaluation['reward']:.1f}" if row.evaluation else ""
    say(
        f"{row.cpu_s:7.1f} s  {row.steps:>11,} steps  {row.updates:>8,} updates  {row.metrics['reward']:+.4f} a step{worth}"
    )


def _list(names: Any, json: bool) -> None:
    if json:
        print_json(list(names))
    else:
        print_table("learners", ("name",), [(name,) for name in names])


def _keep(place: "Place", learner: str, trained: "Trained", seed: int, out, table, facts: dict) -> None:
    from edgegen.experiments import tables, training
    from edgegen.learn import agent

    if out is not None:
        agent.save(out, agent.Agent(trained.actor, place.codec), training.card(place, learner, trained, seed=seed))
    if table is not None:
        with tables.writing(table, tables.LEARNT, facts) as write:
            write(training.tidy(place, learner, trained.curve, seed=seed))


def _draw(place: "Place", learner: str, trained: "Trained", picture: Path, facts: dict, levels: dict) -> None:
    import numpy as np

    from edgegen.experiments.figures import draw_curves

    shown = [(row.cpu_s, row.evaluation["reward"]) for row in trained.curve if row.evaluation]
    x, y = np.array(shown).T
    draw_curves(
        {learner: (x, y[None])},
        picture,
        title=f"{learner} in {place.system}, {trained.curve[-1].steps:,} environment steps",
        across="processor time of training [s]",
        up="reward of an evaluation episode",
        provenance=facts,
        levels=levels,
    )


def _report(place: "Place", learner: str, trained: "Trained", out: Path | None, json: bool) -> list[tuple]:
    import numpy as np

    policies = {**place.rules, learner: place.codec.policy(trained.actor)}
    found = {name: np.asarray(of["reward"]) for name, of in place.measure(policies).items()}
    rows = [(name, *place.interval(rewards), rewards.size) for name, rewards in found.items()]
    last = trained.curve[-1]
    if json:
        keys = ("policy", "reward", "low", "high", "episodes")
        budget = {"cpu_s": last.cpu_s, "environment_steps": last.steps, "gradient_steps": last.updates}
        found_rows = [dict(zip(keys, row, strict=True)) for row in rows]
        print_json(
            {"rewards": found_rows, "budget": budget, "stopped": trained.stopped, "agent": str(out) if out else None}
        )
        return rows
    shown = [(name, round(mean, 2), round(low, 2), round(high, 2), n) for name, mean, low, high, n in rows]
    title = (
        f"{place.system}: reward of an episode, 95 % interval, after {last.cpu_s:.1f} CPU-s and {last.steps:,} steps"
    )
    print_table(title, ("policy", "reward", "low", "high", "episodes"), shown)
    if out is not None:
        say(f"the agent is in {out}" + ("; edgegen serve --policy takes it" if place.system == "fleet" else ""))
    return rows
