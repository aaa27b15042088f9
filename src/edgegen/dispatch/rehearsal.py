"""Asking a policy about requests that nobody sent, so that what it compiles is compiled before the first one comes."""

from edgegen.core.policy import AbstractPolicy
from edgegen.dispatch.books import idle
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.messages import Limits, Request


def rehearse(policy: AbstractPolicy, catalog: Catalog) -> None:
    """Let a policy decide for few and for many requests on nodes that are all there; its answers are dropped.

    An error of the policy is kept for the first real request, where it is told and the built-in choice steps in.
    """
    load = idle(catalog)
    origins = [device.name for device in catalog.devices]
    rows = [catalog.row(_request(n, origins[n % len(origins)], catalog)) for n in range(policy.plans_at_once)]
    for count in (1, 2, len(rows)):
        try:
            policy.decide(catalog.state(rows[:count], 0.0, load))
        except Exception:  # a policy of anybody's may raise anything
            return


def _request(number: int, origin: str, catalog: Catalog) -> Request:
    return Request(
        id=f"rehearsal-{number}",
        number=number,
        prompt="",
        category=catalog.fleet.categories[0],
        origin=origin,
        arrived_s=0.0,
        input_bits=1e3,
        output_bits=1e6,
        seed=0,
        limits=Limits(deadline_s=1.0 + number),
    )
