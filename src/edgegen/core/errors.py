"""Every error that edgegen raises on purpose.

EdgegenError
├── InputError            what somebody gave us is wrong
│   ├── UnknownNameError  a name that is not registered, with a suggestion
│   ├── ConfigError       a settings or scenario file
│   └── ProfileError      a profile file
├── InfeasibleError       no decision can meet the limits that were asked for
├── BusyError             a bounded queue is full; try again later
└── WorkerError           a worker process failed or went away
"""

import difflib
from collections.abc import Iterable


class EdgegenError(Exception):
    """Base class: catching it catches everything that edgegen raises on purpose."""


class InputError(EdgegenError):
    """Something that was given is wrong; the message says what was expected.

    `param` names the offending field where there is one.
    """

    def __init__(self, message: str, *, param: str | None = None):
        super().__init__(message)
        self.param = param


class UnknownNameError(InputError):
    """A name that is not known, with the closest known one."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, param: str | None = None):
        self.kind, self.name, self.known = kind, name, sorted(known)
        super().__init__(
            f"no {kind} named {name!r};{suggest(name, self.known)} known: {', '.join(self.known) or 'none'}",
            param=param,
        )


class ConfigError(InputError):
    """A settings or scenario file is wrong."""


class ProfileError(InputError):
    """A profile file is wrong or of a version that this release does not read."""


class InfeasibleError(EdgegenError):
    """No decision meets the limits. `offer` describes the closest one that could run."""

    def __init__(self, message: str, *, offer: dict | None = None):
        super().__init__(message)
        self.offer = offer


class BusyError(EdgegenError):
    """A bounded queue is full. `retry_after_s` says when it is worth trying again."""

    def __init__(self, message: str, *, retry_after_s: float):
        super().__init__(message)
        self.retry_after_s = retry_after_s


class WorkerError(EdgegenError):
    """A worker failed to answer, answered with an error, or went away."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return " did you mean 'x'?" for the closest known name, or an empty string."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f" did you mean {close[0]!r}?" if close else ""
