"""`edgegen builtin`: the models that come with edgegen."""

import time
from pathlib import Path
from typing import Annotated

import typer

from edgegen.cli.output import AsJson, print_json, print_table, say
from edgegen.core.errors import InputError

app = typer.Typer(help="The built-in text-to-image models: list, draw, judge, train.", no_args_is_help=True)

Model = Annotated[str, typer.Option(help="A built-in model; see `edgegen builtin list`.")]
Steps = Annotated[int, typer.Option(min=1, max=100, help="Denoising steps: more take longer and look better.")]


@app.command("list")
def list_(json: AsJson = False) -> None:
    """List the built-in models with their size and measured quality."""
    from edgegen.generate import builtin
    from edgegen.generate.words import CATEGORIES

    cards = [builtin.card(name) for name in builtin.names()]
    if json:
        print_json(cards)
        return
    columns = ("model", "parameters", "guidance", "steps", *CATEGORIES)
    rows = []
    for card in cards:
        steps, shares = max(((int(k), v) for k, v in card["all_right"].items()), key=lambda pair: pair[0])
        parameters = f"{card['parameters'] / 1e6:.2f} M"
        rows.append((card["name"], parameters, card["guidance"], steps, *(shares[c] for c in CATEGORIES)))
    print_table("share of pictures with every attribute right", columns, rows)


@app.command()
def draw(
    prompt: Annotated[str, typer.Argument(help="For instance 'a red circle left of a blue square'.")],
    model: Model = "shapes-l",
    steps: Steps = 16,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same picture.")] = 0,
    out: Annotated[Path, typer.Option(help="Where the PNG goes.")] = Path("picture.png"),
    json: AsJson = False,
) -> None:
    """Make one picture, right here."""
    from PIL import Image

    from edgegen.generate import builtin
    from edgegen.generate.show import make

    began = time.perf_counter()
    picture = make(builtin.folder(model), [prompt], steps=steps, seeds=[seed])[0]
    seconds = time.perf_counter() - began
    Image.fromarray(picture).save(out)
    told = {"prompt": prompt, "model": model, "steps": steps, "seed": seed, "file": str(out), "seconds": seconds}
    if json:
        print_json(told)
    else:
        say(f"{out}: {prompt!r} by {model} in {steps} steps, {seconds:.2f} s with loading")


@app.command()
def judge(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A picture, 64 by 64 or larger.")],
    prompt: Annotated[str, typer.Argument(help="What it should show.")],
    json: AsJson = False,
) -> None:
    """Check a picture against a prompt; exit code 1 when something is wrong."""
    from edgegen.generate.grammar import parse
    from edgegen.generate.judge import Judge
    from edgegen.generate.show import load_picture

    verdict = Judge.load()(load_picture(file)[None], [parse(prompt)])[0]
    if json:
        print_json({"attributes": verdict.attributes, "share": verdict.share, "all_right": verdict.all_right})
    else:
        print_table("", ("attribute", "right"), [(k, "yes" if ok else "NO") for k, ok in verdict.attributes.items()])
    if not verdict.all_right:
        raise typer.Exit(1)


@app.command()
def sheet(
    out: Annotated[Path, typer.Option(help="Where the PNG goes.")] = Path("sheet.png"),
    steps: Annotated[str, typer.Option(help="Step counts, separated by commas.")] = "1,2,4,8,16",
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Draw a contact sheet: steps across, sizes and categories down, held-out captions."""
    from edgegen.generate.show import contact_sheet

    try:
        counts = [int(part) for part in steps.split(",")]
    except ValueError:
        raise InputError(f"steps must be whole numbers separated by commas, got {steps!r}", param="steps") from None
    contact_sheet(counts, seed).save(out)
    say(f"{out}")


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, logs and the finished models.")],
    size: Annotated[str, typer.Option(help="s, m, l, all; or a part: autoencoder, judge, pool.")] = "all",
    steps_scale: Annotated[float, typer.Option(help="Train this much longer (or shorter, for a trial).")] = 1.0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")] = False,
) -> None:
    """Make the built-in models again (needs the `train` extra). A killed run continues with --resume."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    try:
        from edgegen.train.run import run
    except ImportError as error:
        raise InputError(
            f"training needs the train extra ({error.name} is missing): pip install 'edgegen[train]'"
        ) from error
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, TextColumn("{task.fields[figures]}"), console=Console(stderr=True)) as bars:
        shown = {}

        def progress(stage: str, done: int, total: int, figures: dict[str, float]) -> None:
            if stage not in shown:
                shown[stage] = bars.add_task(stage, total=total, figures="")
            text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            bars.update(shown[stage], completed=done, figures=text)

        run(out, size, steps_scale, resume=resume, progress=progress)
    say(f"done: {out}")
