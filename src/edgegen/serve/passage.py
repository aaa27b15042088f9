"""One request's way through the gateway: its id, who asks, and the trace that it belongs to."""

import dataclasses
import secrets

from starlette.types import Scope

from edgegen.observe.tracing import AbstractSpan
from edgegen.serve.auth import Caller

KEY = "edgegen.passage"  # in the ASGI scope
ACCOUNT = "edgegen.account"  # likewise: whose key it was, "" where nobody needs one; jobs belong to it


@dataclasses.dataclass(frozen=True)
class Passage:
    """What every part of the gateway may know about the request that it works for."""

    id: str  # the answer's X-Request-Id, the `edgegen.id` of its pictures, `request_id` in logs
    caller: Caller
    address: str  # of the client's machine; tells callers without a key apart
    span: AbstractSpan

    @property
    def waiter(self) -> str:
        """Whose place in the waiting queue this is."""
        return self.caller.id or self.address


def passage_of(scope: Scope) -> Passage:
    """Return the passage that the guard noted."""
    return scope[KEY]


def new_id() -> str:
    """Return the id of a new request."""
    return f"req_{secrets.token_hex(12)}"
