"""`edgegen plan`."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from edgegen.cli import plan_scenario
from edgegen.cli.output import AsJson, print_json, print_table, say

REQUEST, SCENARIO = "about a prompt", "about a scenario"


def plan(
    context: typer.Context,
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT|SCENARIO.toml", help="What to draw, or a scenario of many users.")
    ] = "",
    config: Annotated[
        Path | None,
        typer.Option(
            help="Configuration; default: ./edgegen.toml, or the built-in one.", rich_help_panel=f"Options {REQUEST}"
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="Another policy than the configured one.", rich_help_panel=f"Options {REQUEST}"),
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option(help="The device that asks; default: the first one.", rich_help_panel=f"Options {REQUEST}"),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(help="From the request to the picture, such as '800 ms'.", rich_help_panel=f"Options {REQUEST}"),
    ] = None,
    min_quality: Annotated[
        float,
        typer.Option(help="Least expected quality, 0 to 1.", min=0, max=1, rich_help_panel=f"Options {REQUEST}"),
    ] = 0.0,
    max_energy: Annotated[
        str | None, typer.Option(help="Energy from the device, such as '2 J'.", rich_help_panel=f"Options {REQUEST}")
    ] = None,
    max_cost: Annotated[
        str | None, typer.Option(help="Money, such as '0.001 USD'.", rich_help_panel=f"Options {REQUEST}")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Only this model; may be repeated.", rich_help_panel=f"Options {REQUEST}"),
    ] = None,
    node: Annotated[
        list[str] | None,
        typer.Option(help="Only this node; may be repeated.", rich_help_panel=f"Options {REQUEST}"),
    ] = None,
    tier: Annotated[
        list[str] | None,
        typer.Option(help="Only device, edge or cloud; may be repeated.", rich_help_panel=f"Options {REQUEST}"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Exactly so many denoising steps.", min=1, rich_help_panel=f"Options {REQUEST}")
    ] = None,
    local: Annotated[
        bool,
        typer.Option("--local", help="The prompt must not leave the device.", rich_help_panel=f"Options {REQUEST}"),
    ] = False,
    category: Annotated[
        str | None,
        typer.Option(help="Prompt category; default: as the grammar says.", rich_help_panel=f"Options {REQUEST}"),
    ] = None,
    seed: plan_scenario.Seed = None,
    method: plan_scenario.MethodName = "plan",
    goal: plan_scenario.Goal = None,
    explain: plan_scenario.Explain = False,
    user: plan_scenario.Users = None,
    pictures: plan_scenario.Pictures = None,
    arrays: plan_scenario.Arrays = None,
    list_scenarios: plan_scenario.ListScenarios = False,
    json: AsJson = False,
) -> None:
    """Plan one prompt, or a whole scenario of users and servers (an argument that ends in .toml); run nothing.

    For a prompt: where it would run on idle nodes, on which model, with how many steps, and why. For a scenario: who
    runs where, with which share of each server, and how far from the best possible plan this can be at most.
    Exit code 3 when nothing meets the limits; what would have to give is printed.
    """
    if list_scenarios:
        plan_scenario.list_scenarios(json)
        return
    _refuse_misplaced(context, prompt.endswith(".toml"))
    if prompt.endswith(".toml"):
        options = plan_scenario.Options(seed, method, goal, explain, tuple(user or ()), pictures, arrays, json)
        plan_scenario.plan(prompt, options)
        return
    if not prompt:
        from edgegen.core.errors import InputError

        raise InputError("give a prompt in quotes, or a scenario file; --list-scenarios shows the packaged ones")
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


def _refuse_misplaced(context: typer.Context, scenario: bool) -> None:
    """Refuse options of prompts beside a scenario, and options of scenarios beside a prompt."""
    from edgegen.core.errors import InputError

    panel = f"Options {REQUEST if scenario else SCENARIO}"
    for option in context.command.params:
        source = context.get_parameter_source(str(option.name))
        if source is not None and source.name == "COMMANDLINE" and getattr(option, "rich_help_panel", None) == panel:
            other = "a scenario says this in its file" if scenario else "give a scenario, a file that ends in .toml"
            raise InputError(f"{option.opts[0]} is {REQUEST if scenario else SCENARIO}; {other}", param=option.opts[0])


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
