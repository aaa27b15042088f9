"""docs/scenario-file.md: every field is there with its true default, and the examples run."""

import math
import re
import tomllib
from pathlib import Path

import pytest

from edgegen.plan.scenario import parse_scenario
from edgegen.plan.scenario.schema import CurveSection, DeviceSection, ModelSection, ScenarioFile, ServerGroup, UserGroup

PAGE = (Path(__file__).parents[3] / "docs" / "scenario-file.md").read_text()
HOW_TO = (Path(__file__).parents[3] / "docs" / "how-to" / "plan-a-fleet.md").read_text()
SECTIONS = {
    "The file itself": (ScenarioFile, {}),
    "`[[users]]`": (UserGroup, {}),
    "`[users.device]`": (DeviceSection, {}),
    "`[[servers]]`": (ServerGroup, {}),
    "`[[models]]`": (ModelSection, {"name": "x"}),
    "Curves": (CurveSection, {"form": "affine"}),
}


def rows(heading: str) -> dict[str, str]:
    """Field -> what the table says about its default."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| .* \| ([^|]*) \|$", section, flags=re.M))


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_field_is_documented_in_the_order_of_the_schema(heading):
    assert list(rows(heading)) == list(SECTIONS[heading][0].model_fields)


FIELDS = [(heading, field, default) for heading in SECTIONS for field, default in rows(heading).items()]


@pytest.mark.parametrize(("heading", "field", "default"), FIELDS)
def test_the_documented_default_is_the_default(heading, field, default):
    section, required = SECTIONS[heading]
    info = section.model_fields[field]
    if default == "required":
        assert info.is_required()
        return
    value = info.get_default()
    if not default.startswith("`"):
        assert value is None or (field in ("users", "servers") and len(value) == 1) or field == "device", default
        return
    written = tomllib.loads(f"value = {default.strip('`')}")["value"]
    parsed = getattr(section.model_validate({**required, field: written}), field)
    assert parsed == value or (isinstance(value, float) and math.isclose(parsed, value))


def test_the_example_has_a_plan():
    from edgegen.experiments.planning import plan_scenario

    (example,) = re.findall(r"^```toml\n(.*?)^```", PAGE, flags=re.S | re.M)
    planned = plan_scenario(parse_scenario(example))
    assert planned.found
    assert planned.instance.users == 14


def test_the_python_example_runs(capsys):
    (block,) = re.findall(r"^```python\n(.*?)^```", HOW_TO, flags=re.S | re.M)
    exec(block, {})
    assert "glasses-10" in capsys.readouterr().out


def test_the_printed_plan_is_as_good_as_what_the_command_prints():
    """Another plan within the planner's goal may be printed; its cost and its users must be those of today."""
    from edgegen.experiments.planning import plan_scenario
    from edgegen.plan.certified.planner import GOAL
    from edgegen.plan.scenario import find_scenario

    planned = plan_scenario(find_scenario("fleet.toml"))
    (objective,) = re.findall(r"objective ([\d.]+) \(no plan", HOW_TO)
    assert float(objective) == pytest.approx(planned.plan.objective, rel=2 * GOAL)
    printed = HOW_TO.split("```text\n")[1].split("servers;")[0]
    assert re.findall(r"^  (\w+-\d+) ", printed, flags=re.M) == list(planned.names.users)
