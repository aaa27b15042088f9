"""A small fleet made of round numbers, so that tests can redo every prediction by hand."""

import math

from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.dispatcher import Dispatcher
from edgegen.dispatch.fleet import Fleet, Link, ModelSpec, NodeSpec, Speed
from edgegen.dispatch.journal import Header, MemoryJournal
from edgegen.dispatch.messages import Limits, Loaded, NodeJoined, Request, Wish
from edgegen.registry import load_policy

STEPS = (1, 2, 4, 8, 16)
CATEGORIES = ("basic", "detail", "relation", "complex")
INF = math.inf


def curve(best: float) -> tuple[tuple[float, ...], ...]:
    """Quality that rises with steps and levels off, later for harder prompts."""
    return tuple(tuple(best * k / (k + 0.5 * (1 + c)) for k in STEPS) for c in range(len(CATEGORIES)))


SMALL, LARGE = ModelSpec("small", curve(0.8), 10e6), ModelSpec("large", curve(1.0), 40e6)


def node(name, tier, small_s, large_s, **others) -> NodeSpec:
    speeds = {}
    if small_s:
        speeds["small"] = Speed(step_s=small_s, fixed_s=0.01, load_s=0.1)
    if large_s:
        speeds["large"] = Speed(step_s=large_s, fixed_s=0.02, load_s=0.3)
    return NodeSpec(name=name, tier=tier, speeds=speeds, **{"memory_bytes": INF, "power_w": 50.0, **others})


RADIO = Link(uplink_bps=10e6, downlink_bps=20e6, rtt_s=0.02)
FLEET = Fleet(
    nodes=(
        node("phone", "device", 0.05, None, power_w=4.0, transmit_power_w=1.0, adjustable_clock=True),
        node("tablet", "device", 0.025, None, power_w=6.0, transmit_power_w=1.0, adjustable_clock=True),
        node("edge", "edge", 0.01, 0.04, link=RADIO, price_usd_per_s=0.0001),
        node("cloud", "cloud", None, 0.01, link=Link(10e6, 20e6, 0.1), price_usd_per_s=0.001, power_w=300.0),
    ),
    models=(SMALL, LARGE),
    categories=CATEGORIES,
    steps=STEPS,
)


def request(number: int = 0, *, at_s: float = 0.0, origin: str = "phone", category: str = "basic", **parts) -> Request:
    """A request; `parts` may hold fields of Limits, of Wish, or of the request itself."""
    limits = {key: parts.pop(key) for key in list(parts) if key in Limits.__dataclass_fields__}
    wish = {key: parts.pop(key) for key in list(parts) if key in Wish.__dataclass_fields__}
    return Request(
        **{
            "id": f"r{number}",
            "number": number,
            "prompt": "a red circle",
            "category": category,
            "origin": origin,
            "arrived_s": at_s,
            "input_bits": 1e5,
            "output_bits": 2e6,
            "seed": number,
            "limits": Limits(**limits),
            "wish": Wish(**wish),
            **parts,
        }
    )


def dispatcher(policy="greedy-cost", *, fleet: Fleet = FLEET, loaded: bool = True, name: str = "", **settings):
    """A dispatcher whose nodes have joined, with a journal in memory."""
    name = name or (policy if isinstance(policy, str) else "given")
    settings = {"max_waiting": 64, "ahead": 1, **settings}
    made = Dispatcher(
        Catalog(fleet),
        load_policy(policy) if isinstance(policy, str) else policy,
        policy_name=name,
        journal=MemoryJournal(Header.of(fleet, name, **settings)),
        **settings,
    )
    for spec in fleet.nodes:
        for load in made.handle(NodeJoined(spec.name), 0.0):
            if loaded:
                made.handle(Loaded(load.node, load.model, 0.1), 0.0)
    return made
