"""Which fields of a scenario a study varies, and the scenarios that come out."""

import copy
import dataclasses
import itertools
import re
import tomllib
from collections.abc import Sequence
from typing import Any

from edgegen.core.errors import InputError, UnknownNameError, suggest
from edgegen.plan.scenario import ScenarioFile
from edgegen.plan.scenario.loading import checked_scenario, known_fields

GROUPS = ("users", "servers", "models")
MOST_POINTS = 1_000
_PART = re.compile(r"^([A-Za-z_]\w*)(?:\[([^\]]+)\])?$")


@dataclasses.dataclass(frozen=True)
class Varied:
    """One field and the values that it takes."""

    key: str
    values: tuple[Any, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The values as text."""
        return tuple(label(value) for value in self.values)


@dataclasses.dataclass(frozen=True)
class Point:
    """One combination of values, and the scenario that has them."""

    values: dict[str, str]
    file: ScenarioFile


def label(value: Any) -> str:
    """Write a value as a person would."""
    if isinstance(value, dict):
        return " to ".join(str(value[key]) for key in ("from", "to") if key in value) or str(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse_vary(text: str) -> Varied:
    """Return the field and the values of `key=v1,v2,...`; a value may be a number, text with a unit, or a range in braces.

    **Raises** `InputError`.
    """
    key, sign, given = text.partition("=")
    key = key.strip()
    if not sign or not key or not given.strip():
        raise InputError(
            f"--vary expects key=value,value,... such as 'users.count=5,10,20', got {text!r}", param="--vary"
        )
    values = tuple(_value(part) for part in _split(given))
    labels = [label(value) for value in values]
    if len(set(labels)) != len(labels):
        raise InputError(f"--vary {key} has a value twice: {', '.join(labels)}", param="--vary")
    return Varied(key, values)


def _split(text: str) -> list[str]:
    """Split at commas that are in no brackets."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "{[") - (sign in "}]")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


def _value(text: str) -> Any:
    if not text:
        raise InputError("--vary has an empty value; remove the comma too many", param="--vary")
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if text[0] in "{[":
            raise InputError(
                f'--vary: {text!r} is not a range such as {{from = "6 s", to = "12 s"}}', param="--vary"
            ) from None
        return text


def points(raw: dict[str, Any], varied: Sequence[Varied], *, source: str) -> list[Point]:
    """Return the scenario at every combination of values, the first key changing slowest.

    **Raises** `InputError` for a key that is no field, or a value that its field does not take.
    """
    keys = [one.key for one in varied]
    if len(set(keys)) != len(keys):
        raise InputError(f"--vary names a key twice: {', '.join(keys)}", param="--vary")
    count = 1
    for one in varied:
        count *= len(one.values)
    if count > MOST_POINTS:
        raise InputError(f"--vary asks for {count} points, more than {MOST_POINTS}; give fewer values", param="--vary")
    found = []
    for values in itertools.product(*(one.values for one in varied)):
        changed = copy.deepcopy(raw)
        for one, value in zip(varied, values, strict=True):
            assign(changed, one.key, value)
        words = {one.key: label(value) for one, value in zip(varied, values, strict=True)}
        at = f" with {', '.join(f'{key} = {word}' for key, word in words.items())}" if words else ""
        found.append(Point(words, checked_scenario(changed, source=source + at)))
    return found


def assign(raw: dict[str, Any], key: str, value: Any) -> None:
    """Set a field by its dotted path. A group without a number or name in brackets stands for all its groups."""
    places: list[tuple[dict[str, Any], tuple]] = [(raw, ())]
    parts = key.split(".")
    for number, part in enumerate(parts):
        match = _PART.match(part)
        if match is None:
            raise InputError(f"{key!r} is no path such as 'users.deadline' or 'servers[0].uplink'", param="--vary")
        name, which = match[1], match[2]
        known = known_fields(places[0][1])
        if name not in known:
            hint = suggest(name, known)
            inside = ".".join(parts[:number]) or "the file"
            raise InputError(
                f"--vary {key}: no field {name!r} in {inside};{hint} fields: {', '.join(known)}", param=key
            )
        if number + 1 == len(parts):
            for inside, _ in places:
                inside[name] = copy.deepcopy(value)
            return
        places = [found for inside, path in places for found in _enter(inside, path, name, which, key)]


def _enter(inside: dict[str, Any], path: tuple, name: str, which: str | None, key: str) -> list[tuple[dict, tuple]]:
    if name not in GROUPS or path:
        section = inside.setdefault(name, {})
        if not isinstance(section, dict) or not known_fields((*path, name)):
            raise InputError(f"--vary {key}: {name} has no fields inside; vary it as a whole", param=key)
        return [(section, (*path, name))]
    groups = inside.setdefault(name, [{}] if name != "models" else [])
    if which is None:
        if not groups:
            raise InputError(f"--vary {key}: the scenario has no {name}; write them into the file first", param=key)
        return [(group, (name, number)) for number, group in enumerate(groups)]
    names = [str(group.get("name", name[:-1])) for group in groups]
    if which.isdigit() and int(which) < len(groups):
        return [(groups[int(which)], (name, int(which)))]
    if which not in names:
        raise UnknownNameError(f"group of {name}", which, [*names, *map(str, range(len(groups)))], param=key)
    return [(groups[names.index(which)], (name, names.index(which)))]
