"""Reading scenario files: by path or by packaged name, with errors that name the field, what was given, what was expected."""

import copy
import importlib.resources
import tomllib
import types
import typing
from pathlib import Path
from typing import Any

import pydantic

from edgegen.core.errors import ConfigError, suggest
from edgegen.plan.scenario.checks import check_file
from edgegen.plan.scenario.schema import ScenarioFile

SUFFIX = ".toml"
_EXPECTED = {
    "model_type": "a table of fields",
    "list_type": "a list; a group is written [[{where}]]",
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
}


def packaged_scenarios() -> dict[str, str]:
    """Return the scenarios that come with the package: file name -> its description."""
    names = sorted(entry.name for entry in _folder().iterdir() if entry.name.endswith(SUFFIX))
    return {name: tomllib.loads(packaged_text(name)).get("description", "") for name in names}


def packaged_text(name: str) -> str:
    """Return the text of a packaged scenario."""
    return _folder().joinpath(name).read_text(encoding="utf-8")


def find_scenario(name: str | Path) -> ScenarioFile:
    """Return the scenario of a path, or a packaged one of that name where there is no such file.

    **Raises** `ConfigError`.
    """
    return parse_scenario(scenario_text(name), source=str(name))


def scenario_text(name: str | Path) -> str:
    """Return the text of a scenario file, found as `find_scenario` does."""
    path = Path(name)
    if not path.exists():
        packaged = packaged_scenarios()
        if str(name) in packaged:
            return packaged_text(str(name))
        raise ConfigError(
            f"no scenario at {name}, and none that comes with the package has this name;{suggest(str(name), packaged)} "
            f"packaged: {', '.join(packaged)}"
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the scenario {name}: {error}") from None


def parse_scenario(text: str, *, source: str = "scenario") -> ScenarioFile:
    """Parse and check the text of a scenario."""
    return checked_scenario(read_toml(text, source=source), source=source)


def read_toml(text: str, *, source: str) -> dict[str, Any]:
    """Return the plain data of a scenario's text."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not TOML: {error}") from None


def checked_scenario(raw: dict[str, Any], *, source: str = "scenario") -> ScenarioFile:
    """Return the scenario of plain data."""
    try:
        file = ScenarioFile.model_validate(copy.deepcopy(raw))
    except pydantic.ValidationError as error:
        raise ConfigError(_explain(error, source)) from None
    try:
        check_file(file)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}", param=error.param) from None
    return file


def known_fields(path: tuple) -> list[str]:
    """Return the fields of the section at a path such as ("users", 0, "device"), none where it is no section."""
    section: Any = ScenarioFile
    for part in path:
        if isinstance(part, str):
            fields = getattr(section, "model_fields", {})
            section = _section(fields[part].annotation) if part in fields else None
    return list(getattr(section, "model_fields", {}))


def _section(annotation: Any) -> Any:
    """Return the section inside of `list[Section]`, `Section | None` or `Section`."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) in (list, typing.Union):
        inner = [found for part in typing.get_args(annotation) if (found := _section(part)) is not None]
        return inner[0] if inner else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel) else None


def _explain(error: pydantic.ValidationError, source: str) -> str:
    entries = [entry for entry in error.errors() if entry["loc"][-1:] != ("int",)]  # half of "a float or an int"
    lines = [f"{source}: {_explain_one(entry)}" for entry in entries[:5]]
    more = len(entries) - len(lines)
    return "\n".join(lines) + (f"\n(and {more} more)" if more > 0 else "")


def _explain_one(entry: Any) -> str:
    loc = tuple(part for part in entry["loc"] if part not in ("float", "int"))
    if entry["type"] == "extra_forbidden":
        known = known_fields(loc[:-1])
        inside = f"{place(loc[:-1])}: " if loc[:-1] else ""
        return f"{inside}no field {loc[-1]!r};{suggest(str(loc[-1]), known)} fields: {', '.join(known)}"
    where = place(loc) + entry.get("ctx", {}).get("at", "")
    if entry["type"] == "missing":
        return f"{where} is missing"
    if entry["type"] in _EXPECTED:
        return f"{where}: expected {_EXPECTED[entry['type']].format(where=where)}, got {entry['input']!r}"
    message = entry["msg"]
    if entry["type"] == "quantity":
        return f"{where}: {message}"
    return f"{where}: {message[0].lower()}{message[1:]}, got {entry['input']!r}"


def place(loc: tuple) -> str:
    """Write a location as in a program: `users[0].device.clock`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _folder():
    return importlib.resources.files("edgegen") / "data" / "scenarios"
