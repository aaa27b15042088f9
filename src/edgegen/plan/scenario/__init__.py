"""A TOML file that describes one planning problem, or a family of them, and how it becomes an `Instance`.

Users and servers come in groups; what varies inside a group is listed or drawn from the seed. docs/scenario-file.md
describes every field.
"""

from edgegen.plan.scenario.build import Names, build, names_of
from edgegen.plan.scenario.loading import find_scenario, packaged_scenarios, parse_scenario, scenario_text
from edgegen.plan.scenario.schema import ScenarioFile

__all__ = [
    "Names",
    "ScenarioFile",
    "build",
    "find_scenario",
    "names_of",
    "packaged_scenarios",
    "parse_scenario",
    "scenario_text",
]
