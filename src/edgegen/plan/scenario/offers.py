"""What a machine offers: each of its models with step counts, error and work."""

import dataclasses

import numpy as np

from edgegen.core.errors import ConfigError
from edgegen.core.profile import Profile, load_profile
from edgegen.plan.scenario.schema import DeviceSection, ModelSection, ScenarioFile, ServerGroup

PROFILE_HZ = 1.0
"""Clock of a machine that comes from a profile: one machine-second per second, and "cycles" are seconds."""


@dataclasses.dataclass(frozen=True)
class Offer:
    """One model on one machine."""

    model: str
    steps: tuple[int, ...]
    source: ModelSection | Profile
    fixed_cycles: float
    step_cycles: float

    def error(self, steps: np.ndarray, category: str) -> np.ndarray:
        """Return the average error at these step counts."""
        if isinstance(self.source, Profile):
            return 1.0 - np.asarray(self.source.quality_at(category, steps.astype(float)))
        return model_error(self.source, steps)

    def cycles(self, steps: np.ndarray) -> np.ndarray:
        """Return the cycles of the machine's clock, seconds for a machine from a profile."""
        return self.fixed_cycles + self.step_cycles * steps.astype(float)

    @property
    def picture_px(self) -> int | None:
        """Side of the picture, where a profile says it."""
        return self.source.picture_px if isinstance(self.source, Profile) else None


def model_error(model: ModelSection, steps: np.ndarray) -> np.ndarray:
    """Return the error of a model at these step counts; a quality curve gives 1 - quality."""
    if model.quality is not None:
        return 1.0 - model.quality.at(steps)
    if model.error is not None:
        return model.error.at(steps)
    return 3.118 * steps.astype(float) ** -1.294


def offers_of(file: ScenarioFile, machine: DeviceSection | ServerGroup) -> tuple[Offer, ...]:
    """Return what a machine offers, in the order of its list; nothing for a device that does not generate.

    **Raises** `ConfigError` for a model or a profile that is not known.
    """
    if isinstance(machine, DeviceSection) and not machine.generates:
        return ()
    if machine.profile is not None:
        return tuple(_from_profile(file, load_profile(name)) for name in machine.profile)
    return tuple(_from_model(file, name, machine.flop_per_cycle) for name in machine.models)


def _from_profile(file: ScenarioFile, profile: Profile) -> Offer:
    wanted = set(file.steps) if "steps" in file.model_fields_set else set(profile.steps)
    steps = tuple(count for count in profile.steps if count in wanted)
    if not steps:
        raise ConfigError(
            f"{profile.model} on {profile.device} takes {_listed(profile.steps)} steps, "
            f"and none of these is among the scenario's steps {_listed(file.steps)}"
        )
    return Offer(profile.model, steps, profile, profile.fixed_s, profile.step_s_at(1))


def _from_model(file: ScenarioFile, name: str, flop_per_cycle: float) -> Offer:
    model = file.model(name)
    if model is None:
        raise ConfigError(f"no model named {name!r}")
    work = (model.fixed_flop / flop_per_cycle, model.flop_per_step / flop_per_cycle)
    return Offer(name, model.steps or file.steps, model, *work)


def _listed(steps: tuple[int, ...]) -> str:
    return ", ".join(map(str, steps)) if len(steps) <= 12 else f"{steps[0]} to {steps[-1]}"
