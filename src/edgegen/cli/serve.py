"""`edgegen serve`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgegen.cli.output import AsJson, print_json, say

ConfigFile = Annotated[
    Path | None, typer.Argument(help="A configuration from `edgegen init`; the built-in one when left out.")
]


def serve(
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Address to serve on (default: the configuration's).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="Who decides: a name with options, `fixed-steps:steps=8`, or a trained FILE.agent."),
    ] = None,
    journal: Annotated[
        str | None, typer.Option(help="Where every decision is written; an empty text keeps none.")
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="What is logged to the error stream.")
    ] = "info",
    log_format: Annotated[
        Literal["console", "json"] | None, typer.Option(help="Default: console on a terminal, else json.")
    ] = None,
    tls_cert: Annotated[str | None, typer.Option(help="Serve HTTPS with this certificate (PEM).")] = None,
    tls_key: Annotated[str | None, typer.Option(help="The key of the certificate (PEM).")] = None,
    traces: Annotated[
        str | None, typer.Option(help="Send traces to this OpenTelemetry collector: http://127.0.0.1:4318.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Serve beyond this machine without an API key all the same.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Serve OpenAI's Images API: workers, dispatcher, page and metrics, until Ctrl-C."""
    import structlog

    from edgegen.assemble import build_fleet, with_published
    from edgegen.config import default_config, load_config
    from edgegen.core.errors import ConfigError
    from edgegen.observe.logs import set_up
    from edgegen.serve.run import Live, Tls, run_gateway
    from edgegen.serve.storage.place import Storage

    set_up(log_level, form=log_format)
    warn = structlog.get_logger(__name__).warning
    chosen = with_published(load_config(config) if config else default_config(), warn)
    fleet = build_fleet(chosen)
    kept = chosen.gateway.journal if journal is None else journal
    if bool(tls_cert) != bool(tls_key):
        raise ConfigError("--tls-cert and --tls-key go together; give both or none")

    def ready(live: Live) -> None:
        if json:
            print_json(_facts(live))
        else:
            _tell(_facts(live))

    run_gateway(
        chosen,
        fleet,
        policy=policy,
        journal=kept or None,
        host=host,
        port=port,
        tls=Tls(tls_cert, tls_key) if tls_cert and tls_key else None,
        traces=traces,
        insecure=insecure,
        storage=Storage.of(chosen.storage),
        on_ready=ready,
    )


def _facts(live) -> dict:
    nodes = live.runtime.nodes()["data"]
    return {
        "url": live.url,
        "policy": live.runtime.policy,
        "keys": bool(live.gateway.keys),
        "jobs": live.gateway.storage.database.name if live.gateway.storage else None,
        "nodes": [{key: node[key] for key in ("name", "tier", "models", "emulated")} for node in nodes],
    }


def _tell(facts: dict) -> None:
    say(f"edgegen serves on {facts['url']} (page, API under /v1, /metrics); Ctrl-C ends it", style="bold")
    say(f"policy {facts['policy']}; API key {'needed' if facts['keys'] else 'not needed'}")
    say(f"jobs are kept in {facts['jobs']}" if facts["jobs"] else "no jobs are taken: [storage] url is empty")
    for node in facts["nodes"]:
        emulated = f"; emulated: {', '.join(node['emulated'])}" if node["emulated"] else ""
        say(f"  {node['tier']:<6} {node['name']}: {', '.join(node['models'])}{emulated}")
