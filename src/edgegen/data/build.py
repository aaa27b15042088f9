"""Make the packaged profiles of real models and devices from the published facts in `facts/`.

`scripts/build_profiles` runs this; the same facts always give the same files. `fleet.csv` lists the profiles, the
other tables hold facts, each row with its public source. Nothing here is measured by us, and every number that is
not in a table carries its formula or the reason why it was assumed.
"""

import csv
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np

from edgegen.core.curve import Curve, Fit, fit_all, tidy
from edgegen.core.profile import ANY, FID_NORMALISED, Profile, Provenance, QualityPoint, StepPoint
from edgegen.core.profile_file import text

FOLDER = Path(__file__).parent / "profiles"

Row = dict[str, str]

SHAPE_SOLVER = "DPM-Solver++(3M)"
SHAPE_SOURCE = "https://github.com/zju-pi/diff-sampler diff-solvers-main/README.md"
FID_OF_QUALITY_ZERO = 100.0


@dataclass(frozen=True)
class Timing:
    """What a recipe reads from a fact table about the time (and sometimes the power) of a model on a device."""

    step_s: Curve
    fixed_s: float
    method: str
    source: str
    formulas: dict[str, str]
    cautions: tuple[str, ...] = ()
    assumed: dict[str, str] = field(default_factory=dict)
    points: tuple[StepPoint, ...] = ()
    fit: Fit | None = None
    power_w: float | None = None
    power_scope: str = ""


def facts(table: str) -> list[Row]:
    """Return the rows of a fact table; lines that start with # explain units, sources and cautions."""
    text = (resources.files("edgegen.data") / "facts" / f"{table}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO("".join(part for part in text.splitlines(True) if part[0] != "#"))))


def fact(table: str, key: str) -> Row:
    """Return the row of a fact table with this id."""
    rows = [row for row in facts(table) if row["id"] == key]
    if len(rows) != 1:
        raise LookupError(f"{table}.csv must have exactly one row with id {key!r}, it has {len(rows)}")
    return rows[0]


def build() -> dict[str, Profile]:
    """Return all profiles of `fleet.csv` by name."""
    return {row["profile"]: _profile(row) for row in facts("fleet")}


def _profile(row: Row) -> Profile:
    model, device = fact("models", row["model"]), fact("devices", row["device"])
    timing = RECIPES[row["recipe"]](row)
    steps = tuple(int(count) for count in row["steps"].split())
    curve, points, quality_source, quality_assumed = _quality(row["quality"], steps)
    memory_bytes = round(float(model["params"]) * float(model["bytes_per_param"]))
    load_s = memory_bytes / float(device["read_bytes_per_s"])
    power_w, energy_method, energy_scope, energy_assumed = _power(timing, device)
    formulas = timing.formulas | {
        "memory_bytes": "parameters x bytes per parameter (weights only, without activations)",
        "load_s": f"memory_bytes / {float(device['read_bytes_per_s']):g} bytes per second",
        "quality": f"1 - FID / {FID_OF_QUALITY_ZERO:g}, clipped to [0, 1]",
    }
    assumed = timing.assumed | quality_assumed | energy_assumed
    assumed["load_s"] = "weights come from storage at a round rate of this class of device; compiling is not counted"
    sources = dict.fromkeys([timing.source, model["source"], *quality_source])
    if device["kind"] == "declared" and energy_method == "declared":
        sources[device["source"]] = None
    return Profile(
        model=row["model"],
        device=device["device"],
        picture_px=int(model["px"]),
        sampler=model["sampler"],
        passes_per_step=int(model["passes"]),
        steps=steps,
        quality_scale=FID_NORMALISED,
        quality={ANY: curve},
        quality_points={ANY: points},
        quality_fits={ANY: _fits(curve)},
        step_s=timing.step_s,
        step_points=timing.points,
        step_fit=timing.fit,
        fixed_s=timing.fixed_s,
        load_s=tidy(load_s),
        memory_bytes=memory_bytes,
        power_w=power_w,
        energy_method=energy_method,
        energy_scope=energy_scope,
        provenance=Provenance(
            method=f"{timing.method}; built from published figures, not measured by us",
            device=device["device"],
            date=row["date"],
            revision=model["model"],
            sources=tuple(sources),
            formulas=formulas,
            assumed=assumed,
            cautions=(*timing.cautions, "FID does not rank models as people do: compare step counts, not models"),
        ),
    )


# ------------------------------------------------------------------------------------------------------- quality


def _quality(key: str, steps: tuple[int, ...]) -> tuple[Curve, tuple[QualityPoint, ...], list[str], dict[str, str]]:
    """Return curve, published point, sources and assumptions of a model's quality."""
    point = fact("quality_points", key)
    fid, sources, assumed = float(point["fid"]), [point["source"]], {}
    if point["reference"]:
        reference, common = fact("quality_points", point["reference"]), fact("quality_points", point["common"])
        fid *= float(common["fid"]) / float(reference["fid"])
        sources.append(common["source"])
        assumed["quality.level"] = (
            f"FID {point['fid']} on {point['set']} carried over to {common['set']} by the ratio of {common['model']}"
            f" on both ({common['fid']} / {reference['fid']})"
        )
    at = int(point["steps"])
    anchor = QualityPoint(at, _quality_of(fid))
    if steps == (at,):
        return Curve.table([at], [anchor.quality]), (anchor,), sources, assumed
    assumed["quality.curve"] = (
        f"no curve of this model over steps is published: FID(k) = {fid:.6g} + solver FID(k) - solver FID(10) with"
        f" {SHAPE_SOLVER} on ImageNet 64 x 64, flat from 10 steps on"
    )
    shape = {int(row["nfe"]): float(row["fid"]) for row in facts("solver_fid") if row["solver"] == SHAPE_SOLVER}
    last = max(shape)
    values = [_quality_of(fid + shape[count] - shape[last]) for count in sorted(shape)]
    return Curve.table([*sorted(shape), at], [*values, anchor.quality]), (anchor,), [*sources, SHAPE_SOURCE], assumed


def _quality_of(fid: float) -> float:
    return tidy(float(np.clip(1 - fid / FID_OF_QUALITY_ZERO, 0, 1)))


def _fits(curve: Curve) -> tuple[Fit, ...]:
    if len(curve.x or ()) < 3:
        return ()
    return tuple(fit.tidy() for fit in fit_all(curve.x or (), curve.y or ()))


# --------------------------------------------------------------------------------------------------------- power


def _power(timing: Timing, device: Row) -> tuple[float, str, str, dict[str, str]]:
    """Return watts, method, scope and assumptions."""
    if timing.power_w is not None:
        return timing.power_w, "measured", timing.power_scope, {}
    scope = f"{device['scope']}, while generating; not the rest of the machine"
    if device["kind"] == "declared":
        why = f"the maker's limit of the {device['scope']}, drawn for the whole time: an upper bound"
        return float(device["power_w"]), "declared", scope, {"power_w": why}
    return float(device["power_w"]), "declared", scope, {"power_w": f"{device['source']}; a round number of ours"}


# ------------------------------------------------------------------------------------------------------- recipes

_ONE_AT_A_TIME = "nothing is published about batches: a batch is counted as its pictures one after the other"
_WHOLE = "encoding and decoding are inside of the published time and therefore spread over the steps"


def _mlperf(row: Row) -> Timing:
    run = fact("mlperf_sdxl", row["key"])
    steps, number = int(run["steps"]), int(run["accelerators"])
    method = f"MLPerf Inference {run['round']} {run['division']}, {run['submitter']}, {run['scenario']}"
    if run["scenario"] == "SingleStream":
        step_s = tidy(float(run["lat_mean_s"]) / steps)
        formula = f"mean latency {run['lat_mean_s']} s / {steps} steps; {_WHOLE}"
        assumed = {"step_s.batch": _ONE_AT_A_TIME}
        return Timing(Curve.affine(0, step_s), 0.0, method, run["source"], {"step_s": formula}, assumed=assumed)
    return _throughput(float(run["images_per_s"]), number, steps, method, run["source"])


def _mlperf_power(row: Row) -> Timing:
    run = fact("mlperf_sdxl_wall_power", row["key"])
    number, method = int(run["accelerators"]), f"MLPerf Inference {run['round']} with power, {run['system']}, Offline"
    timing = _throughput(float(run["images_per_s"]), number, 20, method, run["source"])
    formulas = timing.formulas | {"power_w": f"{run['mean_w']} W of the whole server / {number} accelerators"}
    scope = "share of the whole server at the wall (AC), idle power included, under a saturating load"
    return Timing(
        timing.step_s,
        0.0,
        method,
        run["source"],
        formulas,
        timing.cautions,
        timing.assumed,
        power_w=tidy(float(run["mean_w"]) / number),
        power_scope=scope,
    )


def _throughput(images_per_s: float, number: int, steps: int, method: str, source: str) -> Timing:
    step_s = tidy(number / images_per_s / steps)
    formula = f"batch x {number} accelerators / {images_per_s:g} images per second / {steps} steps; {_WHOLE}"
    cautions = (
        "from throughput under a saturating load: time per picture of a busy accelerator, not the latency of one",
    )
    assumed = {"step_s.batch": "proportional to the batch: only the throughput of a saturated system is published"}
    return Timing(Curve.affine(0, step_s), 0.0, method, source, {"step_s": formula}, cautions, assumed)


def _diffserve(row: Row) -> Timing:
    runs = [run for run in facts("diffserve_latency") if run["id"] == row["key"]]
    steps = int(runs[0]["steps"])
    points = tuple(StepPoint(int(run["batch"]), tidy(float(run["latency_ms"]) / 1000 / steps)) for run in runs)
    batches, times = [point.batch for point in points], [point.step_s for point in points]
    fit = Curve.fit("affine", batches, times, relative=True).tidy()
    return Timing(
        fit.curve,
        0.0,
        "DiffServe's profiling runs on A100 80 GB",
        runs[0]["source"],
        {"step_s": f"straight line through latency(batch) / {steps} steps, least relative squares; {_WHOLE}"},
        ("the source gives means without spread",),
        points=points,
        fit=fit,
    )


def _single(row: Row) -> Timing:
    run = fact("lcm_lora_latency", row["key"])
    steps = int(run["steps"])
    return Timing(
        Curve.affine(0, tidy(float(run["latency_s"]) / steps)),
        0.0,
        "one published time of the whole pipeline at batch 1",
        run["source"],
        {"step_s": f"batch x {run['latency_s']} s / {steps} steps; {_WHOLE}"},
        ("a single figure without spread",),
        {"step_s.batch": _ONE_AT_A_TIME},
    )


def _apple(row: Row) -> Timing:
    run = fact("apple_coreml", row["key"])
    steps, per_s, e2e_s = int(run["steps"]), float(run["it_per_s"]), float(run["e2e_s"])
    return Timing(
        Curve.affine(0, tidy(1 / per_s)),
        tidy(e2e_s - steps / per_s),
        f"Core ML Stable Diffusion on {run['compute_unit']}, {run['weights']}, {run['note']}",
        run["source"],
        {
            "step_s": f"batch / {run['it_per_s']} steps per second",
            "fixed_s": f"{run['e2e_s']} s end to end - {steps} steps / {run['it_per_s']} steps per second",
        },
        ("medians of 3 to 5 runs without spread; a hot phone is slower",),
        {"step_s.batch": _ONE_AT_A_TIME},
    )


def _qualcomm(row: Row) -> Timing:
    ms = {run["component"]: run for run in facts("qualcomm_npu") if run["id"] == row["key"]}
    text, unet, vae = (float(ms[part]["inference_ms"]) for part in ("text_encoder", "unet", "vae"))
    return Timing(
        Curve.affine(0, tidy(2 * unet / 1000)),
        tidy((text + vae) / 1000),
        "Qualcomm AI Hub component times on a hosted device, w8a16",
        ms["unet"]["source"],
        {
            "step_s": f"batch x 2 x {unet:g} ms of the U-Net (with and without the prompt)",
            "fixed_s": f"{text:g} ms of the text encoder + {vae:g} ms of the decoder",
        },
        ("components were timed alone: time between them is not counted",),
        {"step_s.batch": _ONE_AT_A_TIME},
    )


RECIPES: dict[str, Callable[[Row], Timing]] = {
    "mlperf": _mlperf,
    "mlperf_power": _mlperf_power,
    "diffserve": _diffserve,
    "single": _single,
    "apple": _apple,
    "qualcomm": _qualcomm,
}
"""How each fact table becomes a time; the keys of the column `recipe` of `fleet.csv`."""


# --------------------------------------------------------------------------------------------------------- files


def differing() -> dict[str, str]:
    """Return name and wanted text of every packaged file that is not what the facts give."""
    wanted = {name: text(profile) for name, profile in build().items()}
    return {name: body for name, body in wanted.items() if _read(FOLDER / f"{name}.json") != body}


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def main(arguments: list[str]) -> int:
    """Write the files that differ, or with --check only name them and fail."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write(f"expected nothing or --check, got {' '.join(arguments)}\n")
        return 2
    files = differing()
    if arguments:
        listed = ", ".join(files) or "none"
        sys.stdout.write(f"packaged profiles that differ from the facts: {listed}\n")
        return int(bool(files))
    for name, body in files.items():
        (FOLDER / f"{name}.json").write_text(body, encoding="utf-8")
    sys.stdout.write(f"{len(files)} profiles written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
