"""`edgegen profile`: measure a model on this machine, and look at profiles."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgegen.cli.output import AsJson, print_json, print_table, say
from edgegen.core.errors import InputError

if TYPE_CHECKING:
    from edgegen.core.profile import Profile

app = typer.Typer(
    help="Measure what a model costs and gives on this machine, and look at profiles.", no_args_is_help=True
)

Which = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A packaged profile, or the path of a profile file.")]


@app.command("list")
def list_profiles(json: AsJson = False) -> None:
    """List the profiles that come with the package."""
    from edgegen.core.profile import load_packaged, packaged

    profiles = [(name, load_packaged(name)) for name in packaged()]
    if json:
        print_json([_summary(name, profile) for name, profile in profiles])
        return
    rows = [
        (
            name,
            profile.device,
            f"{profile.picture_px} px",
            _span(profile.steps),
            _si(profile.step_s_at(), "s"),
            _si(profile.memory_bytes, "B"),
            _si(profile.power_w, "W"),
            profile.energy_method,
        )
        for name, profile in profiles
    ]
    columns = ("profile", "device", "picture", "steps", "per step", "memory", "power", "power is")
    print_table("packaged profiles", columns, rows)


@app.command()
def show(
    profile: Which,
    json: AsJson = False,
    plot: Annotated[Path | None, typer.Option(help="Write a picture of the curves to this PNG file.")] = None,
) -> None:
    """Show one profile: its curves, their residuals, and where the figures come from."""
    from edgegen.core.profile import load_profile

    loaded = load_profile(profile)
    if plot is not None:
        from edgegen.cli.profile_view import write_plot

        write_plot(loaded, plot)
        say(f"wrote {plot}")
    if json:
        from edgegen.core.profile_file import dump

        print_json(dump(loaded))
        return
    from edgegen.cli.profile_view import print_profile

    print_profile(loaded)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A profile file.")],
    json: AsJson = False,
) -> None:
    """Check that a profile file can be used; the error names the field that is wrong."""
    from edgegen.core.profile import Profile

    profile = Profile.load(file)
    if json:
        print_json({"file": str(file), "valid": True, **_summary(file.stem, profile)})
        return
    say(f"{file} is a valid profile of {profile.model} on {profile.device}")


@app.command()
def measure(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A built-in model, or the folder of an ONNX model.")],
    device: Annotated[str | None, typer.Option(help="Name of this machine in the profile.")] = None,
    power_w: Annotated[
        float | None,
        typer.Option(min=0.001, help="Watts while one worker generates, where no counter can be read."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer pictures and steps: a first look in seconds.")] = False,
    captions: Annotated[int | None, typer.Option(min=1, help="Pictures to judge per category and step count.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of captions and noise.")] = 0,
    clock: Annotated[
        str, typer.Option(help="`wall`, or `processor` on a machine that others use at the same time.")
    ] = "wall",
    out: Annotated[Path | None, typer.Option(help="Profile file to write [default: MODEL.json].")] = None,
    json: AsJson = False,
) -> None:
    """Measure time, memory, energy and quality of a model on this machine and write its profile."""
    import dataclasses

    from edgegen.cli.profile_view import print_profile, progress_bar
    from edgegen.core.profile_file import check_path

    target = check_path(out or Path(f"{Path(model).name}.json"))  # before the work, not after it
    from edgegen.generate.measure import FULL, QUICK
    from edgegen.generate.measure import measure as measure_profile

    plan = dataclasses.replace(QUICK if quick else FULL, seed=seed, clock=clock)
    if captions is not None:
        plan = dataclasses.replace(plan, captions_per_category=captions)
    with progress_bar() as progress:
        measured = measure_profile(model, device_name=device, power_w=power_w, plan=plan, progress=progress)
    measured.save(target)
    if json:
        print_json({"file": str(target), **_summary(target.stem, measured)})
        return
    print_profile(measured)
    say(f"wrote {target}")


@app.command()
def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL|FOLDER", help="A built-in model, or a diffusers pipeline's folder.")
    ],
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    json: AsJson = False,
) -> None:
    """Export a pipeline to ONNX, so that device-class nodes run it without torch. Needs the `train` extra."""
    from edgegen.generate.pipelines import check_exportable

    check_exportable(model)  # torch and diffusers take seconds, and have things to say while they load
    try:
        from edgegen.train.export_pipeline import export as export_pipeline
    except ImportError as error:
        raise InputError(f"exporting needs torch and diffusers ({error}): pip install edgegen[train]") from error

    files = export_pipeline(model, out, lambda part: None if json else say(f"exporting {part}"))
    if json:
        print_json({"folder": str(out), "files": {file.name: file.stat().st_size for file in files}})
        return
    say(f"wrote {out}: {', '.join(file.name for file in files)}")


def _summary(name: str, profile: "Profile") -> dict[str, object]:
    return {
        "name": name,
        "model": profile.model,
        "device": profile.device,
        "picture_px": profile.picture_px,
        "steps": list(profile.steps),
        "quality_scale": profile.quality_scale,
        "quality": {category: profile.quality_at(category, profile.steps[-1]) for category in profile.quality},
        "step_s": profile.step_s_at(),
        "fixed_s": profile.fixed_s,
        "load_s": profile.load_s,
        "memory_bytes": profile.memory_bytes,
        "power_w": profile.power_w,
        "energy_method": profile.energy_method,
        "assumed": sorted(profile.provenance.assumed),
    }


def _si(value: float, unit: str) -> str:
    from edgegen.core.units import format_si

    return format_si(value, unit)


def _span(steps: tuple[int, ...]) -> str:
    low, high = min(steps), max(steps)
    return str(low) if low == high else f"{low}-{high}"
