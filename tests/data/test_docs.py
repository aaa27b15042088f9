"""The page about profiles names everything there is: profiles, fields, forms, recipes; its Python runs."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from edgegen.core.curve import PARAMETERS
from edgegen.core.profile import packaged
from edgegen.core.profile_file import EnergyFile, ProfileFile, ProvenanceFile, QualityFile, TimeFile

PAGE = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text(encoding="utf-8")


def fields(part: type[BaseModel]) -> list[str]:
    return list(part.model_fields)


def test_every_packaged_profile_has_its_source_on_the_page():
    assert [name for name in packaged() if f"`{name}`" not in PAGE] == []


@pytest.mark.parametrize("part", [ProfileFile, QualityFile, TimeFile, EnergyFile, ProvenanceFile])
def test_every_field_of_the_file_is_described(part):
    described = set(re.findall(r"`[a-z.]*?([a-z_]+)`", PAGE)) | set(re.findall(r"`([a-z]+)\.", PAGE))
    assert [name for name in fields(part) if name not in described] == []


def test_every_form_of_curve_is_described():
    assert all(f"| `{form}` |" in PAGE for form in PARAMETERS)


def test_the_python_on_the_page_runs(capsys):
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(compile(block, "docs/profiles.md", "exec"), {})
    assert "sdxl" in capsys.readouterr().out
