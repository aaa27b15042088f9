"""`edgegen tune`: sites improve a shared model without sharing their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgegen.cli import tune_plan
from edgegen.cli.output import AsJson, print_json, print_table, say
from edgegen.core.errors import InputError

if TYPE_CHECKING:
    from edgegen.tune.federation.records import Progress
    from edgegen.tune.running import Run

app = typer.Typer(
    help="Federated fine-tuning: sites improve a shared model without sharing their pictures.", no_args_is_help=True
)

app.command("plan")(tune_plan.plan)

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the run and its pictures.")] = Path("edgegen-tune-demo"),
    seed: Annotated[int, typer.Option(help="Of the sites' pictures and the training.", min=0)] = 0,
    json: AsJson = False,
) -> None:
    """Two sites teach a built-in model what neither of them knows alone; a few minutes on two cores."""
    _needs_torch()
    from edgegen.tune.demo import run_demo

    shown = run_demo(out, seed=seed, tell=say)
    if json:
        print_json(shown.to_dict())
        return
    print_table("rounds", shown.round_columns, shown.rounds)
    print_table("judged quality of held-out captions", shown.quality_columns, shown.qualities)
    say(f"pictures: {', '.join(map(str, shown.pictures))}; the run: {shown.folder}")
    say(f"put it into a running gateway: edgegen tune publish {shown.folder} NAME --gateway URL")


@app.command()
def run(
    out: Annotated[Path, typer.Option(help="Folder of the run; one that was cut off is gone on with.")],
    settings: Annotated[Path | None, typer.Option(help="TOML with the tables [task] and [run].")] = None,
    base: Annotated[str | None, typer.Option(help="A built-in model.")] = None,
    sites: Annotated[int | None, typer.Option(min=1, max=1000)] = None,
    pictures: Annotated[int | None, typer.Option(help="Of each site.", min=8)] = None,
    alpha: Annotated[float | None, typer.Option(help="How alike the sites are: 100 alike, 0.1 not at all.")] = None,
    mode: Annotated[str | None, typer.Option(help="ffa, fedit, fedex (adapters); full, decoder, split.")] = None,
    rank: Annotated[int | None, typer.Option(help="Of the adapters.", min=1)] = None,
    rounds: Annotated[int | None, typer.Option(min=1)] = None,
    steps: Annotated[int | None, typer.Option(help="Local steps of a round.", min=1)] = None,
    bits: Annotated[int | None, typer.Option(help="Per sent number: 32, 16 or 8.")] = None,
    aggregator: Annotated[str | None, typer.Option(help="fedavg, median, trimmed-mean, krum, ...")] = None,
    secure: Annotated[bool, typer.Option("--secure", help="The server learns the sum only (SecAgg+).")] = False,
    epsilon: Annotated[float | None, typer.Option(help="Privacy of single pictures, over all rounds.")] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    way: Annotated[str, typer.Option(help="here, simulation (Ray), or processes.")] = "here",
    json: AsJson = False,
) -> None:
    """Run the rounds of a federation of drawn sites."""
    _needs_torch()
    from edgegen.tune import running

    task, rules = running.read_file(settings) if settings else ({}, {})
    spread = {"sites": sites, "pictures": pictures, "alpha": alpha, "seed": seed}
    said: dict[str, Any] = {"base": base, "spread": _said(spread), "lora": _said({"rank": rank})}
    task = {**task, **_said(said, task)}
    rules |= _said(
        {"mode": mode, "rounds": rounds, "steps": steps, "bits": bits, "aggregator": aggregator, "seed": seed}
    )
    if secure:
        rules.setdefault("secure", {})
    described = running.describe(task, rules, epsilon=epsilon)
    progress = running.carry_out(described, out, way=way, told=lambda done: _told(done, described))
    _show(described, progress, out, json)


@app.command()
def show(folder: Folder, json: AsJson = False) -> None:
    """Show what the rounds of a run brought and moved."""
    _needs_torch()
    from edgegen.tune.running import reopen

    described, progress = reopen(folder)
    _show(described, progress, folder, json)


@app.command()
def judge(
    folder: Folder,
    per_object: Annotated[int, typer.Option(help="Held-out captions of every novel object.", min=1, max=500)] = 15,
    picture: Annotated[
        Path | None, typer.Option(help="File for pictures before and after (PNG), of the first site.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Judge what a run taught: quality before and after, of every novel object, for every site, and of what was known."""
    _needs_torch()
    from edgegen.tune.judging import Exam
    from edgegen.tune.pictures import Workshop
    from edgegen.tune.running import reopen
    from edgegen.tune.showing import quality_rows, sheet

    described, progress = reopen(folder)
    workshop, exam = Workshop(described.task), Exam.of(per_object, per_object)
    say(f"drawing {2 * len(exam.scenes)} pictures")
    before, after = workshop.examine(workshop.start, exam), workshop.examine(progress.arrays, exam)
    places = [workshop.site(number) for number in range(described.task.spread.sites)]
    rows = quality_rows({"before": before, "after": after}, places)
    if picture is not None:
        sheet(places[0], {"before": before, "after": after}).save(picture)
        say(f"wrote {picture}")
    if json:
        print_json([{"of": name, "before": first, "after": second} for name, first, second in rows])
        return
    print_table("judged quality of held-out captions", ("of", "before", "after"), rows)


@app.command()
def attack(
    folder: Folder,
    pictures: Annotated[int, typer.Option(help="Of every site, at most, and as many that it has not.", min=2)] = 200,
    seed: Annotated[int, typer.Option(help="Of noise and intervals.", min=0)] = 0,
    json: AsJson = False,
) -> None:
    """Attack what a run learnt: how well can the pictures of a site be told from others of the same kind?"""
    _needs_torch()
    from dataclasses import asdict

    from edgegen.tune.attacking import attack_run
    from edgegen.tune.pictures import Workshop
    from edgegen.tune.running import reopen

    described, progress = reopen(folder)
    say(f"asking the network about the pictures of {described.task.spread.sites} sites, and about others")
    found = attack_run(Workshop(described.task), progress.arrays, most=pictures, seed=seed)
    if json:
        print_json([asdict(one) for one in found])
        return
    rows = [
        (one.site, name, f"{leak.auc:.3f}", f"{leak.low:.3f} to {leak.high:.3f}", f"{leak.certain:.1%}", leak.members)
        for one in found
        for name, leak in (("has the model", one.by_loss), ("has its base, too", one.calibrated))
    ]
    columns = ("site", "the attacker", "AUC", "95 % interval", "found at 1 % false alarms", "pictures")
    print_table("membership inference: 0.5 is guessing, 1 is certainty", columns, rows)


@app.command()
def publish(
    folder: Folder,
    name: Annotated[str, typer.Argument(help="Of the new model, such as shapes-s-harbour.")],
    models: Annotated[Path, typer.Option(help="The folder of models that the gateway looks into.")] = Path(
        "edgegen-runs/models"
    ),
    gateway: Annotated[str | None, typer.Option(help="Address of a running gateway that is to serve it.")] = None,
    key: Annotated[str | None, typer.Option(envvar="EDGEGEN_KEY", help="A key with the scope admin.")] = None,
    nodes: Annotated[
        list[str] | None, typer.Option("--node", help="A node that may run it; repeat. Default: all that run its base.")
    ] = None,
    captions: Annotated[int, typer.Option(help="Pictures to judge per category and step count.", min=1)] = 24,
    json: AsJson = False,
) -> None:
    """Put what a run learnt into the catalogue, with its measured profile; a running gateway serves it at once."""
    _needs_torch()
    from dataclasses import replace

    from edgegen.cli.profile_view import progress_bar
    from edgegen.generate.measure import QUICK
    from edgegen.tune.pictures import Workshop
    from edgegen.tune.publishing import announce, learnt_on, write_model
    from edgegen.tune.running import reopen
    from edgegen.tune.showing import before_and_after

    described, progress = reopen(folder)
    if described.task.mode not in ("ffa", "fedit", "fedex"):
        raise InputError(
            f"mode {described.task.mode!r} makes no adapter; publish a run of ffa, fedit or fedex", param="run"
        )
    workshop = Workshop(described.task)
    say("judging it beside its base, at several numbers of steps")
    judged = before_and_after(workshop, progress.arrays, per_object=min(6, captions))
    provenance = {**described.plain(), "rounds": len(progress.history), "ended": progress.ended, "judged": judged}
    workshop.parts.put(workshop.base, progress.arrays)
    learnt = learnt_on(workshop.base, described.task.lora, progress.arrays, provenance=provenance)
    with progress_bar() as bar:
        written = write_model(learnt, models, name, plan=replace(QUICK, captions_per_category=captions), progress=bar)
    answer = announce(gateway, name, key=key, nodes=nodes) if gateway else None
    if json:
        print_json({"folder": str(written), "gateway": answer})
        return
    say(f"wrote {written}" + (f"; {gateway} serves it: ask for model {name!r}, or for auto" if gateway else ""))


def _told(progress: Progress, described: Run) -> None:
    last = progress.history[-1]
    parts = [f"round {last.number} of {described.settings.rounds}", f"{last.answered} of {last.asked} sites"]
    parts += [f"loss {last.metrics['loss']:.3f}"] if "loss" in last.metrics else []
    parts += [f"epsilon {last.epsilon:.2f}"] if last.epsilon is not None else []
    say(", ".join([*parts, f"{last.wire_bytes / 1e3:.0f} kB", f"{last.elapsed_s:.0f} s"]))


def _show(described: Run, progress: Progress, folder: Path, json: bool) -> None:
    from dataclasses import asdict

    from edgegen.tune.showing import rounds_table

    if json:
        rounds = [asdict(one) for one in progress.history]
        print_json({"run": str(folder), **described.plain(), "rounds": rounds, "ended": progress.ended})
        return
    columns, lines = rounds_table(progress)
    print_table(f"{folder}: {described.settings.mode}, {described.task.base}", columns, lines)
    say(f"ended by: {progress.ended}" if progress.ended else "cut off; edgegen tune run goes on with it")


def _said(values: dict[str, Any], filled: dict[str, Any] | None = None) -> dict[str, Any]:
    """Leave out what was not said; tables add to those of a file."""
    known = filled or {}
    merged = {
        name: {**known.get(name, {}), **value} if isinstance(value, dict) else value for name, value in values.items()
    }
    return {name: value for name, value in merged.items() if value not in (None, {})}


def _needs_torch() -> None:
    from importlib.util import find_spec

    if missing := [name for name in ("torch", "peft", "flwr") if find_spec(name) is None]:
        raise InputError(
            f"federated fine-tuning needs {', '.join(missing)}, not installed here: pip install 'edgegen[train,federated]'"
        )
