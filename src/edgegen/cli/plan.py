"""`edgegen plan`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edgegen.cli import plan_scenario, plan_split
from edgegen.cli.output import AsJson, print_json, print_table, say
from edgegen.cli.quantities import read_quantity

SUFFIX = ".toml"
REQUEST, SCENARIO = "about a prompt", "about a scenario"


def _option(words: str, *names: str, **how: Any) -> Any:
    return typer.Option(*names, help=words, rich_help_panel=f"Options {REQUEST}", **how)


Prompt = Annotated[
    str, typer.Argument(metavar="PROMPT|SCENARIO.toml", help="What to draw, or a scenario of many users.")
]
Config = Annotated[Path | None, _option("Configuration; default: ./edgegen.toml, or the built-in one.")]
Policy = Annotated[str | None, _option("Another policy than the configured one.")]
Origin = Annotated[str | None, _option("The device that asks; default: the first one.")]
Deadline = Annotated[str | None, _option("From the request to the picture, such as '800 ms'.")]
MinQuality = Annotated[float, _option("Least expected quality, 0 to 1.", min=0, max=1)]
MaxEnergy = Annotated[str | None, _option("Energy from the device, such as '2 J'.")]
MaxCost = Annotated[str | None, _option("Money, such as '0.001 USD'.")]
Models = Annotated[list[str] | None, _option("Only this model; may be repeated.")]
Nodes = Annotated[list[str] | None, _option("Only this node; may be repeated.")]
Tiers = Annotated[list[str] | None, _option("Only device, edge or cloud; may be repeated.")]
Steps = Annotated[int | None, _option("Exactly so many denoising steps.", min=1)]
Local = Annotated[bool, _option("The prompt must not leave the device.", "--local")]
Split = Annotated[bool, _option("Let a server do the first steps and the device the last ones.", "--split")]
HandoverSize = Annotated[str, _option("With --split: what a half-made picture weighs, such as '132 kB'.")]
OwnSteps = Annotated[int, _option("With --split: steps that the device does at least.", min=0)]
Category = Annotated[str | None, _option("Prompt category; default: as the grammar says.")]


def plan(
    context: typer.Context,
    prompt: Prompt = "",
    config: Config = None,
    policy: Policy = None,
    origin: Origin = None,
    deadline: Deadline = None,
    min_quality: MinQuality = 0.0,
    max_energy: MaxEnergy = None,
    max_cost: MaxCost = None,
    model: Models = None,
    node: Nodes = None,
    tier: Tiers = None,
    steps: Steps = None,
    local: Local = False,
    category: Category = None,
    split: Split = False,
    handover_size: HandoverSize = plan_split.HANDOVER,
    own_steps: OwnSteps = 0,
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
    With --split: after how many steps a server would hand the picture over to the device that asks.
    Exit code 3 when nothing meets the limits; what would have to give is printed.
    """
    if list_scenarios:
        plan_scenario.list_scenarios(json)
        return
    _refuse_misplaced(context, prompt)
    if prompt.endswith(SUFFIX):
        options = plan_scenario.Options(seed, method, goal, explain, tuple(user or ()), pictures, arrays, json)
        plan_scenario.plan(prompt, options)
        return
    from edgegen.config import find_config
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
            deadline_s=read_quantity(deadline, "time", "--deadline"),
            min_quality=min_quality,
            energy_j=read_quantity(max_energy, "energy", "--max-energy"),
            money_usd=read_quantity(max_cost, "money", "--max-cost"),
        ),
        wish=Wish(tuple(model or ()), tuple(node or ()), tuple(tier or ()), steps, local),
        weights=settings.objective.weights,
    )
    if split:
        plan_split.plan(settings, request, handover_size, own_steps, json)
    else:
        _answer(_explain(settings, request, policy or settings.policy.name), json)


def _answer(answer: dict[str, Any], json: bool) -> None:
    from edgegen.core.errors import InfeasibleError

    if json:
        print_json(answer)
    else:
        _show(answer)
    if answer["decision"] is None:
        if json:
            raise typer.Exit(3)
        raise InfeasibleError(answer["reason"], offer=answer.get("offer"))


def _refuse_misplaced(context: typer.Context, prompt: str) -> None:
    """Refuse an empty prompt, options of prompts beside a scenario, and options of scenarios beside a prompt."""
    from edgegen.core.errors import InputError

    if not prompt:
        raise InputError("give a prompt in quotes, or a scenario file; --list-scenarios shows the packaged ones")
    misplaced, instead = SCENARIO, f"give a scenario, a file that ends in {SUFFIX}"
    if prompt.endswith(SUFFIX):
        misplaced, instead = REQUEST, "a scenario says this in its file"
    for option in context.command.params:
        source = context.get_parameter_source(str(option.name))
        given = source is not None and source.name == "COMMANDLINE"
        if given and getattr(option, "rich_help_panel", None) == f"Options {misplaced}":
            raise InputError(f"{option.opts[0]} is {misplaced}; {instead}", param=option.opts[0])


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
