"""`edgegen worker`: machines that join a gateway by themselves."""

import contextlib
import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from edgegen.cli.output import AsJson, print_json, say
from edgegen.core.errors import InputError

app = typer.Typer(help="Let machines join a gateway by themselves, from behind NAT, too.", no_args_is_help=True)

KeyName = Annotated[str | None, typer.Option("--key-env", metavar="NAME", help="Environment variable that holds it.")]
KeyFile = Annotated[Path | None, typer.Option("--key-file", help="File that holds it.")]
Insecure = Annotated[bool, typer.Option("--insecure", help="Over http beyond this machine all the same.")]


@app.command("token")
def token(
    node: Annotated[str, typer.Argument(help='A node whose worker is of the kind "pull".')],
    url: Annotated[str, typer.Option(help="The gateway.")] = "http://127.0.0.1:8000",
    key_env: KeyName = None,
    key_file: KeyFile = None,
    insecure: Insecure = False,
    json: AsJson = False,
) -> None:
    """Ask a gateway for a token with which one machine can join as a node, once and soon; --key-... is an API key."""
    import httpx

    from edgegen.core.errors import ConfigError, WorkerError
    from edgegen.serve.workers.joining import socket_address

    socket_address(url, insecure=insecure)  # refuses what is no gateway's address
    key = _key(key_env, key_file)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    address = f"{url.rstrip('/').removesuffix('/v1')}/v1/workers/tokens"
    try:
        answer = httpx.post(address, json={"node": node}, headers=headers, timeout=10.0, trust_env=False)
    except httpx.HTTPError as error:
        raise WorkerError(f"no gateway answers at {url}: {error}") from None
    if answer.status_code != 200:
        raise ConfigError(f"the gateway refuses ({answer.status_code}): {_message(answer)}")
    given = answer.json()
    if json:
        print_json(given)
        return
    typer.echo(given["token"])
    typer.echo(f"for one machine, as node {given['node']}, within {given['expires_s'] / 60:g} minutes", err=True)


@app.command("join")
def join(
    url: Annotated[str, typer.Argument(metavar="URL", help="The gateway, such as https://gateway.example.")],
    key_env: KeyName = None,
    key_file: KeyFile = None,
    models: Annotated[
        str | None, typer.Option(help="Models that this machine takes, by commas (default: all).")
    ] = None,
    folder: Annotated[
        list[str] | None, typer.Option(metavar="MODEL=PATH", help="Where a model is that is not built in.")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, max=64, help="Pictures made side by side.")] = 1,
    maker: Annotated[str, typer.Option(help="builtin, or instant: a ready picture, to try the way.")] = "builtin",
    secret_file: Annotated[Path | None, typer.Option(help="Where this machine keeps its secret.")] = None,
    insecure: Insecure = False,
) -> None:
    """Work for a gateway until Ctrl-C. The first time, --key-... is a token from `edgegen worker token`."""
    import asyncio

    from edgegen.observe.logs import set_up
    from edgegen.serve.workers.joining import Member, Pass, socket_address
    from edgegen.serve.workers.joining import secret_file as usual_file
    from edgegen.serve.workers.spawn import process_arguments
    from edgegen.serve.workers.station import Station

    set_up("info")
    if maker not in ("builtin", "instant"):
        raise InputError(f"expected builtin or instant, got {maker!r}", param="maker")
    folders = dict(_pair(entry) for entry in folder or [])
    arguments = process_arguments(maker=maker, slots=slots, folders=folders)
    taken = [name.strip() for name in (models or "").split(",") if name.strip()]
    member = Member(
        socket_address(url, insecure=insecure),
        Pass(secret_file or usual_file(url), _key(key_env, key_file)),
        lambda on_message: Station(arguments, on_message, models=taken),
        on_joined=lambda node, resumed: say(f"{'again ' if resumed else ''}working as node {node} of {url}"),
    )

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await member.run()

    asyncio.run(work())


def _key(name: str | None, file: Path | None) -> str | None:
    """Return a key or token from where it was said to be. **Raises** `InputError` when it is not there."""
    if name is not None and file is not None:
        raise InputError("expected --key-env or --key-file, got both", param="key")
    if name is not None:
        if not os.environ.get(name):
            raise InputError(f"the environment variable {name!r} is not set", param="key_env")
        return os.environ[name].strip()
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}", param="key_file") from None


def _pair(entry: str) -> tuple[str, str]:
    model, equals, path = entry.partition("=")
    if not (model and equals and path):
        raise InputError(f"expected MODEL=PATH, got {entry!r}", param="folder")
    return model, path


def _message(answer) -> str:
    try:
        return str(answer.json()["error"]["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]
