"""What one field of a scenario alone cannot know: lists as long as their group, names that exist, curves that fall."""

import math
from collections.abc import Iterator

import numpy as np

from edgegen.core.errors import ConfigError, InputError, suggest
from edgegen.core.profile import Profile, load_profile
from edgegen.plan.scenario.fields import NONE, Matrix, Spread
from edgegen.plan.scenario.offers import model_error, offers_of
from edgegen.plan.scenario.schema import CurveSection, DeviceSection, ModelSection, ScenarioFile, ServerGroup, UserGroup

_INSTEAD_OF_PROFILE = ("models", "clock", "flop_per_cycle", "power_coefficient")
_RISE = 1e-9  # a curve may rise by rounding


def check_file(file: ScenarioFile) -> None:
    """Refuse a file whose parts do not fit together.

    **Raises** `ConfigError` that names the field.
    """
    for kind in ("users", "servers", "models"):
        _check_unique(kind, [group.name for group in getattr(file, kind)])
    for number, model in enumerate(file.models):
        _check_model(file, f"models[{number}]", model)
    for number, group in enumerate(file.users):
        _check_users(file, f"users[{number}]", group)
    for number, group in enumerate(file.servers):
        _check_servers(file, f"servers[{number}]", group)
    _check_scales(file)


def fail(where: str, message: str) -> ConfigError:
    """Return the error of a field."""
    return ConfigError(f"{where}: {message}", param=where)


def _check_unique(kind: str, names: list[str]) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            raise fail(f"{kind}[{number}].name", f"{kind} must have different names, got {name!r} twice; give each one")


def _check_model(file: ScenarioFile, where: str, model: ModelSection) -> None:
    if model.error is not None and model.quality is not None:
        raise fail(where, "give an error curve or a quality curve (error = 1 - quality), not both")
    field = "quality" if model.quality is not None else "error"
    steps = np.array(model.steps or file.steps)
    curve: CurveSection | None = getattr(model, field)
    try:
        if curve is not None:
            curve.curve()
        error = model_error(model, steps)
    except InputError as problem:
        raise fail(f"{where}.{field}", str(problem)) from None
    if not (np.isfinite(error) & (error >= 0)).all():
        at = int(np.argmax(~(np.isfinite(error) & (error >= 0))))
        expected = "quality must be in [0, 1]" if field == "quality" else "error must be >= 0"
        value = 1 - error[at] if field == "quality" else error[at]
        raise fail(f"{where}.{field}", f"{expected} at every step count, got {value:.4g} at {steps[at]} steps")
    if (np.diff(error) > _RISE).any():
        at = int(np.argmax(np.diff(error) > _RISE))
        verb = "fall" if field == "quality" else "rise"
        raise fail(f"{where}.{field}", f"{field} must not {verb} with steps, got a {verb} after {steps[at]} steps")


def _check_users(file: ScenarioFile, where: str, group: UserGroup) -> None:
    for field in ("deadline", "energy_budget", "time_scale", "energy_scale", "upload", "download", "transmit_power"):
        _check_list(f"{where}.{field}", getattr(group, field), group.count)
    for field in ("clock", "power_coefficient"):
        _check_list(f"{where}.device.{field}", getattr(group.device, field), group.count)
    servers = sum(one.count for one in file.servers)
    if isinstance(group.distance, Matrix):
        rows = group.distance.rows
        if len(rows) != group.count or len(rows[0]) != servers:
            size = f"{len(rows)} rows of {len(rows[0])}"
            raise fail(f"{where}.distance", f"expected {group.count} rows (users) of {servers} (servers), got {size}")
    else:
        _check_list(f"{where}.distance", group.distance, group.count)
    weights = group.weights or file.weights
    for name, limit, scale in (("time", "deadline", "time_scale"), ("energy", "energy_budget", "energy_scale")):
        unlimited = any(math.isinf(value) for value in getattr(group, limit).values)
        if unlimited and getattr(group, scale) is None and getattr(weights, name) > 0:
            message = f"without a limit nothing says what {name} is divided by in the objective; give {where}.{scale}"
            raise fail(f"{where}.{limit}", f'"{NONE}": {message}')
    if weights.quality == weights.time == weights.energy == 0:
        raise fail(
            f"{where}.weights" if group.weights else "weights", "one weight at least must be > 0, got only zeros"
        )
    if group.min_quality is not None and group.max_error is not None:
        raise fail(f"{where}.min_quality", "give min_quality or max_error (= 1 - min_quality), not both")
    _check_machine(file, f"{where}.device", group.device)


def _check_servers(file: ScenarioFile, where: str, group: ServerGroup) -> None:
    for field in ("clock", "uplink", "downlink", "transmit_power", "distance"):
        if isinstance(given := getattr(group, field), Matrix):
            raise fail(f"{where}.{field}", "a matrix of distances belongs to users; give one distance or a range here")
        _check_list(f"{where}.{field}", given, group.count, "servers")
    _check_machine(file, where, group)


def _check_list(where: str, given: Spread | Matrix | None, count: int, members: str = "users") -> None:
    listed = given.listed if isinstance(given, Spread) else None
    if listed is not None and listed != count:
        raise fail(where, f"a list holds one value for each of the {count} {members} of the group, got {listed}")


def _check_machine(file: ScenarioFile, where: str, machine: DeviceSection | ServerGroup) -> None:
    given = machine.model_fields_set
    if isinstance(machine, DeviceSection) and not machine.generates:
        for field in sorted(given - {"generates"}):
            raise fail(f"{where}.{field}", "says nothing about a device that does not generate; remove it")
        return
    if machine.profile is None:
        if isinstance(machine, DeviceSection) and "power" in given:
            raise fail(f"{where}.power", "is for a device with a profile; without one, power_coefficient says it")
        for number, name in enumerate(machine.models):
            if name not in file.model_names:
                hint = suggest(name, file.model_names)
                known = ", ".join(file.model_names)
                raise fail(f"{where}.models[{number}]", f"no model named {name!r};{hint} known: {known}")
        _check_unique_models(where, machine.models, "models")
        return
    for field in _INSTEAD_OF_PROFILE:
        if field in given:
            raise fail(f"{where}.{field}", "a profile says this already; remove one of the two")
    profiles = [_profile(f"{where}.profile[{number}]", name) for number, name in enumerate(machine.profile)]
    _check_unique_models(where, [profile.model for profile in profiles], "profile")
    try:
        offers_of(file, machine)
    except ConfigError as error:
        raise fail(f"{where}.profile", str(error)) from None
    powers = {profile.power_w for profile in profiles}
    if isinstance(machine, DeviceSection) and machine.power is None and len(powers) > 1:
        raise fail(f"{where}.power", f"its profiles draw {', '.join(f'{p:g} W' for p in sorted(powers))}; give one")


def _check_unique_models(where: str, names: list[str], field: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise fail(f"{where}.{field}", f"the model {name!r} is there twice; a machine has each model once")


def _profile(where: str, name: str) -> Profile:
    try:
        return load_profile(name)
    except InputError as error:
        raise fail(where, str(error)) from None


def profiles_of(file: ScenarioFile) -> Iterator[tuple[str, Profile]]:
    """Yield the path and the value of every profile that the file names."""
    places = [(f"users[{n}].device", group.device) for n, group in enumerate(file.users)]
    places += [(f"servers[{n}]", group) for n, group in enumerate(file.servers)]
    for where, machine in places:
        for number, name in enumerate(machine.profile or []):
            yield f"{where}.profile[{number}]", load_profile(name)


def _check_scales(file: ScenarioFile) -> None:
    """Refuse profiles whose qualities mean different things."""
    first: tuple[str, str] | None = None
    for where, profile in profiles_of(file):
        scale = profile.quality_scale
        if first is not None and scale != first[1]:
            other, known = first
            raise fail(
                where, f"its quality is measured as {scale}, that of {other} as {known}; they cannot be compared"
            )
        first = first or (where, scale)
    for group in file.users:
        _check_category(file, group)


def _check_category(file: ScenarioFile, group: UserGroup) -> None:
    where = f"users[{file.users.index(group)}].category"
    for _, profile in profiles_of(file):
        try:
            profile.quality_at(group.category, profile.steps[-1])
        except InputError as error:
            raise fail(where, str(error)) from None
