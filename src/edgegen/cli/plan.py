"""`edgegen plan`."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from edgegen.cli.output import AsJson, print_json, print_table, say


def plan(
    prompt: Annotated[str, typer.Argument(help="What to draw, such as 'a red circle'.")],
    config: Annotated[
        Path | None, typer.Option(help="Configuration; default: ./edgegen.toml, or the built-in one.")
    ] = None,
    policy: Annotated[str | None, typer.Option(help="Another policy than the configured one.")] = None,
    origin: Annotated[str | None, typer.Option(help="The device that asks; default: the first one.")] = None,
    deadline: Annotated[str | None, typer.Option(help="From the request to the picture, such as '800 ms'.")] = None,
    min_quality: Annotated[float, typer.Option(help="Least expected quality, 0 to 1.", min=0, max=1)] = 0.0,
    max_energy: Annotated[str | None, typer.Option(help="Energy from the device, such as '2 J'.")] = None,
    max_cost: Annotated[str | None, typer.Option(help="Money, such as '0.001 USD'.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only this model; may be repeated.")] = None,
    node: Annotated[list[str] | None, typer.Option(help="Only this node; may be repeated.")] = None,
    tier: Annotated[list[str] | None, typer.Option(help="Only device, edge or cloud; may be repeated.")] = None,
    steps: Annotated[int | None, typer.Option(help="Exactly so many denoising steps.", min=1)] = None,
    local: Annotated[bool, typer.Option("--local", help="The prompt must not leave the device.")] = False,
    category: Annotated[str | None, typer.Option(help="Prompt category; default: as the grammar says.")] = None,
    json: AsJson = False,
) -> None:
    """Explain where a request would run on idle nodes, on which model, with how many steps, and why; run nothing.

    Exit code 3 when nothing meets the limits; the closest offer is printed.
    """
    from edgegen.config import find_config
    from edgegen.core.errors import InfeasibleError
    from edgegen.dispatch.messages import Limits, Request, Wish

    settings = find_config(config)
    devices = [entry.name for entry in settings.nodes if entry.tier == "device"]
    payload = settings.gateway.payload
    request = Request(
        id="plan",
        number=0,
        prompt=prompt,
        category=category or _category(prompt, settings),
        origin=origin or devices[0],
        arrived_s=0.0,
        input_bits=8 * payload.input,
        output_bits=8 * payload.output,
        seed=0,
        limits=Limits(
            deadline_s=_quantity(deadline, "time", "--deadline"),
            min_quality=min_quality,
            energy_j=_quantity(max_energy, "energy", "--max-energy"),
            money_usd=_quantity(max_cost, "money", "--max-cost"),
        ),
        wish=Wish(tuple(model or ()), tuple(node or ()), tuple(tier or ()), steps, local),
        weights=settings.objective.weights,
    )
    answer = _explain(settings, request, policy or settings.policy.name)
    if json:
        print_json(answer)
    else:
        _show(answer)
    if answer["decision"] is None:
        if json:
            raise typer.Exit(3)
        raise InfeasibleError(answer["reason"], offer=answer.get("offer"))


def _explain(settings: Any, request: Any, policy: str) -> dict[str, Any]:
    """Ask a dispatcher whose nodes are all there, with their models loaded."""
    from edgegen.assemble import build_fleet
    from edgegen.dispatch.catalog import Catalog
    from edgegen.dispatch.dispatcher import Dispatcher
    from edgegen.dispatch.messages import Load, Loaded, NodeJoined
    from edgegen.registry import load_policy

    dispatcher = Dispatcher(Catalog(build_fleet(settings)), load_policy(policy), policy_name=policy)
    for name in dispatcher.catalog.nodes:
        for load in dispatcher.handle(NodeJoined(name), 0.0):
            assert isinstance(load, Load)
            dispatcher.handle(Loaded(load.node, load.model, 0.0), 0.0)
    return dispatcher.explain(request, 0.0)


def _category(prompt: str, settings: Any) -> str:
    """Return what the grammar says; models from elsewhere have no grammar and count as basic."""
    if any(model.folder is not None for model in settings.models):
        return "basic"
    from edgegen.generate.grammar import parse

    return parse(prompt).category


def _quantity(text: str | None, kind: str, option: str) -> float:
    from edgegen.core.errors import InputError
    from edgegen.core.units import parse_quantity

    if text is None:
        return math.inf
    try:
        return parse_quantity(text, kind)
    except InputError as error:
        raise InputError(f"{option}: {error}", param=option) from None


def _show(answer: dict[str, Any]) -> None:
    rows = []
    if answer["decision"] is not None:
        rows.append(_row({**answer["decision"], **answer, "why_not": "chosen"}))
    rows += [_row(other) for other in answer["alternatives"]]
    columns = ("node", "model", "steps", "total (s)", "quality", "device (J)", "USD", "why")
    print_table(f"decided by {answer['policy']}", columns, rows)
    if answer["decision"] is not None:
        say(answer["reason"])
    elif answer.get("offer"):
        offer = answer["offer"]
        say(
            f"closest offer: {offer['node']} with {offer['model']} at {offer['steps']} steps, "
            f"{offer['total_s']:.2f} s, quality {offer['quality']:.2f}, {offer['energy_j']:.2f} J"
        )


def _row(entry: dict[str, Any]) -> tuple:
    predicted = entry["predicted"]
    figures = (predicted["total_s"], entry["quality_estimate"], predicted["device_energy_j"], predicted["money_usd"])
    return (entry["node"], entry["model"], entry["steps"], *(float(f"{f:.3g}") for f in figures), entry["why_not"])
