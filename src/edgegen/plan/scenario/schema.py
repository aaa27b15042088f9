"""The fields of a scenario file with their defaults: the OQC-style model (reconstructed), ten users and two servers.

Ranges of clocks and bands and the path loss are those of arXiv:2409.20247; the rest was chosen for the reconstruction.
"""

import math
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from edgegen.core.curve import PARAMETERS, Curve
from edgegen.core.errors import ProfileError, suggest
from edgegen.plan.certified.instance import Instance
from edgegen.plan.networks import (
    DEVICE_FLOP,
    DEVICE_FLOP_PER_CYCLE,
    DEVICE_W_PER_HZ3,
    SERVER_FLOP,
    SERVER_FLOP_PER_CYCLE,
)
from edgegen.plan.scenario.fields import (
    Amounts,
    AtLeastZero,
    Clocks,
    Delay,
    Distances,
    Energies,
    EnergiesOrNone,
    Name,
    NameList,
    Positive,
    PowerCoefficients,
    Powers,
    Reach,
    Share,
    Spread,
    Steps,
    Times,
    TimesOrNone,
    Watts,
    Work,
    WorkOrNothing,
)

LARGE, SMALL = "large", "small"
"""The two models that need no `[[models]]`: one for servers, and a distilled one for devices."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


class Weights(_Section):
    """What error, time and energy are worth in the objective."""

    quality: AtLeastZero = 1.0
    time: AtLeastZero = 0.3
    energy: AtLeastZero = 0.2


class CurveSection(_Section):
    """A curve over denoising steps: a form with its parameters, or a table of points."""

    form: str
    a: float | None = None
    b: float | None = None
    c: float | None = None
    x0: float | None = None
    y0: float | None = None
    x1: float | None = None
    y1: float | None = None
    x: list[float | int] | None = None
    y: list[float | int] | None = None
    scale: Positive = 1.0

    def curve(self) -> Curve:
        """Return the curve without its scale.

        **Raises** `ProfileError` when the form and its parameters do not fit.
        """
        if self.form not in PARAMETERS:
            known = ", ".join(PARAMETERS)
            raise ProfileError(f"no curve form named {self.form!r};{suggest(self.form, PARAMETERS)} known: {known}")
        given = {name for name in self.model_fields_set if name not in ("form", "scale")}
        expected = {"x", "y"} if self.form == "table" else set(PARAMETERS[self.form])
        if given != expected:
            wanted, got = ", ".join(sorted(expected)), ", ".join(sorted(given)) or "none"
            raise ProfileError(f"a curve of the form {self.form} takes {wanted}; got {got}")
        if self.form == "table":
            return Curve.table(self.x or [], self.y or [])
        return Curve(self.form, tuple(float(getattr(self, name)) for name in PARAMETERS[self.form]))

    def at(self, steps: np.ndarray) -> np.ndarray:
        """Return the values at these step counts, divided by the scale."""
        return self.curve()(steps) / self.scale


class ModelSection(_Section):
    """One generative model: its work, and its error or quality over steps."""

    name: Name
    flop_per_step: Work = SERVER_FLOP[1]
    fixed_flop: WorkOrNothing = SERVER_FLOP[0]
    steps: Steps | None = None
    error: CurveSection | None = None
    quality: CurveSection | None = None


class DeviceSection(_Section):
    """What a user's own device can do."""

    generates: bool = True
    models: NameList = [SMALL]
    profile: NameList | None = None
    clock: Clocks = Spread(low=0.5e9, high=1e9)
    flop_per_cycle: Positive = DEVICE_FLOP_PER_CYCLE
    power_coefficient: PowerCoefficients = Spread((DEVICE_W_PER_HZ3,))
    power: Watts | None = None
    delay: Delay = 0.0


class UserGroup(_Section):
    """Users alike: each wants one generated item."""

    name: Name = "user"
    count: Annotated[int, Field(ge=0, le=20_000)] = 10
    deadline: TimesOrNone = Spread(low=6.0, high=12.0)
    energy_budget: EnergiesOrNone = Spread(low=15.0, high=30.0)
    time_scale: Times | None = None
    energy_scale: Energies | None = None
    upload: Amounts = Spread(low=1e6, high=4e6)
    download: Amounts = Spread((4e6,))
    distance: Distances = Spread(low=50.0, high=350.0)
    transmit_power: Powers = Spread((0.2,))
    weights: Weights | None = None
    refusal: AtLeastZero | None = None
    min_quality: Share | None = None
    max_error: AtLeastZero | None = None
    min_picture_px: Annotated[int, Field(ge=1)] | None = None
    category: str = "basic"
    device: DeviceSection = DeviceSection()


class ServerGroup(_Section):
    """Servers alike: each divides its clock and its two bands among its users."""

    name: Name = "server"
    count: Annotated[int, Field(ge=0, le=1_000)] = 2
    models: NameList = [LARGE]
    profile: NameList | None = None
    clock: Clocks = Spread(low=1e9, high=3e9)
    flop_per_cycle: Positive = SERVER_FLOP_PER_CYCLE
    uplink: Clocks = Spread((20e6,))
    downlink: Clocks = Spread((20e6,))
    transmit_power: Powers = Spread((1.0,))
    delay: Delay = 0.0
    site: Name | None = None
    distance: Distances | None = None
    reach: Reach = math.inf


class ScenarioFile(_Section):
    """The whole file."""

    name: str = "scenario"
    description: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    steps: Steps = tuple(range(5, 51))
    weights: Weights = Weights()
    refusal: AtLeastZero | None = None
    users: list[UserGroup] = [UserGroup()]
    servers: list[ServerGroup] = [ServerGroup()]
    models: list[ModelSection] = []

    def build(self, seed: int | None = None) -> Instance:
        """Return the instance of a seed; without one, of the file's own."""
        from edgegen.plan.scenario.build import build

        return build(self, self.seed if seed is None else seed)

    def model(self, name: str) -> ModelSection | None:
        """Return the model of that name, one of the two built-in ones where the file defines none, or None."""
        return next((model for model in [*self.models, *BUILT_IN] if model.name == name), None)

    @property
    def model_names(self) -> list[str]:
        """The names that `models` of servers and devices may hold."""
        return list(dict.fromkeys(model.name for model in [*self.models, *BUILT_IN]))


def _error_curve(floor: float) -> CurveSection:
    """Mean distance between a short and a long DDIM run on a ring of eight Gaussians: 3.118 s^-1.294 + floor."""
    return CurveSection(form="power_law", a=floor, b=-3.118, c=1.294)


BUILT_IN = (
    ModelSection(name=LARGE, error=_error_curve(0.0)),
    ModelSection(
        name=SMALL,
        flop_per_step=f"{DEVICE_FLOP[1]} FLOP",  # type: ignore[arg-type]  # parsed as in a file
        fixed_flop=f"{DEVICE_FLOP[0]} FLOP",  # type: ignore[arg-type]
        error=_error_curve(0.02),
    ),
)
