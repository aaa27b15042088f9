"""Replaying a recorded journal: the same events must give the same States, decisions and commands, byte for byte."""

import dataclasses
import difflib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgegen.core.decision import Certificate, Decision
from edgegen.core.errors import EdgegenError
from edgegen.core.policy import AbstractPolicy
from edgegen.core.state import State
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.dispatcher import Dispatcher
from edgegen.dispatch.journal import MemoryJournal, read
from edgegen.dispatch.records import event_from, line


@dataclasses.dataclass(frozen=True)
class Audit:
    """What a replay found. `difference` is None when everything came out as recorded."""

    policy: str
    events: int  # replayed
    decisions: int  # events at which a policy was asked
    difference: str | None = None
    seq: int | None = None  # of the first entry that came out differently

    @property
    def same(self) -> bool:
        """Whether everything came out as recorded."""
        return self.difference is None


def replay(source: str | Path | list[str], load_policy: Callable[[str], AbstractPolicy]) -> Audit:
    """Feed the recorded events to a dispatcher rebuilt from the header, and compare every line.

    `load_policy` returns a policy for its name, as `edgegen.registry.load_policy` does.
    """
    header, entries = read(source)
    journal = MemoryJournal(header)
    policy = _AsRecorded(load_policy(header.policy), [])
    dispatcher = Dispatcher(
        Catalog(header.fleet),
        policy,
        policy_name=header.policy,
        max_waiting=header.max_waiting,
        ahead=header.ahead,
        journal=journal,
    )
    decisions = 0
    for count, entry in enumerate(entries):
        policy.turn_to(entry)
        try:
            dispatcher.handle(event_from(entry["event"]), entry["now_s"])
            again = journal.lines[-1]
        except (EdgegenError, KeyError, TypeError) as error:
            again = json.dumps({"seq": entry.get("seq"), "error": str(error)})
        decisions += "state" in entry
        if again != line(entry):
            return Audit(header.policy, count, decisions, describe(entry, json.loads(again)), entry.get("seq"))
    return Audit(header.policy, len(entries), decisions)


class _AsRecorded(AbstractPolicy):
    """A policy that stops where the recorded one did when its time was over."""

    policy: AbstractPolicy
    cut: list[Certificate]  # of the line that is replayed, or empty

    @property
    def plans_at_once(self) -> int:  # type: ignore[override]
        return self.policy.plans_at_once

    @property
    def retargets(self) -> bool:  # type: ignore[override]
        return self.policy.retargets

    def turn_to(self, entry: dict[str, Any]) -> None:
        """Prepare for the next line."""
        certificate = entry.get("certificate", {})
        self.cut[:] = [Certificate(**certificate)] if certificate.get("cut") else []

    def decide(self, state: State, *, key=None) -> Decision:
        policy = self.policy.again(self.cut[0]) if self.cut else self.policy
        return policy.decide(state, key=key)


def describe(recorded: dict[str, Any], replayed: dict[str, Any]) -> str:
    """Return a readable difference of two journal entries."""

    def pretty(entry: dict[str, Any]) -> list[str]:
        return json.dumps(entry, indent=1, ensure_ascii=False).splitlines()

    lines = difflib.unified_diff(pretty(recorded), pretty(replayed), "recorded", "replayed", lineterm="", n=2)
    return "\n".join(lines)
