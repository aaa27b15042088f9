"""Meters: times with their spread, energy counters, memory, and the cold start of a model in a fresh process."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgegen.core.errors import WorkerError

POWERCAP = Path("/sys/class/powercap")
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}
"""wall: as a user waits. processor: what this process really computed; for one busy thread that is what the wall clock
would say on a machine with nothing else to do."""

COLD_START_LIMIT_S = 120.0
Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Spread:
    """Repeated measurements of one time: median, quartiles, and their number."""

    median_s: float
    low_s: float
    high_s: float
    n: int

    @staticmethod
    def of(samples_s: Sequence[float]) -> "Spread":
        """Return the spread of these times."""
        low, median, high = np.quantile(samples_s, [0.25, 0.5, 0.75])
        return Spread(float(median), float(low), float(high), len(samples_s))


@dataclass(frozen=True)
class Interleaved:
    """Times of several pieces of work that took turns, and how much of the wall time was ours."""

    spreads: Mapping[int, Spread]
    own_share: float


def take_turns(
    works: Mapping[int, Callable[[], object]],
    repeats: int,
    *,
    clock: str = "wall",
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> Interleaved:
    """Time every work `repeats` times, in turns, so that a disturbance of the machine hits all of them alike."""
    now = CLOCKS[clock]
    samples: dict[int, list[float]] = {key: [] for key in works}
    for work in works.values():
        work()  # the first call allocates
    wall, own = time.perf_counter(), time.process_time()
    for round_ in range(repeats):
        for key, work in works.items():
            start = now()
            work()
            samples[key].append(now() - start)
        tick(round_ + 1, repeats)
    wall, own = time.perf_counter() - wall, time.process_time() - own
    return Interleaved({key: Spread.of(values) for key, values in samples.items()}, min(own / wall, 1.0))


@dataclass(frozen=True)
class EnergyCounter:
    """The energy counters of this machine's processor packages (RAPL), where they can be read.

    folders: one per package, each with `energy_uj` and `max_energy_range_uj`.
    """

    folders: tuple[Path, ...]

    @staticmethod
    def find(root: Path = POWERCAP) -> "EnergyCounter | None":
        """Return the counters, or None where there are none or they are not readable."""
        packages = [folder for folder in sorted(root.glob("intel-rapl:*")) if folder.name.count(":") == 1]
        counter = EnergyCounter(tuple(packages))
        try:
            readable = bool(packages) and all(value >= 0 for value in counter.read_uj())
        except (OSError, ValueError):
            return None
        return counter if readable else None

    def read_uj(self) -> list[int]:
        """Return the microjoules counted so far by each package."""
        return [int((folder / "energy_uj").read_text()) for folder in self.folders]

    def spent_j(self, before: Sequence[int], after: Sequence[int]) -> float:
        """Return the joules between two readings; a counter that went over its range starts again at zero."""
        total = 0
        for folder, start, end in zip(self.folders, before, after, strict=True):
            total += end - start if end >= start else end - start + int((folder / "max_energy_range_uj").read_text())
        return total / 1e6

    def power_w(self, work: Callable[[], object], at_least_s: float) -> float:
        """Return the mean watts of the packages while the work is repeated for at least so long."""
        start, before = time.perf_counter(), self.read_uj()
        while time.perf_counter() - start < at_least_s:
            work()
        return self.spent_j(before, self.read_uj()) / (time.perf_counter() - start)


@dataclass(frozen=True)
class ColdStart:
    """Loading a model in fresh processes: time until the first picture could start, and memory it took."""

    load: Spread
    memory_bytes: int


def cold_start(model: str, opener: Callable, repeats: int, *, clock: str = "wall") -> ColdStart:
    """Load a model in fresh processes and measure it there.

    opener must be importable by name: `opener(model)` loads the model, `.warm_up()` of its value makes one picture in
    one step.
    """
    code = (
        "import sys; from edgegen.generate.meters import report_cold_start;"
        f" from {opener.__module__} import {opener.__name__} as opener; report_cold_start(opener, *sys.argv[1:])"
    )
    runs = [_run(code, model, clock) for _ in range(repeats)]
    memory = int(np.median([run["memory_bytes"] for run in runs]))
    return ColdStart(Spread.of([run["load_s"] for run in runs]), memory)


def _run(code: str, model: str, clock: str) -> dict[str, float]:
    command = [sys.executable, "-c", code, model, clock]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COLD_START_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise WorkerError(f"loading {model} took more than {COLD_START_LIMIT_S:g} s in a fresh process") from error
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise WorkerError(f"loading {model} failed in a fresh process: {last[0]}")
    return json.loads(done.stdout.splitlines()[-1])


def report_cold_start(opener: Callable, model: str, clock: str) -> None:
    """Load a model in this (fresh) process and print seconds and bytes as one line of JSON."""
    before, start = rss_bytes(), CLOCKS[clock]()
    subject = opener(model)  # held until its memory has been read
    subject.warm_up()
    load_s, memory = CLOCKS[clock]() - start, max(rss_bytes() - before, 1)
    sys.stdout.write(json.dumps({"load_s": load_s, "memory_bytes": memory}) + "\n")
    del subject


def rss_bytes() -> int:
    """Return the resident memory of this process."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource  # no /proc: the highest value so far is what can be had (bytes on macOS)

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
