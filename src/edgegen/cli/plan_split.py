"""`edgegen plan PROMPT --split`: after how many steps a server hands a picture over to the device that asked."""

import math
from collections.abc import Iterator
from typing import Any

import typer

from edgegen.cli.output import print_json, print_table, say

STEPS = 16
HANDOVER = "132 kB"  # a checkpoint of a latent of 4 x 64 x 64: two arrays of float32, and a header


def plan(settings: Any, request: Any, handover: str, own_steps: int, json: bool) -> None:
    """Plan and print."""
    answer = explain(settings, request, _bits(handover), own_steps)
    if json:
        print_json(answer)
    else:
        _show(answer)
    if answer["best"] is None:
        from edgegen.core.errors import InfeasibleError

        if json:
            raise typer.Exit(3)
        raise InfeasibleError("no handover keeps what is wanted; the table shows what each would take")


def explain(settings: Any, request: Any, handover_bits: float, own_steps: int = 0) -> dict[str, Any]:
    """Return, for every server and model that the device has too, all handovers and the best; and the best of all.

    **Raises** `InputError` for steps that are not on offer, or if the device shares no model with any server.
    """
    from edgegen.assemble import build_fleet
    from edgegen.core.errors import InputError
    from edgegen.core.state import ENERGY, QUALITY, TIME
    from edgegen.tune.split import Wanted

    fleet, steps = build_fleet(settings), request.wish.steps or STEPS
    if request.wish.local_only:
        raise InputError("--local keeps the prompt on the device, --split sends it to a server: leave one out")
    if steps not in fleet.steps:
        raise InputError(f"{steps} steps are not on offer; gateway.steps has {list(fleet.steps)}", param="--steps")
    limits, weights = request.limits, request.weights
    wanted = Wanted(limits.deadline_s, limits.energy_j, weights[TIME], weights[ENERGY], own_steps)
    pairs = [
        _pair(settings, request, parts, handover_bits, steps, wanted, weights[QUALITY])
        for parts in _parts(fleet, request)
    ]
    if not pairs:
        raise InputError(f"no server that is allowed has a model that {request.origin} has, too; see [[nodes]]")
    good = [pair for pair in pairs if pair["best"] is not None and pair["quality"] >= limits.min_quality]
    chosen = min(good, key=lambda pair: pair["cost"], default=None)
    return {
        "prompt": request.prompt,
        "category": request.category,
        "origin": request.origin,
        "steps": steps,
        "handover_bits": handover_bits,
        "best": None if chosen is None else {key: value for key, value in chosen.items() if key != "rows"},
        "pairs": pairs,
    }


def _parts(fleet: Any, request: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield (device, server, model) of all that is allowed."""
    wish = request.wish
    device = next(node for node in fleet.nodes if node.name == request.origin)
    for server in fleet.nodes:
        if server.tier == "device" or not _allowed(server.name, wish.nodes) or not _allowed(server.tier, wish.tiers):
            continue
        for model in fleet.models:
            both = model.name in device.speeds and model.name in server.speeds
            if both and _allowed(model.name, wish.models):
                yield device, server, model


def _allowed(name: str, names: tuple[str, ...]) -> bool:
    return not names or name in names


def _pair(
    settings: Any, request: Any, parts: tuple, handover_bits: float, steps: int, wanted: Any, quality_weight: float
) -> dict[str, Any]:
    from edgegen.core.errors import InfeasibleError
    from edgegen.tune.split import Link, Machine, Payload, best, table

    device, server, model = parts
    there, here = (
        Machine(node.speeds[model.name].step_s, node.speeds[model.name].fixed_s, node.power_w)
        for node in (server, device)
    )
    way = server.link
    link = Link(way.uplink_bps, way.downlink_bps, way.rtt_s, device.transmit_power_w)
    payload = Payload(request.input_bits, handover_bits, request.output_bits)
    rows = table(there, here, link, payload, steps=steps, wanted=wanted)
    gateway = settings.gateway
    quality = model.quality[_category_row(request.category)][list(gateway.steps).index(steps)]
    try:
        chosen = best(rows)
    except InfeasibleError:
        chosen = None
    return {
        "node": server.name,
        "model": model.name,
        "quality": quality,
        "cost": None if chosen is None else quality_weight * (1 - quality) + chosen.cost,
        "best": None if chosen is None else chosen.to_dict(),
        "rows": [row.to_dict() for row in rows],
    }


def _category_row(category: str) -> int:
    from edgegen.config import CATEGORIES

    return CATEGORIES.index(category)


def _bits(text: str) -> float:
    from edgegen.core.errors import InputError
    from edgegen.core.units import parse_quantity

    try:
        return parse_quantity(text, "data volume")
    except InputError as error:
        raise InputError(f"--handover-size: {error}", param="--handover-size") from None


def _show(answer: dict[str, Any]) -> None:
    chosen = answer["best"]
    shown = next((pair for pair in answer["pairs"] if chosen and _same(pair, chosen)), answer["pairs"][0])
    columns = ("steps there", "steps here", "upload (s)", "there (s)", "sent (kB)", "download (s)", "here (s)")
    columns += ("total (s)", "device (J)", "")
    rows = [_cells(row, answer["steps"], chosen["best"]["handover"] if chosen else -1) for row in shown["rows"]]
    title = f"{answer['steps']} steps of {shown['model']}, the first ones on {shown['node']}, the last on {answer['origin']}"
    print_table(title, columns, rows)
    for pair in answer["pairs"]:
        say(_sentence(pair, answer["steps"]))


def _same(pair: dict[str, Any], other: dict[str, Any]) -> bool:
    return (pair["node"], pair["model"]) == (other["node"], other["model"])


def _cells(row: dict[str, Any], steps: int, chosen: int) -> tuple:
    figures = [row["upload_s"], row["server_s"], row["sent_bits"] / 8e3, row["download_s"], row["device_s"]]
    figures += [row["total_s"], row["device_energy_j"]]
    note = "best" if row["handover"] == chosen else "" if row["fits"] else "not as wanted"
    return (row["handover"], steps - row["handover"], *(float(f"{figure:.3g}") for figure in figures), note)


def _sentence(pair: dict[str, Any], steps: int) -> str:
    name, best = f"{pair['node']} with {pair['model']} (quality {pair['quality']:.2f})", pair["best"]
    if best is None:
        return f"{name}: no handover keeps what is wanted"
    assert math.isfinite(best["total_s"])
    return (
        f"{name}: best after {best['handover']} of {steps} steps, {best['total_s']:.3g} s,"
        f" {best['device_energy_j']:.3g} J of the device"
    )
