"""`edgegen journal`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edgegen.cli.output import AsJson, print_json, print_table, say

app = typer.Typer(help="Read, explain and replay the journal of a gateway.", no_args_is_help=True)

JournalFile = Annotated[Path | None, typer.Option("--file", help="The journal; default: the configured one.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration that names the journal.")]


@app.command("explain")
def explain(
    request: Annotated[str, typer.Argument(metavar="ID", help="The id of a request.")],
    file: JournalFile = None,
    config: ConfigFile = None,
    json: AsJson = False,
) -> None:
    """Tell the story of one request: what happened, what was decided on which State, and what was done."""
    from edgegen.core.errors import UnknownNameError
    from edgegen.dispatch.journal import ids, read, story

    _, entries = read(_path(file, config))
    parts = story(entries, request)
    if not parts:
        raise UnknownNameError("request", request, ids(entries)[-20:], param="id")
    if json:
        print_json({"id": request, "story": parts})
        return
    began_s = parts[0]["now_s"]
    rows = [(f"{part['now_s'] - began_s:.3f}", *_told(part)) for part in parts]
    print_table(f"request {request}", ("after (s)", "what", "details"), rows)


@app.command("replay")
def replay(
    file: Annotated[Path, typer.Argument(help="A journal file.")],
    json: AsJson = False,
) -> None:
    """Replay a journal and compare every State, decision and command; exit code 1 at the first difference."""
    import dataclasses

    from edgegen.dispatch.audit import replay as audit
    from edgegen.registry import load_policy

    found = audit(file, load_policy)
    if json:
        print_json({**dataclasses.asdict(found), "same": found.same})
    elif found.same:
        say(f"{found.events} events and {found.decisions} decisions of {found.policy} replayed: all the same")
    else:
        say(f"entry {found.seq} came out differently after {found.events} equal ones:")
        typer.echo(found.difference)
    if not found.same:
        raise typer.Exit(1)


@app.command("list")
def list_requests(
    file: JournalFile = None,
    config: ConfigFile = None,
    limit: Annotated[int, typer.Option(help="How many of the newest requests.", min=1)] = 50,
    json: AsJson = False,
) -> None:
    """List the requests of a journal, newest first."""
    from edgegen.dispatch.journal import read, requests

    header, entries = read(_path(file, config))
    found = requests(entries)[::-1][:limit]
    if json:
        print_json({"policy": header.policy, "edgegen": header.edgegen, "requests": found})
        return
    columns = ("id", "arrived (s)", "prompt", "from", "ended", "node", "model", "steps")
    rows = [
        (r["id"], f"{r['arrived_s']:.3f}", r["prompt"][:40], r["origin"], r["status"], r["node"] or "",
         r["model"] or "", r["steps"] or "")
        for r in found
    ]  # fmt: skip
    print_table(f"{len(rows)} requests, decided by {header.policy}", columns, rows)


def _path(file: Path | None, config: Path | None) -> Path:
    from edgegen.config import find_config
    from edgegen.core.errors import InputError

    if file is not None:
        return file
    configured = find_config(config).gateway.journal
    if not configured:
        raise InputError("the configuration keeps no journal (gateway.journal is empty); give --file", param="file")
    return Path(configured)


def _told(part: dict[str, Any]) -> tuple[str, str]:
    """Return a part of a story as two cells."""
    if "event" in part:
        event = part["event"]
        return event["kind"].lower(), _event(event)
    if "decision" in part:
        decided, note = part["decision"], f" ({part['note']})" if part["note"] else ""
        choice = (
            "wait" if decided["node"] is None else f"{decided['node']}, {decided['model']}, {decided['steps']} steps"
        )
        return "decided", f"{choice} on state {part['state'][:12]}{note}"
    command = part["command"]
    return command["kind"].upper(), command.get("reason") or f"on {command.get('node')}"


def _event(event: dict[str, Any]) -> str:
    if event["kind"] == "Arrived":
        request = event["request"]
        limits = ", ".join(f"{key} {value}" for key, value in request["limits"].items() if value not in ("inf", 0.0))
        return f"{request['prompt']!r} ({request['category']}) from {request['origin']}; {limits or 'no limits'}"
    if event["kind"] == "Progressed":
        return f"step {event['step']} of {event['steps']}"
    if event["kind"] == "Finished":
        return ", ".join(f"{key} {value:.3g}" for key, value in event["actual"].items() if value)
    return event.get("reason", "")
