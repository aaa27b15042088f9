"""A scenario file: what it accepts, and that every refusal names the field, what was given and what was expected."""

import pytest

from edgegen.core.errors import ConfigError
from edgegen.plan.certified.planner import Status, plan
from edgegen.plan.scenario import find_scenario, packaged_scenarios, parse_scenario


def parsed(text: str):
    return parse_scenario(text, source="s.toml")


WRONG = [
    ('[[users]]\ndeadlin = "5 s"', "users[0]: no field 'deadlin'; did you mean 'deadline'?"),
    ("user = 3", "no field 'user'; did you mean 'users'?"),
    ('[[users]]\n[users.device]\nclok = "1 GHz"', "users[0].device: no field 'clok'; did you mean 'clock'?"),
    ('[[users]]\ndeadline = "5 W"', "users[0].deadline: expected a time such as '1 s' (units: s, ms, us, min, h), or 'none', got '5 W'"),
    ("[[users]]\ndeadline = 5", "users[0].deadline: expected a time"),
    ("[[users]]\ndeadline = nan", "users[0].deadline: expected a finite time, got nan; write 'none'"),
    ('[[users]]\ndeadline = "inf"', "users[0].deadline: expected a finite time, got 'inf'; write 'none'"),
    ('[[users]]\ndeadline = "none"', "give users[0].time_scale"),
    ('[[users]]\nenergy_budget = "none"', "give users[0].energy_scale"),
    ('[[users]]\ncount = 2\ndeadline = ["5 s", "-6 s"]', "users[0].deadline[1]: expected a time > 0, got '-6 s'"),
    ('[[users]]\ndeadline = ["5 s", "6 s"]', "users[0].deadline: a list holds one value for each of the 10 users of the group, got 2"),
    ('[[users]]\ndeadline = ["5 s"]', "for each of the 10 users of the group, got 1"),
    ("[[users]]\ndeadline = []", "users[0].deadline: a list must hold one value"),
    ('[[users]]\ndeadline = { from = "5 s", too = "6 s" }', "unknown 'too'; did you mean 'to'?"),
    ('[[users]]\ndeadline = { from = "7 s", to = "6 s" }', "a range must rise and be finite, got from '7 s' to '6 s'"),
    ('[[users]]\ndistance = { from = "1 m", to = "none" }', "a range must rise and be finite"),
    ("[[users]]\ncount = -1", "users[0].count: input should be greater than or equal to 0, got -1"),
    ("[[users]]\ncount = 2.5", "users[0].count: expected a whole number, got 2.5"),
    ("users = 3", "users: expected a list; a group is written [[users]], got 3"),
    ("[[users]]\ndevice = 3", "users[0].device: expected a table of fields, got 3"),
    ("[[users]]\nmin_quality = 1.2", "users[0].min_quality: input should be less than or equal to 1, got 1.2"),
    ("[[users]]\nmin_quality = 0.5\nmax_error = 0.5", "give min_quality or max_error"),
    ('[[users]]\nname = "a"\n[[users]]\nname = "a"', "users[1].name: users must have different names, got 'a' twice"),
    ('[[users]]\ncount = 2\ndistance = [["1 m"], ["2 m"]]', "users[0].distance: expected 2 rows (users) of 2 (servers), got 2 rows of 1"),
    ('[[users]]\ncount = 2\ndistance = [["1 m"], ["1 m", "2 m"]]', "users[0].distance[1]: the rows of a matrix"),
    ('[[users]]\ncount = 1\ndistance = [["1 m", "0 m"]]', "users[0].distance[0][1]: expected a distance > 0, got '0 m'"),
    ('[[users]]\ndevice = { generates = false, clock = "1 GHz" }', "users[0].device.clock: says nothing about a device"),
    ('[[users]]\ndevice = { profile = "sd-1.5-galaxy-s24", clock = "1 GHz" }', "users[0].device.clock: a profile says this already"),
    ('[[users]]\ndevice = { power = "5 W" }', "users[0].device.power: is for a device with a profile"),
    ('[[users]]\ncategory = "x"\ndevice = { profile = "shapes-m" }', "users[0].category: the profile of shapes-m"),
    ('[[servers]]\nuplink = "0 Hz"', "servers[0].uplink: expected a frequency > 0, got '0 Hz'"),
    ('[[servers]]\nuplink = "-3 MHz"', "servers[0].uplink: expected a frequency > 0, got '-3 MHz'"),
    ('[[servers]]\nclock = "nan GHz"', "servers[0].clock: expected a frequency such as"),
    ('[[servers]]\nmodels = "larg"', "servers[0].models[0]: no model named 'larg'; did you mean 'large'?"),
    ('[[servers]]\nmodels = ["large", "large"]', "servers[0].models: the model 'large' is there twice"),
    ('[[servers]]\nprofile = "sdxl-h10"', "servers[0].profile[0]: no packaged profile named 'sdxl-h10'; did you mean 'sdxl-h100'?"),
    ('[[servers]]\nprofile = ["sdxl-h100", "shapes-m"]', "servers[0].profile[1]: its quality is measured as prompt_following"),
    ('[[servers]]\nprofile = ["sdxl-h100", "sdxl-l4"]', "servers[0].profile: the model 'sdxl' is there twice"),
    ('[[servers]]\nname = "a.b"', "servers[0].name: expected a short name without"),
    ('[[servers]]\ndistance = [["1 m", "2 m"]]', "servers[0].distance: a matrix of distances belongs to users"),
    ('steps = [1, 2]\n[[servers]]\nprofile = "sdxl-h100"', "servers[0].profile: sdxl on NVIDIA H100 SXM 80 GB takes 4, 5, 6"),
    ("steps = []", "steps: steps must hold step counts that rise without repeating, got []"),
    ("steps = [5, 5]", "rise without repeating, got [5, 5]"),
    ("steps = { from = 5 }", "'from' and 'to' are needed"),
    ("steps = { from = 5, two = 6 }", "did you mean 'to'?"),
    ("steps = { from = 9, to = 6 }", "a range of steps must rise, got from 9 to 6"),
    ("steps = 0", "steps: expected a whole number of steps from 1 to 100000, got 0"),
    ("weights = { quality = nan }", "weights.quality: expected a finite number, got nan"),
    ("weights = { quality = -1 }", "weights.quality: input should be greater than or equal to 0"),
    ("weights = { quality = 0, time = 0, energy = 0 }", "weights: one weight at least must be > 0"),
    ("refusal = -2", "refusal: input should be greater than or equal to 0"),
    ('[[models]]\nflop_per_step = "1 TFLOP"', "models[0].name is missing"),
    ('[[models]]\nname = "x"\nflop_per_step = "1 GHz"', "models[0].flop_per_step: expected a compute work such as '1 FLOP'"),
    ('[[models]]\nname = "x"\nerror = { form = "power_lw", a = 0 }', "no curve form named 'power_lw'; did you mean 'power_law'?"),
    ('[[models]]\nname = "x"\nerror = { form = "affine", a = 1.0 }', "models[0].error: a curve of the form affine takes a, b; got a"),
    ('[[models]]\nname = "x"\nerror = { form = "power_law", a = 0, b = 3, c = 1 }', "must be >= 0 at every step count, got -0.6 at 5"),
    ('[[models]]\nname = "x"\nquality = { form = "affine", a = 0.2, b = 0.1 }', "must be in [0, 1] at every step count, got 1.1 at 9"),
    ('[[models]]\nname = "x"\nerror = { form = "table", x = [5, 10], y = [0.5, 0.6] }', "must not rise with steps, got a rise after 5"),
    ('[[models]]\nname = "x"\nerror = { form = "table", x = [10, 5], y = [0.5, 0.6] }', "the x of a table must rise strictly"),
    ('[[models]]\nname = "x"\nerror = { form = "table", x = [5, "a"], y = [0.5, 0.6] }', "error.x[1]: input should be a valid number"),
    ('[[models]]\nname = "x"\nerror = { form = "affine", a = 1, b = 0 }\nquality = { form = "affine", a = 1, b = 0 }', "not both"),
    ("x = ", "s.toml is not TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    assert "s.toml" in str(caught.value)
    assert message in str(caught.value)


def test_every_wrong_field_is_told_at_once():
    with pytest.raises(ConfigError) as caught:
        parsed('[[users]]\ndeadline = "5 W"\nupload = "3"\n[[servers]]\nclock = 3')
    assert str(caught.value).count("s.toml: ") == 3


@pytest.mark.parametrize("name", packaged_scenarios())
def test_packaged_scenarios_describe_themselves_and_have_a_plan(name):
    file = find_scenario(name)
    assert file.name + ".toml" == name
    assert len(file.description) > 20
    found = plan(file.build())
    assert found.status in (Status.OPTIMAL, Status.FEASIBLE)
    assert found.gap <= 2e-3


def test_a_file_comes_before_a_packaged_name_and_an_unknown_name_gets_a_suggestion(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_scenario("cell.toml").name == "cell"
    (tmp_path / "cell.toml").write_text('name = "mine"')
    assert find_scenario("cell.toml").name == "mine"
    with pytest.raises(ConfigError, match=r"did you mean 'golden\.toml'"):
        find_scenario("goldn.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot read the scenario"):
        find_scenario("folder.toml")


def test_the_cell_scenario_writes_out_the_defaults():
    cell, empty = find_scenario("cell.toml").build(3), parsed("").build(3)
    for name, value in vars(cell).items():
        assert (value == getattr(empty, name)).all(), name
