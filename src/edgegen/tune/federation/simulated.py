"""A run on Flower's simulation engine: many sites on one machine, a few at a time, each in a process of Ray.

Flower's own command line would leave a server running; here it is one of ours, on a free port, and is stopped like the
others. Ray has to be installed (`edgegen[cluster]`).
"""

import importlib.util
import os
from collections.abc import Callable

from edgegen.core.errors import InputError
from edgegen.tune.federation.launch import Launch
from edgegen.tune.federation.learners import Arrays
from edgegen.tune.federation.places import Engine
from edgegen.tune.federation.processes import run_on_processes
from edgegen.tune.federation.records import Progress


def simulation(sites: int, at_once: int) -> Engine:
    """Return the engine that runs `sites` sites, `at_once` of them at a time, a core each."""
    if at_once < 1:
        raise InputError(f"at least one site has to run at a time, got {at_once}", param="at_once")
    told = f"num-supernodes={sites} client-resources-num-cpus=1 init-args-num-cpus={at_once}"
    return Engine(0, ("--simulation",), ("--federation-config", told))


def run_simulated(
    launch: Launch,
    start: Arrays,
    *,
    at_once: int | None = None,
    on_round: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Run a launch on the simulation engine and return what came of it; no process is left.

    `at_once` sites run at a time, by default as many as there are cores. **Raises** `InputError` without Ray.
    """
    if importlib.util.find_spec("ray") is None:
        raise InputError("the simulation engine runs on Ray; install edgegen[cluster]")
    engine = simulation(launch.sites, at_once or os.cpu_count() or 1)
    return run_on_processes(launch, start, engine=engine, on_round=on_round)
