"""The file of a profile: parsed and checked here once, so that `Profile` itself never parses anything."""

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgegen.core.curve import Curve, Fit
from edgegen.core.errors import ProfileError, suggest
from edgegen.core.profile import FORMAT_VERSION, Profile, Provenance, QualityPoint, StepPoint

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
AtLeastZero = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    """Unknown fields are errors: a misspelt or wrongly scaled field must not silently be a default."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class CurveFile(_Part):
    """A `Curve` as plain data: a form with its parameters, or a table with its points."""

    form: str
    params: dict[str, float] | None = None
    x: list[float] | None = None
    y: list[float] | None = None

    def build(self) -> Curve:
        """Return the core value."""
        return Curve.from_dict(self.model_dump(exclude_none=True))


class FitFile(_Part):
    """A `Fit`."""

    curve: CurveFile
    rmse: AtLeastZero
    max_error: AtLeastZero
    r2: float
    n: Count

    def build(self) -> Fit:
        """Return the core value."""
        return Fit(self.curve.build(), self.rmse, self.max_error, self.r2, self.n)


class QualityPointFile(_Part):
    """A `QualityPoint`."""

    steps: Count
    quality: Share
    low: Share | None = None
    high: Share | None = None
    n: Count | None = None


class QualityFile(_Part):
    """Quality against steps, per prompt category."""

    scale: str
    curves: dict[str, CurveFile]
    points: dict[str, list[QualityPointFile]] = {}
    fits: dict[str, list[FitFile]] = {}


class StepPointFile(_Part):
    """A `StepPoint`."""

    batch: Count
    step_s: Positive
    low_s: Positive | None = None
    high_s: Positive | None = None
    n: Count | None = None


class TimeFile(_Part):
    """Seconds."""

    step_s: CurveFile
    fixed_s: AtLeastZero
    load_s: AtLeastZero
    step_points: list[StepPointFile] = []
    step_fit: FitFile | None = None


class EnergyFile(_Part):
    """Watts while generating, how they are known and what they include."""

    power_w: Positive
    method: Literal["measured", "declared"]
    scope: str


class ProvenanceFile(_Part):
    """A `Provenance`."""

    method: str
    device: str
    date: Annotated[str, Field(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$")]
    revision: str | None = None
    n: Count | None = None
    sources: list[str] = []
    formulas: dict[str, str] = {}
    assumed: dict[str, str] = {}
    cautions: list[str] = []
    load_average: AtLeastZero | None = None


class ProfileFile(_Part):
    """A whole profile file."""

    format_version: int
    model: Annotated[str, Field(min_length=1)]
    device: Annotated[str, Field(min_length=1)]
    picture_px: Count
    sampler: str | None = None
    guidance: AtLeastZero | None = None
    passes_per_step: Count = 1
    steps: list[Count]
    quality: QualityFile
    time: TimeFile
    memory_bytes: Count
    energy: EnergyFile
    provenance: ProvenanceFile

    def build(self) -> Profile:
        """Return the core value."""
        about: dict[str, Any] = self.provenance.model_dump() | {
            "sources": tuple(self.provenance.sources),
            "cautions": tuple(self.provenance.cautions),
        }
        points = {
            category: tuple(QualityPoint(**point.model_dump()) for point in points)
            for category, points in self.quality.points.items()
        }
        return Profile(
            model=self.model,
            device=self.device,
            picture_px=self.picture_px,
            sampler=self.sampler,
            guidance=self.guidance,
            passes_per_step=self.passes_per_step,
            steps=tuple(self.steps),
            quality_scale=self.quality.scale,
            quality={name: _curve(f"quality.curves.{name}", curve) for name, curve in self.quality.curves.items()},
            quality_points=points,
            quality_fits={name: tuple(fit.build() for fit in fits) for name, fits in self.quality.fits.items()},
            step_s=_curve("time.step_s", self.time.step_s),
            step_points=tuple(StepPoint(**point.model_dump()) for point in self.time.step_points),
            step_fit=self.time.step_fit.build() if self.time.step_fit else None,
            fixed_s=self.time.fixed_s,
            load_s=self.time.load_s,
            memory_bytes=self.memory_bytes,
            power_w=self.energy.power_w,
            energy_method=self.energy.method,
            energy_scope=self.energy.scope,
            provenance=Provenance(**about),
            format_version=self.format_version,
        )


def read(path: Path) -> Profile:
    """Read and check a profile file; every error names the file and the field."""
    if path.suffix not in (".json", ".toml"):
        raise ProfileError(f"a profile file ends in .json or .toml, got {path}")
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ProfileError(f"cannot read the profile {path}: {error.strerror or error}") from error
    except ValueError as error:  # JSONDecodeError, TOMLDecodeError and UnicodeDecodeError
        raise ProfileError(f"{path} is not valid {path.suffix[1:].upper()}: {error}") from error
    try:
        return parse(data)
    except ProfileError as error:
        raise ProfileError(f"{path}: {error}", param=error.param) from error


def parse(data: Any) -> Profile:
    """Build a profile from plain data, or say which field is wrong."""
    if not isinstance(data, dict):
        raise ProfileError(f"a profile is a table of fields, got {type(data).__name__}")
    version = data.get("format_version")
    if version != FORMAT_VERSION:  # first, because another version may well have other fields
        raise ProfileError(
            f"this release reads profiles of format_version {FORMAT_VERSION}, got {version!r};"
            " measure the model again with `edgegen profile measure`, or use the release that wrote the file",
            param="format_version",
        )
    try:
        return ProfileFile.model_validate(data).build()
    except ValidationError as error:
        raise _explain(error) from error


def dump(profile: Profile) -> dict[str, Any]:
    """Return plain data for a file; `parse` reads it back to an equal profile."""
    energy = {"power_w": profile.power_w, "method": profile.energy_method, "scope": profile.energy_scope}
    points = {name: [_plain(point) for point in points] for name, points in profile.quality_points.items()}
    time: dict[str, Any] = {
        "step_s": profile.step_s.to_dict(),
        "fixed_s": profile.fixed_s,
        "load_s": profile.load_s,
        "step_points": [_plain(point) for point in profile.step_points],
    }
    if profile.step_fit:
        time["step_fit"] = profile.step_fit.to_dict()
    head = {
        "format_version": profile.format_version,
        "model": profile.model,
        "device": profile.device,
        "picture_px": profile.picture_px,
        "sampler": profile.sampler,
        "guidance": profile.guidance,
        "passes_per_step": profile.passes_per_step,
        "steps": list(profile.steps),
        "quality": {
            "scale": profile.quality_scale,
            "curves": {name: curve.to_dict() for name, curve in profile.quality.items()},
            "points": points,
            "fits": {name: [fit.to_dict() for fit in fits] for name, fits in profile.quality_fits.items()},
        },
        "time": time,
        "memory_bytes": profile.memory_bytes,
        "energy": energy,
        "provenance": _plain(profile.provenance),
    }
    return {name: value for name, value in head.items() if value is not None}


def text(profile: Profile) -> str:
    """Return the text of the file."""
    return _layout(dump(profile)) + "\n"


def write(profile: Profile, path: Path) -> Path:
    """Write a profile file and return its path."""
    check_path(path)
    try:
        path.write_text(text(profile), encoding="utf-8")
    except OSError as error:
        raise ProfileError(f"cannot write the profile {path}: {error.strerror or error}") from error
    return path


def check_path(path: Path) -> Path:
    """Return the path if a profile can be written there, or say why not."""
    if path.suffix != ".json":
        raise ProfileError(f"profiles are written as .json files, got {path}", param="out")
    if not path.parent.is_dir():
        raise ProfileError(f"cannot write the profile {path}: there is no folder {path.parent}", param="out")
    return path


def _curve(where: str, curve: CurveFile) -> Curve:
    try:
        return curve.build()
    except ProfileError as error:
        raise ProfileError(f"{where}: {error}", param=where) from error


def _plain(record: Any) -> dict[str, Any]:
    """Return the fields of a record that say something."""
    fields = dataclasses.asdict(record)
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    return {name: value for name, value in plain.items() if value is not None and value not in ([], {})}


def _layout(value: Any, depth: int = 0) -> str:
    """Return JSON in which whatever fits stands on one line, so that points read like a table."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + depth <= 110 or not isinstance(value, (dict, list)) or not value:
        return line
    pad = " " * (depth + 1)
    if isinstance(value, dict):
        parts = [f"{pad}{json.dumps(key)}: {_layout(part, depth + 1)}" for key, part in value.items()]
        return "{\n" + ",\n".join(parts) + "\n" + " " * depth + "}"
    return "[\n" + ",\n".join(pad + _layout(part, depth + 1) for part in value) + "\n" + " " * depth + "]"


def _explain(error: ValidationError) -> ProfileError:
    """Say in words what is wrong with the first offending field."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    match first["type"]:
        case "extra_forbidden":
            known = _fields(first["loc"][:-1])
            hint = suggest(str(first["loc"][-1]), known)
            units = " (units are part of the names: _s, _j, _w, _bytes)" if hint else ""
            message = f"{where}: no such field;{hint}{units} known here: {', '.join(known)}"
        case "missing":
            message = f"{where}: this field is missing"
        case _:
            message = f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}, got {first['input']!r}"
    return ProfileError(message, param=where)


def _fields(where: tuple) -> list[str]:
    """Return the names of the fields at a place in a file."""
    part: Any = ProfileFile
    for step in where:
        if isinstance(part, type) and issubclass(part, BaseModel):
            part = part.model_fields[step].annotation
        else:  # a key of a dict or an index of a list: look at what it holds
            part = get_args(part)[-1]
        options = [option for option in get_args(part) if isinstance(option, type) and issubclass(option, BaseModel)]
        if type(None) in get_args(part) and options:
            part = options[0]
    return list(part.model_fields)
