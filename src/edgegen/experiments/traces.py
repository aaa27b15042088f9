"""Arrivals by name or from a file: processes, packaged traces, downloaded traces of Azure, recorded journals.

Formats of https://github.com/Azure/AzurePublicDataset that are read as they are downloaded:
LLM inference 2023 and 2024 (`TIMESTAMP,ContextTokens,GeneratedTokens`), Functions 2019 (`HashOwner,HashApp,HashFunction,
Trigger,1,...,1440`: calls per minute) and Functions 2021 (`app,func,end_timestamp,duration`). A file with one column `at_s`
holds moments in seconds.
"""

import csv
import datetime as dt
import io
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path

import numpy as np

from edgegen.core.errors import InputError, UnknownNameError
from edgegen.physics.arrivals import AbstractArrivals, Bursty, Counted, Diurnal, Poisson, Recorded

MINUTE_S = 60.0
DAY_S = 120.0  # a generated day is this long, so that a replay of minutes sees both night and noon

PROCESSES: dict[str, Callable[[], AbstractArrivals]] = {
    "poisson": lambda: Poisson(1.0),
    "bursty": lambda: Bursty(1.0),
    "diurnal": lambda: Diurnal(1.0, period_s=DAY_S),
}
PACKAGED = {
    "azure-llm-conv": ("azure_llm_2023", "conv"),
    "azure-llm-code": ("azure_llm_2023", "code"),
    "azure-functions": ("azure_functions", "invocations"),
}
SUMMARIES = {
    "poisson": "independent arrivals at a constant rate",
    "bursty": "calm and bursts take turns, six times as many requests in a burst (Markov-modulated Poisson)",
    "diurnal": f"a day of {DAY_S:g} s: few requests at night, most at noon",
    "azure-llm-conv": "Azure LLM inference trace 2023, conversations, per second (CC-BY 4.0, Microsoft)",
    "azure-llm-code": "Azure LLM inference trace 2023, code: very bursty (CC-BY 4.0, Microsoft)",
    "azure-functions": "Azure Functions, 347 hours read as seconds, as DiffServe does (CC-BY 4.0, Microsoft)",
}


def open_arrivals(source: str) -> AbstractArrivals:
    """Return a process or a packaged trace by name, or the trace in a CSV file.

    **Raises** `InputError` for a name or a format that is not known.
    """
    if source in PROCESSES:
        return PROCESSES[source]()
    if source in PACKAGED:
        return _packaged(*PACKAGED[source])
    if Path(source).suffix != ".csv":
        raise UnknownNameError("trace", source, SUMMARIES, param="trace")
    return read_csv(Path(source))


def _packaged(table: str, column: str) -> AbstractArrivals:
    """Return a packaged trace: numbers per second (hours count as seconds)."""
    text = (resources.files("edgegen.data") / "traces" / f"{table}.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(io.StringIO("".join(line for line in text.splitlines(True) if line[0] != "#")))
    counts = np.array([float(row[column] or 0) for row in rows])
    rates = Counted(counts[: np.flatnonzero(counts > 0)[-1] + 1], 1.0)  # one column ends before the other
    return rates.at_rate(1.0) if table == "azure_functions" else rates


def read_csv(path: Path) -> AbstractArrivals:
    """Read a trace file in one of the formats of this module."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(line for line in file if not line.startswith("#"))
            names = set(reader.fieldnames or ())
            for needed, read in _FORMATS:
                if needed <= names:
                    return read(reader)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the trace {path}: {error}", param="trace") from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: a row of the trace is not as its header says: {error}", param="trace") from None
    known = "; ".join(", ".join(sorted(needed)) for needed, _ in _FORMATS)
    raise InputError(f"{path} is no trace that is known: expected a CSV file with the columns {known}", param="trace")


def _moments(values: Iterable[float]) -> Recorded:
    moments = np.sort(np.fromiter(values, dtype=float))
    if not len(moments):
        raise ValueError("it has no rows")
    return Recorded(moments - moments[0])


def _llm(rows: Iterable[dict[str, str]]) -> AbstractArrivals:
    return _moments(_seconds(row["TIMESTAMP"]) for row in rows)


def _seconds(text: str) -> float:
    """Return the seconds of a time stamp; Azure writes seven digits after the point, Python reads six."""
    stamp, point, rest = text.strip().partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    zone = rest[len(digits) :] if point else ""
    moment = dt.datetime.fromisoformat(stamp + zone)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return moment.timestamp() + (float(f"0.{digits}") if digits else 0.0)


def _functions_2019(rows: Iterable[dict[str, str]]) -> AbstractArrivals:
    total = np.zeros(1440)
    for row in rows:
        total += [float(row[str(minute)] or 0) for minute in range(1, 1441)]
    return Counted(total / MINUTE_S, MINUTE_S)


def _functions_2021(rows: Iterable[dict[str, str]]) -> AbstractArrivals:
    return _moments(float(row["end_timestamp"]) - float(row["duration"]) for row in rows)


def _plain(rows: Iterable[dict[str, str]]) -> AbstractArrivals:
    return _moments(float(row["at_s"]) for row in rows)


_FORMATS: tuple[tuple[set[str], Callable[..., AbstractArrivals]], ...] = (
    ({"TIMESTAMP"}, _llm),
    ({"HashFunction", "1", "1440"}, _functions_2019),
    ({"end_timestamp", "duration"}, _functions_2021),
    ({"at_s"}, _plain),
)
