"""The command line: it parses, calls and prints. One file per command or group of commands; nobody imports it.

Nothing heavy is imported before a command runs, so that `edgegen --help` answers at once.

Exit codes: 0 done; 1 a check did not hold (a bar, a replay); 2 wrong usage or input; 3 no decision meets the limits;
4 a worker or the gateway failed; 130 interrupted.
"""

import sys

import typer

from edgegen.cli import (
    bench,
    builtin,
    demo,
    gap,
    init,
    journal,
    keys,
    plan,
    policies,
    profile,
    replay,
    reproduce,
    serve,
    simulate,
    storage,
    study,
    train,
    tune,
    version,
    worker,
)
from edgegen.cli.output import report_error
from edgegen.core.errors import EdgegenError

app = typer.Typer(
    name="edgegen",
    help="Generative AI served at the network edge: decide where, on which model, with how many steps, then run it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    demo.demo,
    serve.serve,
    init.init,
    plan.plan,
    study.study,
    simulate.simulate,
    replay.replay,
    gap.gap,
    train.train,
    reproduce.reproduce,
    policies.policies,
    bench.bench,
    version.version,
):
    app.command()(command)
app.add_typer(profile.app, name="profile")
app.add_typer(tune.app, name="tune")
app.add_typer(builtin.app, name="builtin")
app.add_typer(journal.app, name="journal")
app.add_typer(worker.app, name="worker")
app.add_typer(keys.app, name="keys")
app.add_typer(storage.app, name="storage")


def main() -> None:
    """Run the command line; errors that edgegen raises on purpose become one sentence and an exit code."""
    try:
        app()
    except EdgegenError as error:
        sys.exit(report_error(error))
    except KeyboardInterrupt:
        sys.exit(130)
