"""A file of sites and their radio, to plan federated rounds for: TOML, quantities as text with a unit.

`EXAMPLE` shows every field. What is missing in `[gain]` is guessed; measured runs (`[[runs]]`) are fitted instead.
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from pydantic import BeforeValidator, ConfigDict, Field

from edgegen.core.errors import ConfigError, InputError
from edgegen.core.units import parse_quantity
from edgegen.physics.channel import path_gain
from edgegen.tune.radio.bands import AbstractBands, OwnBands, SharedBand
from edgegen.tune.radio.cost import Sites
from edgegen.tune.radio.gain import START, Fitted, Gain, Measured, fit
from edgegen.tune.radio.planning import Grid, Limits, Problem
from edgegen.tune.radio.sizes import ATTENTION, EVERYWHERE, MODES, declared

EXAMPLE = """\
# Sites that tune a model together, to be planned with `edgegen tune plan FILE`.

target = 0.25              # gain in judged quality that is wanted
model = "sd-1.5"           # declared size: sd-1.5 or sdxl
mode = "ffa"               # what is exchanged: ffa, fedit, fedex, full, decoder, split
layers = "attention"       # which layers carry adapters: attention or all
batch = 8                  # samples in a local step
band = "shared"            # one band for all, or "own" for each
least_sites = 2            # that take part; with one alone nothing is federated

[grid]                     # what may be chosen
ranks = [1, 2, 4, 8, 16]
bits = [8, 16, 32]
steps = [10, 20, 40, 60, 100]
rounds = [1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30]

[[sites]]
name = "clinic"
pictures = 600
speed = "12 TFLOP"         # per second, while training
power = "60 W"             # while training at that speed
transmit_power = "200 mW"
bandwidth = "20 MHz"       # of the band that it sends in
distance = "90 m"          # to the base station

[[sites]]
name = "school"
pictures = 250
speed = "8 TFLOP"
power = "30 W"
transmit_power = "200 mW"
bandwidth = "20 MHz"
distance = "150 m"
start = "2 s"              # before anything else in a round

[[sites]]
name = "farm"
pictures = 150
speed = "4 TFLOP"
power = "15 W"
transmit_power = "200 mW"
bandwidth = "20 MHz"
distance = "320 m"

# Measured runs replace the guessed gain: value is the fraction of all pictures that the participants hold.
# [[runs]]
# value = 1.0
# rank = 4
# bits = 32
# steps = 20
# rounds = 3
# gain = 0.21
"""


def _quantity(kind: str) -> BeforeValidator:
    def parse(text: Any) -> float:
        try:
            value = parse_quantity(text, kind)
        except InputError as error:
            raise ValueError(str(error)) from None
        if value < 0:
            raise ValueError(f"expected a {kind} >= 0, got {text!r}")
        return value

    return BeforeValidator(parse)


class _Section(pydantic.BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SiteSection(_Section):
    """One site."""

    name: str
    pictures: Annotated[float, Field(gt=0)]
    speed: Annotated[float, _quantity("compute work"), Field(gt=0)]
    power: Annotated[float, _quantity("power")]
    transmit_power: Annotated[float, _quantity("power"), Field(gt=0)]
    bandwidth: Annotated[float, _quantity("frequency"), Field(gt=0)]
    distance: Annotated[float, _quantity("distance"), Field(gt=0)]
    start: Annotated[float, _quantity("time")] = 0.0
    server_power: Annotated[float, _quantity("power"), Field(gt=0)] = 1.0  # of the base station towards it


class GainSection(_Section):
    """The numbers of `gain.Gain`."""

    top: Annotated[float, Field(gt=0)] = START.top
    coverage: Annotated[float, Field(ge=0)] = START.coverage
    pace: Annotated[float, Field(gt=0)] = START.pace
    drift: Annotated[float, Field(gt=0, le=1)] = START.drift
    half_rank: Annotated[float, Field(ge=0)] = START.half_rank
    noise: Annotated[float, Field(ge=0)] = START.noise


class RunSection(_Section):
    """A measured run; see `gain.Measured`."""

    value: float
    rank: float
    bits: float
    steps: float
    rounds: float
    gain: float


class GridSection(_Section):
    """What may be chosen."""

    ranks: tuple[int, ...] = Grid().ranks
    bits: tuple[int, ...] = Grid().bits
    steps: tuple[int, ...] = Grid().steps
    rounds: tuple[int, ...] = Grid().rounds


class SiteFile(_Section):
    """The whole file."""

    target: Annotated[float, Field(gt=0)]
    sites: Annotated[list[SiteSection], Field(min_length=1)]
    model: str = "sd-1.5"
    mode: Literal["full", "decoder", "split", "ffa", "fedit", "fedex"] = "ffa"
    layers: Literal["attention", "all"] = "attention"
    batch: Annotated[int, Field(ge=1)] = 8
    band: Literal["shared", "own"] = "shared"
    least_sites: Annotated[int, Field(ge=1)] = 1
    grid: GridSection = GridSection()
    gain: GainSection = GainSection()
    runs: list[RunSection] = []


@dataclass(frozen=True)
class Planned:
    """A problem with what is not in it."""

    problem: Problem
    names: tuple[str, ...]  # of the sites
    fitted: Fitted | None  # None: the gain was given or guessed


UNLIMITED = Limits()
_BANDS: dict[str, Callable[[], AbstractBands]] = {"shared": SharedBand, "own": OwnBands}


def load(path: Path, limits: Limits = UNLIMITED) -> Planned:
    """Read a file of sites. **Raises** `ConfigError`."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the sites of {path}: {error}") from None
    return parse(data, limits, source=str(path))


def parse(data: dict[str, Any], limits: Limits = UNLIMITED, *, source: str = "sites") -> Planned:
    """Build the problem. **Raises** `ConfigError`."""
    try:
        return _build(SiteFile.model_validate(data), limits)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{source}: {place}: {message}; got {first['input']!r}") from None
    except ConfigError:
        raise
    except InputError as error:
        raise ConfigError(f"{source}: {error}", param=error.param) from None


def _build(file: SiteFile, limits: Limits) -> Planned:
    assert file.mode in MODES
    fitted = fit([Measured(**run.model_dump()) for run in file.runs]) if file.runs else None
    sizes = declared(file.model)
    layers = {"attention": ATTENTION, "all": EVERYWHERE}[file.layers]
    problem = Problem(
        sites=_sites(file.sites),
        sizes=type(sizes)(**{**vars(sizes), "adapted": layers}),
        gain=fitted.gain if fitted else Gain(**file.gain.model_dump()),
        target=file.target,
        limits=limits,
        mode=file.mode,
        batch=file.batch,
        bands=_BANDS[file.band](),
        grid=Grid(**file.grid.model_dump()),
        least_sites=file.least_sites,
    )
    return Planned(problem, tuple(site.name for site in file.sites), fitted)


def _sites(rows: list[SiteSection]) -> Sites:
    def column(read: Callable[[SiteSection], float]) -> np.ndarray:
        return np.array([read(row) for row in rows], dtype=float)

    return Sites(
        samples=column(lambda row: row.pictures),
        flops=column(lambda row: row.speed),
        kappa=column(lambda row: row.power / row.speed**3),
        uplink_hz=column(lambda row: row.bandwidth),
        downlink_hz=column(lambda row: row.bandwidth),
        transmit_w=column(lambda row: row.transmit_power),
        server_w=column(lambda row: row.server_power),
        gain=path_gain(column(lambda row: row.distance)),
        start_s=column(lambda row: row.start),
    )
