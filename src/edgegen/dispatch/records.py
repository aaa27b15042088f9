"""Messages as plain JSON data and back, so that a journal line can be read by people and replayed exactly.

Floats keep all their digits (Python writes the shortest text that reads back equal); infinity is the text "inf".
"""

import json
import math
from collections.abc import Callable
from typing import Any

from edgegen.core.errors import InputError
from edgegen.dispatch import messages
from edgegen.dispatch.fleet import Speed, model_from
from edgegen.dispatch.messages import Command, Event, Kept, Limits, Request, Split, Wish

_PARTS: dict[str, Callable[[dict], Any]] = {
    "request": lambda data: request_from(data),
    "actual": lambda data: Split(**data),
    "predicted": lambda data: Split(**data),
    "kept": lambda data: Kept(**data) if data is not None else None,
    "spec": lambda data: model_from(from_plain(data)),
    "speeds": lambda data: {node: Speed(**from_plain(speed)) for node, speed in data.items()},
    "categories": tuple,
}
_to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
EVENTS = {
    kind.__name__: kind
    for kind in (
        messages.Arrived,
        messages.Progressed,
        messages.Released,
        messages.Finished,
        messages.Failed,
        messages.Abandoned,
        messages.NodeJoined,
        messages.NodeLost,
        messages.Loaded,
        messages.ModelAdded,
        messages.Tick,
    )
}
COMMANDS = {
    kind.__name__: kind
    for kind in (
        messages.Start,
        messages.Retarget,
        messages.Migrate,
        messages.Cancel,
        messages.Reject,
        messages.Load,
        messages.Evict,
    )
}


_AS_IT_IS = {str, int, bool, type(None)}
_INF = math.inf


def to_plain(value: Any) -> Any:
    """Return lists, dicts, text and numbers for a message or any value inside of one."""
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    if kind is float:
        return value if -_INF < value < _INF else str(value)
    if kind is tuple or kind is list:
        return [to_plain(entry) for entry in value]
    fields = value if kind is dict else vars(value)
    # Nearly every field is a plain value: looking at it here saves a call for each.
    return {key: entry if type(entry) in _AS_IT_IS else to_plain(entry) for key, entry in fields.items()}


def named(message: Event | Command) -> dict[str, Any]:
    """Return a message as plain data with its kind in front."""
    return {"kind": type(message).__name__, **to_plain(message)}


def event_from(data: dict[str, Any]) -> Event:
    """Read an event back from plain data."""
    return _message(data, EVENTS)


def command_from(data: dict[str, Any]) -> Command:
    """Read a command back from plain data."""
    return _message(data, COMMANDS)


def request_from(data: dict[str, Any]) -> Request:
    """Read a request back from plain data."""
    values: dict[str, Any] = dict(data)
    values["limits"] = Limits(**{key: float(value) for key, value in data["limits"].items()})
    wish: dict[str, Any] = dict(data["wish"])
    wish.update({key: tuple(value) for key, value in wish.items() if isinstance(value, list)})
    values["wish"] = Wish(**wish)
    values["weights"] = tuple(float(weight) for weight in data["weights"])
    return Request(**values)


def from_plain(value: Any) -> Any:
    """Return plain data with "inf" as a number again."""
    if isinstance(value, dict):
        return {key: from_plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [from_plain(entry) for entry in value]
    return float(value) if value in ("inf", "-inf", "nan") else value


def line(data: dict[str, Any]) -> str:
    """Return one canonical journal line, without its line break."""
    return _to_json(data)


def _message(data: dict[str, Any], kinds: dict[str, type]) -> Any:
    data = dict(data)
    kind = data.pop("kind", None)
    if kind not in kinds:
        raise InputError(f"expected a message of kind {', '.join(kinds)}, got {kind!r}")
    return kinds[kind](**{key: _PARTS[key](value) if key in _PARTS else value for key, value in data.items()})
