"""A journal that also tells each request's own story while it passes the entries on."""

from collections.abc import Callable
from typing import Any

from edgegen.dispatch.journal import AbstractJournal, FileJournal

OnDecision = Callable[[float, dict[str, Any], str], None]


class Teller(AbstractJournal):
    """Wraps another journal. `listen` names who hears about each decision and the digest of the State behind it."""

    def __init__(self, inner: AbstractJournal):
        self._inner = inner
        self.keeps = inner.keeps
        self._on_decision: OnDecision = lambda now_s, decided, digest: None

    def listen(self, on_decision: OnDecision) -> None:
        """Call a function with the time of every decision about a request, the decision, and its State's digest."""
        self._on_decision = on_decision

    def write(self, entry: dict[str, Any]) -> None:
        self._inner.write(entry)
        for decided in entry.get("decision", ()):
            self._on_decision(entry["now_s"], decided, entry["state"])

    def close(self) -> None:
        """Close the file of a journal that has one."""
        if isinstance(self._inner, FileJournal):
            self._inner.close()
