"""`edgegen tune plan`: who takes part in federated tuning, and with what."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgegen.cli.output import AsJson, print_json, print_table, say
from edgegen.cli.quantities import read_quantity

BESIDE = 5  # fixed choices in the table; --json has all


def plan(
    sites: Annotated[Path | None, typer.Argument(help="A file of sites; --example prints one.")] = None,
    target: Annotated[float | None, typer.Option(help="Gain in judged quality; default: as in the file.")] = None,
    time: Annotated[str | None, typer.Option(help="For all rounds together, such as '10 min'.")] = None,
    energy: Annotated[str | None, typer.Option(help="Of all sites together, such as '20 kJ'.")] = None,
    example: Annotated[bool, typer.Option("--example", help="Print an example of a file of sites.")] = False,
    json: AsJson = False,
) -> None:
    """Choose who takes part in federated tuning over radio, their shares of the band, rank, bits, local steps and rounds.

    The plan takes the least time to the target. Beside it stands what is usual: all sites with equal shares and 32 bits.
    Exit code 3 when the target cannot be reached within the limits; what can be reached is printed.
    """
    from dataclasses import replace

    from edgegen.core.errors import InputError
    from edgegen.tune.radio import planning, site_file

    if example:
        sys.stdout.write(site_file.EXAMPLE)
        return
    if sites is None:
        raise InputError("give a file of sites; `edgegen tune plan --example` prints one to begin with")
    limits = planning.Limits(read_quantity(time, "time", "--time"), read_quantity(energy, "energy", "--energy"))
    planned = site_file.load(sites, limits)
    problem = planned.problem if target is None else replace(planned.problem, target=target)
    chosen, usual = planning.compare(problem)
    answer = _answer(planned, problem, chosen, usual)
    if json:
        print_json(answer)
    else:
        _show(answer)


def _answer(planned: Any, problem: Any, chosen: Any, usual: dict[str, Any]) -> dict[str, Any]:
    fitted = planned.fitted
    return {
        "model": problem.sizes.name,
        "mode": problem.mode,
        "target": problem.target,
        "gain": vars(problem.gain),
        "gain_from": "guessed or given" if fitted is None else f"fitted to {fitted.n} runs",
        "gain_rmse": None if fitted is None else fitted.rmse,
        "plan": _plain(chosen) | {"sites": _sites(planned.names, chosen)},
        "usual": {name: None if one is None else _plain(one) for name, one in usual.items()},
    }


def _plain(made: Any) -> dict[str, Any]:
    setting = made.setting
    return {
        **{name: getattr(setting, name) for name in ("rank", "bits", "steps", "rounds")},
        "participants": int(made.asked.sum()),
        "expected_gain": made.gain,
        "time_s": made.time_s,
        "energy_j": made.energy_j,
        "round_bytes": made.round_bytes,
    }


def _sites(names: tuple[str, ...], made: Any) -> list[dict[str, Any]]:
    cost = made.round
    return [
        {
            "name": name,
            "takes_part": bool(made.asked[row]),
            "share": float(made.shares[row]),
            "start_s": float(cost.start_s[row]),
            "download_s": float(cost.down_s[row]),
            "train_s": float(cost.compute_s[row]),
            "upload_s": float(cost.up_s[row]),
            "energy_j": float(cost.energy_j[row]),
        }
        for row, name in enumerate(names)
    ]


def _show(answer: dict[str, Any]) -> None:
    made = answer["plan"]
    columns = ("site", "share", "start (s)", "download (s)", "train (s)", "upload (s)", "energy (J)")
    rows = [
        (
            row["name"],
            *(_short(row[name]) for name in ("share", "start_s", "download_s", "train_s", "upload_s", "energy_j")),
        )
        if row["takes_part"]
        else (row["name"], "not asked", "", "", "", "", "")
        for row in made["sites"]
    ]
    print_table(f"one round of {answer['model']}, {answer['mode']}", columns, rows)
    made_usual = {name: one for name, one in answer["usual"].items() if one is not None}
    nearest = sorted(made_usual.items(), key=lambda item: item[1]["time_s"])[:BESIDE]
    columns = ("choice", "sites", "rank", "bits", "steps", "rounds", "gain", "time (s)", "energy (J)", "MB per round")
    print_table("all rounds", columns, [_line("the plan", made), *(_line(name, one) for name, one in nearest)])
    quality = "" if answer["gain_rmse"] is None else f", root mean square error {answer['gain_rmse']:.2g}"
    say(f"gain: {answer['gain_from']}{quality}; {len(answer['usual']) - len(made_usual)} usual choices never reach it")


def _line(name: str, made: dict[str, Any]) -> tuple:
    figures = (made["expected_gain"], made["time_s"], made["energy_j"], made["round_bytes"] / 1e6)
    settings = (made["participants"], made["rank"], made["bits"], made["steps"], made["rounds"])
    return (name, *settings, *map(_short, figures))


def _short(figure: float) -> float:
    return float(f"{figure:.3g}")
