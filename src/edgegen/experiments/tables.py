"""Long tables of results, written while they are computed, as CSV or Parquet, with where they come from.

One row is one number: what it belongs to, the name of the metric, the value. So one schema holds the ledgers of all systems, and
tables of several runs can be put below one another; Parquet keeps a repeated name once. Provenance is
metadata: of a Parquet file its key-value metadata, of `NAME.csv` the file `NAME.csv-metadata.json` beside it, which is "tabular
data on the web" (W3C, 2015) with the facts as a note. A CSV file is whole after every block. A Parquet file is whole when it has been
closed, also by Ctrl-C; `complete` says whether all was written that should be.
"""

import contextlib
import csv
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from edgegen.core.errors import InputError
from edgegen.core.provenance import Facts

Schema = Mapping[str, type]  # columns in order: str, int, float or bool; None stands for what is not known
Columns = Mapping[str, Sequence[Any]]
SIMULATED: Schema = {"system": str, "instance": int, "episode": int, "policy": str, "metric": str, "value": float}
"""One row per instance, episode, policy and metric: the sum over the episode of an entry of the ledger, or the reward."""
LEARNT: Schema = {"system": str, "learner": str, "seed": int, "step": int, "metric": str, "value": float}
"""One row per seed, number of environment steps and metric: a learning curve."""
_FIGURE: Schema = {"value": float, "low": float, "high": float, "n": int, "unit": str, "published": float}
CLAIMED: Schema = {"paper": str, "claim": str, **_FIGURE, "goal": str, "ok": bool}
"""One row per figure of a paper."""
KEY = "edgegen"
_CSVW = {str: "string", int: "integer", float: "double", bool: "boolean"}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table that was read back."""

    columns: dict[str, list[Any]]
    provenance: Facts

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*self.columns.values(), strict=True)]


class _Sink(Protocol):
    def write(self, columns: Columns) -> None: ...
    def close(self, facts: Facts) -> None: ...


@contextlib.contextmanager
def writing(path: Path, schema: Schema, provenance: Facts) -> Iterator[Callable[[Columns], None]]:
    """Give a function that adds a block of rows, given by columns; the name's ending, .csv or .parquet, is the format.

    **Raises** `InputError` for another ending, a file that cannot be written, or Parquet without pyarrow.
    """
    kinds: dict[str, Callable[[Path, Schema, Facts], _Sink]] = {".csv": _Csv, ".parquet": _Parquet}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"a table's name must end in .csv or .parquet, got {path.name!r}", param="--table")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sink = kind(path, schema, provenance)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}", param="--table") from None
    rows, complete = 0, False

    def write(columns: Columns) -> None:
        nonlocal rows
        lengths = {len(column) for column in columns.values()}
        if list(columns) != list(schema) or len(lengths) != 1:
            raise ValueError(f"expected columns of one length, {', '.join(schema)}; got {', '.join(columns)}")
        sink.write(columns)
        rows += lengths.pop()

    try:
        yield write
        complete = True
    finally:
        sink.close({**provenance, "load_after": round(os.getloadavg()[0], 2), "rows": rows, "complete": complete})


class _Csv:
    def __init__(self, path: Path, schema: Schema, provenance: Facts):
        self._path, self._schema = path, schema
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(schema)
        self._describe(provenance)

    def write(self, columns: Columns) -> None:
        words = [
            ["" if v is None else str(v).lower() if v is True or v is False else v for v in c] for c in columns.values()
        ]
        self._writer.writerows(zip(*words, strict=True))
        self._file.flush()

    def close(self, facts: Facts) -> None:
        self._file.close()
        self._describe(facts)

    def _describe(self, facts: Facts) -> None:
        described = {
            "@context": "http://www.w3.org/ns/csvw",
            "url": self._path.name,
            "tableSchema": {"columns": [{"name": n, "datatype": _CSVW[kind]} for n, kind in self._schema.items()]},
            "notes": [{KEY: facts}],
        }
        _beside(self._path).write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class _Parquet:
    def __init__(self, path: Path, schema: Schema, provenance: Facts):
        self._arrow, parquet = _pyarrow()
        kinds = dict(zip((str, int, float, bool), ("string", "int64", "float64", "bool"), strict=True))
        self._schema = self._arrow.schema([(name, kinds[kind]) for name, kind in schema.items()])
        del provenance  # written with what is known at the end
        self._writer = parquet.ParquetWriter(path, self._schema)

    def write(self, columns: Columns) -> None:
        self._writer.write_table(self._arrow.table(dict(columns), schema=self._schema))

    def close(self, facts: Facts) -> None:
        self._writer.add_key_value_metadata({KEY: json.dumps(facts)})
        self._writer.close()


def read(path: Path) -> Table:
    """Return a table with its provenance. A CSV file needs the description that was written beside it.

    **Raises** `InputError` for a file that is missing or not one of ours.
    """
    try:
        return _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"cannot read {path} as a table with its provenance: {error}", param=str(path)) from None


def _read_csv(path: Path) -> Table:
    described = json.loads(_beside(path).read_text(encoding="utf-8"))
    kinds = {column["name"]: column["datatype"] for column in described["tableSchema"]["columns"]}
    parse = {"string": str, "integer": int, "double": float, "boolean": lambda text: text == "true"}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {
        name: [None if row[name] == "" and kind != "string" else parse[kind](row[name]) for row in rows]
        for name, kind in kinds.items()
    }
    return Table(columns, described["notes"][0][KEY])


def _read_parquet(path: Path) -> Table:
    _, parquet = _pyarrow()
    with parquet.ParquetFile(path) as file:
        facts = json.loads(file.metadata.metadata[KEY.encode()])
        return Table(file.read().to_pydict(), facts)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + "-metadata.json")


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise InputError(
            "Parquet needs pyarrow: pip install 'edgegen[tables]', or choose a name that ends in .csv", param="--table"
        ) from None
    return pa, parquet
