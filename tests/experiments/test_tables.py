"""Tables of results: what was written is read back, with where it comes from, also after an interruption."""

import builtins
import json
import math

import pytest

from edgegen.core import provenance
from edgegen.core.errors import InputError
from edgegen.experiments.tables import CLAIMED, SIMULATED, read, writing

FACTS = {"command": "edgegen test", "seed": 3, "revision": "abc"}
FIRST = {
    "system": ["s", "s"],
    "instance": [0, 1],
    "episode": [0, 0],
    "policy": ["a", 'b, "quoted"'],
    "metric": ["reward", "reward"],
    "value": [0.1, -1e-300],
}
SECOND = {name: column[:1] for name, column in FIRST.items()} | {"value": [1 / 3]}
ENDINGS = ("csv", "parquet")


def joined():
    return {name: FIRST[name] + SECOND[name] for name in SIMULATED}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_is_read_back_as_it_was_written_with_its_provenance(ending, tmp_path):
    path = tmp_path / "new" / f"table.{ending}"
    with writing(path, SIMULATED, FACTS) as write:
        write(FIRST)
        write(SECOND)
    table = read(path)
    assert table.columns == joined()
    assert table.rows[2]["value"] == 1 / 3
    assert {key: table.provenance[key] for key in FACTS} == FACTS
    assert (table.provenance["rows"], table.provenance["complete"]) == (3, True)


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_interruption_keeps_what_was_written_and_says_that_it_is_not_all(ending, tmp_path):
    path = tmp_path / f"table.{ending}"

    def interrupted():
        with writing(path, SIMULATED, FACTS) as write:
            write(FIRST)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    table = read(path)
    assert table.columns == FIRST
    assert table.provenance["complete"] is False


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_not_known_and_what_is_no_number_come_back(ending, tmp_path):
    texts, numbers = (
        dict.fromkeys(("paper", "claim", "unit", "goal"), ""),
        {"value": math.inf, "high": math.nan, "n": 1},
    )
    row = {name: [(dict.fromkeys(CLAIMED) | texts | numbers)[name]] for name in CLAIMED}
    path = tmp_path / f"table.{ending}"
    with writing(path, CLAIMED, FACTS) as write:
        write(row)
        write(row | {"ok": [False], "low": [-0.5]})
    (first, second) = read(path).rows
    assert (first["value"], first["low"], first["ok"], first["unit"]) == (math.inf, None, None, "")
    assert math.isnan(first["high"])
    assert (second["ok"], second["low"], second["n"]) == (False, -0.5, 1)


def test_a_csv_file_is_whole_after_every_block(tmp_path):
    path = tmp_path / "table.csv"
    with writing(path, SIMULATED, FACTS) as write:
        write(FIRST)
        assert read(path).columns == FIRST
        write(SECOND)
    assert len(path.read_text().splitlines()) == 4


def test_a_csv_file_is_described_as_tabular_data_on_the_web(tmp_path):
    path = tmp_path / "table.csv"
    with writing(path, SIMULATED, FACTS) as write:
        write(FIRST)
    described = json.loads((tmp_path / "table.csv-metadata.json").read_text())
    assert described["@context"] == "http://www.w3.org/ns/csvw"
    assert described["url"] == "table.csv"
    kinds = {column["name"]: column["datatype"] for column in described["tableSchema"]["columns"]}
    assert (kinds["policy"], kinds["instance"], kinds["value"]) == ("string", "integer", "double")


def test_other_endings_and_places_that_cannot_be_written_are_refused(tmp_path):
    with (
        pytest.raises(InputError, match=r"must end in \.csv or \.parquet, got 'table\.xls'"),
        writing(tmp_path / "table.xls", SIMULATED, FACTS),
    ):
        pass
    (tmp_path / "file").write_text("")
    for ending in ENDINGS:
        with (
            pytest.raises(InputError, match="cannot write"),
            writing(tmp_path / "file" / f"t.{ending}", SIMULATED, FACTS),
        ):
            pass
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path / "none.csv")


def test_columns_of_another_schema_are_refused(tmp_path):
    with (
        pytest.raises(ValueError, match="expected columns of one length"),
        writing(tmp_path / "t.csv", SIMULATED, FACTS) as write,
    ):
        write({"system": ["s"]})


def test_without_pyarrow_parquet_says_what_to_install_and_csv_works(tmp_path, monkeypatch):
    usual = builtins.__import__

    def without(name, *rest, **more):
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return usual(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with (
        pytest.raises(InputError, match=r"pip install 'edgegen\[tables\]'"),
        writing(tmp_path / "t.parquet", SIMULATED, FACTS),
    ):
        pass
    with writing(tmp_path / "t.csv", SIMULATED, FACTS) as write:
        write(FIRST)
    assert read(tmp_path / "t.csv").columns == FIRST


# --------------------------------------------------------------------------------------------------------- provenance


def test_provenance_says_what_ran_and_its_hash_changes_with_the_settings(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/edgegen", "simulate", "a b"])
    one, other = (provenance.of_run({"users": users}, seed=7) for users in (3, 4))
    assert one["command"] == "edgegen simulate 'a b'"
    assert one["seed"] == 7
    assert json.loads(one["config"]) == {"users": 3}
    assert one["config_sha256"] != other["config_sha256"]
    assert {"edgegen", "date", "python", "machine", "load_before", "revision"} <= set(one)


def test_code_that_is_in_no_checkout_has_no_revision(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "core" / "provenance.py"))
    assert provenance.revision() == ""
