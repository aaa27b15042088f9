"""What a model costs and gives on a machine: quality, time, memory and energy, measured, with provenance.

The same file feeds the planner, the simulator, the replay and the live gateway. `docs/profiles.md` describes it
field by field. Everything is SI: seconds, joules, watts, bytes.
"""

import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np

from edgegen.core.curve import Curve, Fit
from edgegen.core.errors import ProfileError, UnknownNameError, suggest
from edgegen.core.fits import Floats

FORMAT_VERSION = 1
ANY = "any"
"""Name of the quality curve of a model that was not measured per category of prompts."""

PROMPT_FOLLOWING = "prompt_following"
"""Quality scale of the built-in models: expected share of the prompt's attributes that the picture shows."""

FID_NORMALISED = "fid_normalised"
"""Quality scale of profiles made from published scores: 1 - FID / 100, clipped to [0, 1]."""

ENERGY_METHODS = ("measured", "declared")


@dataclass(frozen=True)
class QualityPoint:
    """One measured point of a quality curve, before it was made monotone.

    steps: denoising steps. quality: in [0, 1]. low, high: 95 % interval. n: pictures judged. None: not published.
    """

    steps: int
    quality: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class StepPoint:
    """One measured point of the step time.

    batch: pictures in one step. step_s: median seconds of the step. low_s, high_s: quartiles. n: repeats.
    """

    batch: int
    step_s: float
    low_s: float | None = None
    high_s: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Provenance:
    """Where the figures come from.

    method: how they were obtained. device: the machine in words. revision: of the model or of the source.
    date: ISO date of the measurement or publication. n: pictures judged per point of a quality curve, if known.
    sources: public sources. formulas: derived field -> its formula. assumed: field -> why, for values that nobody
    measured on this device with this model. cautions: what not to read into the figures.
    load_average: of the machine before the measurement, if it was made by `edgegen profile measure`.
    """

    method: str
    device: str
    date: str
    revision: str | None = None
    n: int | None = None
    sources: tuple[str, ...] = ()
    formulas: Mapping[str, str] = field(default_factory=dict)
    assumed: Mapping[str, str] = field(default_factory=dict)
    cautions: tuple[str, ...] = ()
    load_average: float | None = None


@dataclass(frozen=True)
class Profile:
    """What one model costs and gives on one machine.

    model, device: names. picture_px: side of a picture. sampler: solver behind the quality curve.
    guidance: guidance scale, if any. passes_per_step: calls of the network in one denoising step, already
    contained in `step_s`. steps: step counts that may be asked for, ascending. quality_scale: what quality means.
    quality: prompt category -> curve over steps; the monotone table of what was measured.
    step_s: curve over batch size, seconds of one step of the whole batch. fixed_s: seconds per picture outside of
    the steps. load_s: seconds until a cold model is ready. memory_bytes: while it is loaded.
    power_w: of the machine while it generates, on top of nothing (see `energy_scope`). energy_method: "measured"
    by counters or "declared" watts x seconds. quality_points, quality_fits, step_points, step_fit: the raw points
    and the approximations with their residuals.
    """

    model: str
    device: str
    picture_px: int
    steps: tuple[int, ...]
    quality_scale: str
    quality: Mapping[str, Curve]
    step_s: Curve
    fixed_s: float
    load_s: float
    memory_bytes: int
    power_w: float
    energy_method: str
    energy_scope: str
    provenance: Provenance
    sampler: str | None = None
    guidance: float | None = None
    passes_per_step: int = 1
    quality_points: Mapping[str, tuple[QualityPoint, ...]] = field(default_factory=dict)
    quality_fits: Mapping[str, tuple[Fit, ...]] = field(default_factory=dict)
    step_points: tuple[StepPoint, ...] = ()
    step_fit: Fit | None = None
    format_version: int = FORMAT_VERSION

    def __post_init__(self):
        _check_version(self.format_version)
        _check_steps(self.steps)
        _check_quality(self.quality, self.steps)
        for name in ("picture_px", "memory_bytes", "power_w", "passes_per_step"):
            if not getattr(self, name) > 0:
                raise ProfileError(f"{name} must be > 0, got {getattr(self, name)}", param=name)
        for name in ("fixed_s", "load_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ProfileError(f"{name} must be >= 0 seconds, got {getattr(self, name)}", param=name)
        if not (float(self.step_s(1)) > 0 and self.step_s.is_rising):
            raise ProfileError(
                f"step_s must be > 0 and not fall with the batch, got {float(self.step_s(1)):g} s at batch 1",
                param="step_s",
            )
        if self.energy_method not in ENERGY_METHODS:
            raise ProfileError(
                f"energy method must be one of {', '.join(ENERGY_METHODS)}, got {self.energy_method!r}",
                param="energy_method",
            )

    @overload
    def quality_at(self, category: str, steps: int | float) -> float: ...
    @overload
    def quality_at(self, category: str, steps: Floats | list[int] | tuple[int, ...]) -> Floats: ...
    def quality_at(self, category, steps):
        """Return the expected quality in [0, 1] of a prompt of this category after so many steps.

        Between measured step counts the curve is interpolated, outside of them it is clamped. A profile that was
        not measured per category answers every category with the same curve.
        """
        curve = self.quality.get(category) or self.quality.get(ANY)
        if curve is None:
            known = ", ".join(self.quality)
            raise ProfileError(
                f"the profile of {self.model} on {self.device} has no quality for category {category!r};"
                f"{suggest(category, self.quality)} it has: {known}"
            )
        values = curve(steps)
        return float(values) if values.ndim == 0 else values

    def step_s_at(self, batch: int = 1) -> float:
        """Return the seconds of one denoising step of a batch."""
        if batch < 1:
            raise ProfileError(f"batch must be >= 1, got {batch}")
        return float(self.step_s(batch))

    def generate_s(self, steps: int, batch: int = 1) -> float:
        """Return the seconds until a batch is finished on a machine that has the model in memory.

        Encoding and decoding are counted per picture: an engine whose pictures join and leave between steps does
        them one by one.
        """
        return batch * self.fixed_s + steps * self.step_s_at(batch)

    def step_j(self, batch: int = 1) -> float:
        """Return the joules of one denoising step of a batch."""
        return self.power_w * self.step_s_at(batch)

    def generate_j(self, steps: int, batch: int = 1) -> float:
        """Return the joules until a batch is finished."""
        return self.power_w * self.generate_s(steps, batch)

    @classmethod
    def load(cls, path: str | Path) -> "Profile":
        """Read a profile file (.json, or .toml written by hand) and check it."""
        from edgegen.core.profile_file import read  # pydantic is only needed where files are read

        return read(Path(path))

    def save(self, path: str | Path) -> Path:
        """Write the profile as JSON and return the path."""
        from edgegen.core.profile_file import write

        return write(self, Path(path))


def packaged() -> list[str]:
    """Return the names of the profiles that come with the package."""
    return sorted(entry.name.removesuffix(".json") for entry in _folder().iterdir() if entry.name.endswith(".json"))


def load_packaged(name: str) -> Profile:
    """Return a profile that comes with the package, by its name in `packaged()`."""
    if name not in packaged():
        raise UnknownNameError("packaged profile", name, packaged())
    with importlib.resources.as_file(_folder() / f"{name}.json") as path:
        return Profile.load(path)


def load_profile(name: str | Path) -> Profile:
    """Return a profile by the path of its file, or by the name of a packaged one."""
    if isinstance(name, Path) or name.endswith((".json", ".toml")):
        return Profile.load(name)
    return load_packaged(name)


def _folder():
    return importlib.resources.files("edgegen") / "data" / "profiles"


def _check_version(version: int) -> None:
    if version != FORMAT_VERSION:
        raise ProfileError(
            f"this release reads profiles of format_version {FORMAT_VERSION}, got {version};"
            " measure the model again with `edgegen profile measure`, or use the release that wrote the file",
            param="format_version",
        )


def _check_steps(steps: tuple[int, ...]) -> None:
    if not steps or any(count < 1 for count in steps) or list(steps) != sorted(set(steps)):
        raise ProfileError(
            f"steps must be step counts >= 1 in rising order without repeats, got {list(steps)}",
            param="steps",
        )


def _check_quality(quality: Mapping[str, Curve], steps: tuple[int, ...]) -> None:
    if not quality:
        raise ProfileError(f"quality needs at least one curve (category {ANY!r} if there are none)", param="quality")
    for category, curve in quality.items():
        values = curve(np.asarray(steps, dtype=np.float64))
        if not np.all((values >= 0) & (values <= 1)):
            raise ProfileError(
                f"quality must be in [0, 1], got {values.min():g} to {values.max():g} for category {category!r}",
                param=f"quality.curves.{category}",
            )
        if not curve.is_rising:
            raise ProfileError(
                f"quality must not fall with steps, but the curve of category {category!r} does;"
                " project it with monotone() first",
                param=f"quality.curves.{category}",
            )
