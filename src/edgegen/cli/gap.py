"""`edgegen gap`: how far virtual time is from the real gateway."""

from pathlib import Path
from typing import Annotated

import typer

from edgegen.cli.output import AsJson, print_json, print_table, say


def gap(
    trace: Annotated[str, typer.Argument(help="A named trace (`edgegen replay --list`) or a trace file.")] = "poisson",
    fleet: Annotated[
        Path | None, typer.Option(help="Configuration with the machines; default: ./edgegen.toml, or the built-in one.")
    ] = None,
    policy: Annotated[list[str] | None, typer.Option(help="A policy; repeat it for more.")] = None,
    rate: Annotated[float, typer.Option(help="Requests per second on average.", min=1e-3, max=1e3)] = 8.0,
    duration: Annotated[float, typer.Option(help="Seconds over which requests come.", min=1.0)] = 20.0,
    seed: Annotated[int, typer.Option(help="Decides moments, prompts and limits.", min=0)] = 0,
    json: AsJson = False,
) -> None:
    """Serve the same requests live and in virtual time, and compare attainment, latency and energy.

    Live means: a gateway of its own, worker processes, real pictures, HTTP. Intervals hold 95 % (bootstrap over requests).
    """
    from edgegen.assemble import build_fleet
    from edgegen.cli.profile_view import progress_bar
    from edgegen.config import find_config
    from edgegen.demo.gap import compare
    from edgegen.experiments.replaying import traffic
    from edgegen.observe.logs import set_up
    from edgegen.registry import DEFAULT

    set_up("warning")
    config = find_config(fleet)
    machines = build_fleet(config)
    asks = traffic(trace, config, rate_hz=rate, seconds=duration).asks(seed)
    found = []
    with progress_bar() as progress:
        for name in policy or [DEFAULT]:
            done: list[object] = []

            def told(outcome: object, name: str = name, done: list[object] = done) -> None:
                done.append(outcome)
                progress(name, len(done), len(asks))

            progress(name, 0, len(asks))
            found.append(compare(config, machines, name, asks, told))
    if json:
        rows = [
            {
                "policy": one.policy,
                "requests": one.requests,
                "same_place": one.same_place,
                "load": list(one.load),
                "figures": [entry.to_dict() for entry in one.gaps],
            }
            for one in found
        ]
        print_json({"trace": trace, "seed": seed, "policies": rows})
        return
    for one in found:
        rows = [
            (g.figure, f"{g.live:.4g}", f"{g.replay:.4g}", f"{g.error:+.1%}", f"{g.low:+.1%} to {g.high:+.1%}")
            for g in one.gaps
        ]
        title = f"{one.policy}: {one.requests} requests of {trace}"
        print_table(title, ("figure", "live", "replay", "error", "95 % interval"), rows, whole=1)
        before, after = one.load
        say(f"{one.same_place:.0%} ran on the same node; machine load {before:.2f} before, {after:.2f} after")
