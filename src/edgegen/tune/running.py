"""A federated run from its description to its result: in this process, on Flower's simulation engine, or as real processes."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgegen.core.errors import ConfigError, InputError, UnknownNameError
from edgegen.tune.federation.launch import Launch
from edgegen.tune.federation.learners import Arrays, Fitted
from edgegen.tune.federation.records import HISTORY, Progress
from edgegen.tune.federation.rounds import Around
from edgegen.tune.federation.settings import FederatedSettings, PrivacySection, parse
from edgegen.tune.judging import Exam
from edgegen.tune.pictures import Task, Workshop, combine_fedex
from edgegen.tune.privacy.accounting import epsilon_of_rounds, least_noise
from edgegen.tune.privacy.promise import EXAMPLE, NONE, Privacy

HERE, SIMULATION, PROCESSES = WAYS = ("here", "simulation", "processes")
LEARNER = "edgegen.tune.pictures:make"
PLATEAU_EXAM = (
    10,
    5,
)  # captions of every novel object and known category, drawn after each round where a plateau ends a run
DEADLINE_S = 600.0  # of a round of real processes, where nothing is said
RUN = "run.json"  # what a run's folder says of itself

Told = Callable[[Progress], None]


@dataclass(frozen=True)
class Run:
    """What is learnt, and how its rounds go."""

    task: Task
    settings: FederatedSettings

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"task": self.task.options(), "run": self.settings.model_dump(mode="json")}


def describe(task: Mapping[str, Any], settings: Mapping[str, Any], *, epsilon: float | None = None) -> Run:
    """Return the run that plain values describe; `epsilon` asks for the least noise that keeps all rounds within it.

    The adapter's mode and the privacy of examples are said once, in the settings, and hold for the sites, too.
    **Raises** `ConfigError` or `InputError` with the field.
    """
    known = parse(dict(settings))
    made = Task.of({**Task().options(), **_merged(task)})
    lora_mode = known.mode if known.mode in ("ffa", "fedit", "fedex") else made.lora.mode
    made = replace(made, mode=known.mode, lora=replace(made.lora, mode=lora_mode))
    if epsilon is not None:
        known = parse({**known.model_dump(), "privacy": noise_for(epsilon, made, known).model_dump()})
    if known.privacy.kind == EXAMPLE:
        said = known.privacy
        made = replace(made, privacy=Privacy(EXAMPLE, said.noise, said.clip, said.delta))
    return Run(made, known)


def noise_for(epsilon: float, task: Task, settings: FederatedSettings) -> PrivacySection:
    """Return privacy of examples with the least noise that lets all rounds end within `epsilon`."""
    rate = sample_rate(task)
    noise = least_noise(
        epsilon, delta=settings.privacy.delta, sample_rate=rate, steps=settings.rounds * settings.steps
    )  # fmt: skip
    return PrivacySection(
        kind=EXAMPLE, noise=noise, clip=settings.privacy.clip, delta=settings.privacy.delta, max_epsilon=epsilon
    )


def sample_rate(task: Task) -> float:
    """Return the share of a site's pictures that a step sees."""
    return min(1.0, task.local.batch / task.spread.pictures)


def read_file(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the tables `[task]` and `[run]` of a TOML file."""
    try:
        found = tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", param=str(file)) from None
    if unknown := sorted(found.keys() - {"task", "run"}):
        raise ConfigError(f"{file} has {', '.join(unknown)}; expected [task] and [run]", param=unknown[0])
    return found.get("task", {}), found.get("run", {})


def carry_out(run: Run, folder: Path, *, way: str = HERE, told: Told = lambda progress: None) -> Progress:
    """Carry out a run, or go on with the one that the folder holds; return the arrays and the rounds.

    **Raises** `InputError` for a folder of another run, `UnknownNameError` for an unknown way.
    """
    if way not in WAYS:
        raise UnknownNameError("way to run", way, WAYS, param="way")
    if way != HERE and run.settings.deadline_s is None:  # a site that dies with a message in its hands never answers
        run = Run(run.task, parse({**run.settings.model_dump(), "deadline_s": DEADLINE_S}))
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / RUN).exists():
        _describe_in(folder, run)
    progress = _carried_out(run, folder, way, told)
    _describe_in(folder, run)  # it may have been told to go on for longer
    return progress


def _carried_out(run: Run, folder: Path, way: str, told: Told) -> Progress:
    workshop = Workshop(run.task)
    sites, options = run.task.spread.sites, run.task.options()
    if way == HERE:
        from edgegen.tune.federation.in_process import run_in_process

        judge = workshop_judge(workshop) if run.settings.plateau is not None else None
        around = Around(judge, spending(run.settings, options), workshop.combine(), told)
        return run_in_process(
            workshop.learner, sites, run.settings, workshop.start, around=around, folder=str(folder), options=options
        )
    launch = Launch(
        LEARNER,
        sites,
        run.settings,
        folder,
        options,
        judge="edgegen.tune.running:judging" if run.settings.plateau is not None else None,
        epsilon="edgegen.tune.running:spending" if run.settings.privacy.kind != NONE else None,
        combine="edgegen.tune.running:combining" if run.settings.mode == "fedex" else None,
    )
    if way == SIMULATION:
        from edgegen.tune.federation.simulated import run_simulated

        return run_simulated(launch, workshop.start, on_round=told)
    from edgegen.tune.federation.processes import run_on_processes

    return run_on_processes(launch, workshop.start, on_round=told)


def reopen(folder: Path) -> tuple[Run, Progress]:
    """Return a run and how far it has come. **Raises** `InputError` where a folder holds none."""
    try:
        kept = json.loads((folder / RUN).read_text())
        history = json.loads((folder / HISTORY).read_text())
        with np.load(folder / history["arrays"], allow_pickle=False) as file:
            arrays = {name: file[name] for name in history["names"]}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder} holds no federated run with a finished round: {error}", param="run") from None
    from edgegen.tune.federation.records import Round

    rounds = tuple(Round(**entry) for entry in history["history"])
    return Run(Task.of(kept["task"]), parse(kept["run"])), Progress(arrays, rounds, history["ended"])


def spending(settings: FederatedSettings, options: Mapping[str, Any]) -> Callable[[int], float] | None:
    """Return what so many rounds spend of the privacy of examples or of sites; None where nothing is private."""
    said = settings.privacy
    if said.kind == NONE:
        return None
    privacy = Privacy(said.kind, said.noise, said.clip, said.delta)
    if said.kind == EXAMPLE:
        return epsilon_of_rounds(privacy, [sample_rate(Task.of(options))], settings.steps)
    return epsilon_of_rounds(privacy, [1.0], 1)  # every site in every round, each heard once


def judging(options: Mapping[str, Any]) -> Callable[[Arrays], dict[str, float]]:
    """Return what judges the arrays after a round, in a server's own process."""
    return workshop_judge(Workshop(Task.of(options)))


def workshop_judge(workshop: Workshop) -> Callable[[Arrays], dict[str, float]]:
    """Return what judges arrays by a few held-out captions: `quality` of what is novel, and of what was `known` before."""
    exam = Exam.of(*PLATEAU_EXAM)

    def judge(arrays: Arrays) -> dict[str, float]:
        marks = workshop.examine(arrays, exam)
        return {"quality": marks.novel, "known": marks.known}

    return judge


def combining(options: Mapping[str, Any]) -> Callable[[Arrays, Arrays, list[Fitted]], Arrays]:
    """Return what puts the updates of `fedex` together."""
    scale = Task.of(options).lora.scale
    return lambda before, mean, fits: combine_fedex(before, mean, fits, scale)


def _merged(task: Mapping[str, Any]) -> dict[str, Any]:
    """Fill up the tables of a task that are said in part."""
    usual = Task().options()
    return {
        name: {**usual[name], **value} if isinstance(usual.get(name), dict) and isinstance(value, Mapping) else value
        for name, value in task.items()
    }


def _describe_in(folder: Path, run: Run) -> None:
    (folder / RUN).write_text(json.dumps(run.plain(), indent=1) + "\n")
