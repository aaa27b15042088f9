"""The journal: one JSON line per handled event, complete enough to replay every decision.

The first line is a header with the fleet, the policy and the settings of the dispatcher. Every other line has the
event, the digest of the State that was decided on, the decision by name and the commands. A line that was torn by a
crash can only be the last one, and is ignored.
"""

import abc
import dataclasses
import datetime as dt
import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgegen.core.errors import InputError
from edgegen.dispatch.fleet import Fleet
from edgegen.dispatch.messages import Command, Event
from edgegen.dispatch.records import from_plain, line, named, to_plain

if TYPE_CHECKING:
    from edgegen.dispatch.choices import Table
    from edgegen.dispatch.deciding import Answer

VERSION = 2
_LIMIT_BYTES = 1 << 20  # no line is longer: a longer one would be a mistake of ours, not somebody's prompt


@dataclasses.dataclass(frozen=True)
class Header:
    """What a replay must know before the first event."""

    fleet: Fleet
    policy: str  # a name with options, as the registry takes it
    max_waiting: int
    ahead: int
    edgegen: str  # version of the package that wrote it
    config_sha256: str  # of the fleet and the settings
    version: int = VERSION

    @staticmethod
    def of(fleet: Fleet, policy: str, *, max_waiting: int, ahead: int) -> "Header":
        """Return the header for a dispatcher with these settings."""
        from edgegen import __version__

        body = line({"fleet": to_plain(fleet), "policy": policy, "max_waiting": max_waiting, "ahead": ahead})
        digest = hashlib.sha256(body.encode()).hexdigest()
        return Header(fleet, policy, max_waiting, ahead, __version__, digest)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"kind": "header", **to_plain(self)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Header":
        """Read a header back, or say what is wrong with it."""
        if data.get("kind") != "header":
            raise InputError(f"a journal begins with a header line, got {str(data)[:80]!r}")
        if data.get("version") != VERSION:
            raise InputError(f"this release reads journals of version {VERSION}, got version {data.get('version')!r}")
        values = {key: value for key, value in data.items() if key != "kind"}
        return cls(**{**values, "fleet": Fleet.from_dict(from_plain(values["fleet"]))})


class AbstractJournal(abc.ABC):
    """Where the dispatcher writes what it did."""

    keeps: bool  # False: nothing is kept, so nothing needs to be prepared

    @abc.abstractmethod
    def write(self, entry: dict[str, Any]) -> None:
        """Append one entry."""


class NoJournal(AbstractJournal):
    """Keep nothing."""

    keeps = False

    def write(self, entry: dict[str, Any]) -> None:
        del entry


class MemoryJournal(AbstractJournal):
    """Keep the lines in memory, for tests and for what is tried before it is live."""

    keeps = True

    def __init__(self, header: Header):
        self.lines = [line(header.to_dict())]

    def write(self, entry: dict[str, Any]) -> None:
        self.lines.append(line(entry))


class FileJournal(AbstractJournal):
    """Append lines to a file. With `fsync` a line is on the disk before `write` returns.

    One file tells of one life of a gateway; an older file of that name is set aside, with the time of its last line in
    its name.
    """

    keeps = True

    def __init__(self, path: str | Path, header: Header, *, fsync: bool = False):
        self.path, self._fsync = Path(path), fsync
        self.path.parent.mkdir(parents=True, exist_ok=True)
        set_aside(self.path)
        self._file: IO[str] = self.path.open("w", encoding="utf-8")
        self.write(header.to_dict())

    def write(self, entry: dict[str, Any]) -> None:
        text = line(entry)
        if len(text) > _LIMIT_BYTES:
            raise InputError(f"a journal line has {len(text)} bytes; the limit is {_LIMIT_BYTES}")
        self._file.write(text + "\n")
        self._file.flush()
        if self._fsync:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def set_aside(path: Path) -> None:
    """Rename an existing journal, so that a new one never overwrites it."""
    if not path.exists():
        return
    last = dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC).strftime("%Y%m%dT%H%M%S")
    for count in itertools.count():
        aside = path.with_name(f"{path.stem}-{last}{f'-{count}' if count else ''}{path.suffix}")
        if not aside.exists():
            path.rename(aside)
            return


def entry(
    seq: int, now_s: float, event: Event, commands: list[Command], plan: "tuple[Table, Answer] | None"
) -> dict[str, Any]:
    """Return the line of one handled event; without a plan nothing was decided."""
    found: dict[str, Any] = {"seq": seq, "now_s": now_s, "event": named(event)}
    if plan is not None:
        table, answer = plan
        found["state"] = table.catalog.state_digest(table.state)
        found["decision"] = [_decided(table, at, answer) for at in range(len(table.rows))]
        if answer.certificate is not None:
            found["certificate"] = to_plain(answer.certificate)
        if answer.note:
            found["note"] = answer.note
    found["commands"] = [named(command) for command in commands]
    return found


def _decided(table: "Table", at: int, answer: "Answer") -> dict[str, Any]:
    choice, request_id = answer.choices[at], table.rows[at].request.id
    if choice.option is None:
        return {"id": request_id, "node": None, "refused": choice.refused}
    node, model, steps = table.names(at, choice.option)
    return {"id": request_id, "node": node, "model": model, "steps": steps, "clock": choice.clock}


def read(source: str | Path | list[str]) -> tuple[Header, list[dict[str, Any]]]:
    """Return the header and the entries of a journal file, or of its lines.

    **Raises** `InputError` for what is not a journal, or is damaged anywhere but at its end.
    """
    lines = source if isinstance(source, list) else _lines(Path(source))
    entries = list(_parsed(lines))
    if not entries:
        raise InputError("the journal is empty: it has no header line")
    return Header.from_dict(entries[0]), entries[1:]


def story(entries: list[dict[str, Any]], request_id: str) -> list[dict[str, Any]]:
    """Return everything that a journal tells about one request, in order.

    Each part has `seq`, `now_s`, and one of `event`, `decision` (with the state's digest) or `command`.
    """
    parts: list[dict[str, Any]] = []
    latest: dict[str, Any] | None = None
    for found in entries:
        at = {"seq": found["seq"], "now_s": found["now_s"]}
        event = found["event"]
        if request_id in (event.get("id"), event.get("request", {}).get("id")):
            parts.append({**at, "event": event})
        for decided in found.get("decision", ()):
            if decided["id"] == request_id and decided != latest:
                latest = decided
                parts.append({**at, "decision": decided, "state": found["state"], "note": found.get("note", "")})
        parts += [{**at, "command": command} for command in found["commands"] if command.get("id") == request_id]
    return parts


def ids(entries: list[dict[str, Any]]) -> list[str]:
    """Return the ids of all requests that arrived, in order."""
    return [entry["event"]["request"]["id"] for entry in entries if entry["event"]["kind"] == "Arrived"]


def requests(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one line per request in the order of arrival: what was asked, where it ran last, how it ended."""
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        event = entry["event"]
        if event["kind"] == "Arrived":
            asked = {key: event["request"][key] for key in ("id", "prompt", "category", "origin", "arrived_s")}
            found[asked["id"]] = {**asked, "status": "waiting", "node": None, "model": None, "steps": None}
        if event["kind"] == "Progressed" and event["id"] in found:
            found[event["id"]]["steps"] = event["steps"]  # they may have changed on the way
        ended = {"Finished": "finished", "Abandoned": "cancelled"}.get(event["kind"])
        if ended and event["id"] in found:
            found[event["id"]]["status"] = ended
        for command in entry["commands"]:
            if command["kind"] == "Start":
                ran = {key: command[key] for key in ("node", "model", "steps")}
                found[command["id"]].update(status="running", **ran)
            elif command["kind"] == "Reject":
                found[command["id"]]["status"] = "failed" if command["code"] == "failed" else "refused"
    return list(found.values())


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"cannot read the journal {path}: {error.strerror or error}") from None


def _parsed(lines: list[str]) -> Iterator[dict[str, Any]]:
    for number, text in enumerate(lines, start=1):
        try:
            found = json.loads(text)
            if not isinstance(found, dict):
                raise ValueError
        except ValueError:
            if number == len(lines) and number > 1:
                return  # torn by a crash while it was written
            raise InputError(f"line {number} of the journal is not a JSON object: {text[:80]!r}") from None
        yield found
