"""From a scenario to an instance: golden values, shapes, determinism, and common random numbers."""

import numpy as np
import pytest

from edgegen.core.profile import load_packaged
from edgegen.plan.certified.checker import check
from edgegen.plan.certified.draw import golden
from edgegen.plan.certified.planner import Status, exact, plan
from edgegen.plan.scenario import find_scenario, names_of, parse_scenario

ROW_FIELDS = ("deadline_s", "energy_j", "upload_bits", "device_hz", "up_snr_hz", "send_power_w", "down_snr_hz")


def built(text: str, seed: int = 0):
    return parse_scenario(text).build(seed)


def test_the_golden_file_is_the_golden_instance():
    instance = find_scenario("golden.toml").build()
    for name, value in vars(golden()).items():
        np.testing.assert_allclose(getattr(instance, name), value, rtol=1e-12, err_msg=name)
    assert plan(instance).objective == pytest.approx(0.590842, abs=1e-4)
    assert exact(instance).objective == pytest.approx(0.590842, abs=1e-6)


def test_defaults_are_within_the_ranges_of_the_model():
    instance = built("[[users]]\ncount = 400", seed=5)
    assert (instance.users, instance.servers, instance.steps.tolist()) == (400, 2, list(range(5, 51)))
    for name, low, high in (
        ("deadline_s", 6, 12),
        ("energy_j", 15, 30),
        ("upload_bits", 1e6, 4e6),
        ("device_hz", 0.5e9, 1e9),
        ("server_hz", 1e9, 3e9),
    ):
        values = getattr(instance, name)
        assert low <= values.min() <= values.max() <= high, name
        if values.size > 10:  # uniform: the mean is in the middle, give or take five standard errors
            assert values.mean() == pytest.approx((low + high) / 2, abs=5 * (high - low) / np.sqrt(12 * values.size))
    np.testing.assert_array_equal(instance.time_scale_s, instance.deadline_s)
    assert np.isinf(instance.refusal_cost).all()


def test_a_seed_gives_one_instance_and_another_seed_another():
    first, again, other = built("", 1), built("", 1), built("", 2)
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, getattr(again, name))
    assert not np.array_equal(first.deadline_s, other.deadline_s)
    assert not np.array_equal(first.up_snr_hz, other.up_snr_hz)


@pytest.mark.parametrize("seed", range(3))
def test_more_users_and_servers_leave_the_others_as_they_were(seed):
    few = built("[[users]]\ncount = 5\n[[servers]]\ncount = 2", seed)
    many = built("[[users]]\ncount = 9\n[[servers]]\ncount = 3", seed)
    for name in ROW_FIELDS:
        value = getattr(many, name)[:5]
        np.testing.assert_array_equal(getattr(few, name), value[:, :2] if value.ndim == 2 else value, err_msg=name)
    np.testing.assert_array_equal(few.server_hz, many.server_hz[:2])


def test_a_varied_range_keeps_the_order_and_everything_else():
    narrow = built('[[users]]\ndeadline = { from = "6 s", to = "12 s" }', 4)
    wide = built('[[users]]\ndeadline = { from = "2 s", to = "22 s" }', 4)
    np.testing.assert_allclose((wide.deadline_s - 2) / 20, (narrow.deadline_s - 6) / 6)
    for name in ROW_FIELDS[1:]:
        np.testing.assert_array_equal(getattr(narrow, name), getattr(wide, name))


def test_fields_do_not_share_random_numbers():
    instance = built("[[users]]\ncount = 300", 7)
    parts = [(instance.deadline_s - 6) / 6, (instance.energy_j - 15) / 15, (instance.device_hz - 5e8) / 5e8]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(parts[first], parts[second])[0, 1]) < 0.2


def test_lists_groups_and_overrides_land_on_their_rows():
    instance = built(
        """
        refusal = 2.0
        [[users]]
        name = "a"
        count = 2
        deadline = ["3 s", "4 s"]
        weights = { quality = 2.0 }
        [[users]]
        name = "b"
        count = 1
        refusal = 0.5
        upload = "500 kB"
        device = { generates = false }
        max_error = 0.1
        [[servers]]
        delay = "30 ms"
        """
    )
    np.testing.assert_array_equal(instance.deadline_s[:2], [3, 4])
    np.testing.assert_array_equal(instance.weights[:, 0], [2, 2, 1])
    np.testing.assert_array_equal(instance.refusal_cost, [2, 2, 0.5])
    assert instance.upload_bits[2] == 4e6
    np.testing.assert_array_equal(instance.fixed_s, [[0, 0.03, 0.03]] * 3)
    assert not instance.allowed[2, 0].any()
    assert instance.allowed[:2, 0].all()
    np.testing.assert_array_equal(instance.allowed[2, 1], instance.error[2, 1] <= 0.1)


def test_names_follow_groups_and_models():
    file = find_scenario("fleet.toml")
    names, instance = names_of(file), file.build()
    assert (len(names.users), len(names.servers)) == (instance.users, instance.servers)
    assert names.users[0] == "phone-1"
    assert names.servers == ("h100", "l4-1", "l4-2", "orin")
    assert names.node(1) == "h100"
    assert (names.node(0), names.node(-1)) == ("own device", "refused")
    assert names.model(0, 1, 0) == "sdxl"
    assert names.model(0, 0, 0) == load_packaged("sdxl-ios-iphone-15-pro-max").model
    assert names.device_models[-1] == ()


def test_a_machine_of_a_profile_takes_its_seconds_and_watts():
    instance = built(
        '[[users]]\ncount = 1\ndevice = { profile = "sd-1.5-galaxy-s24" }\n[[servers]]\nprofile = "sdxl-l4"'
    )
    phone, server = load_packaged("sd-1.5-galaxy-s24"), load_packaged("sdxl-l4")
    assert instance.steps.tolist() == list(phone.steps)
    for at, steps in enumerate(instance.steps):
        assert instance.cycles[0, 0, at] / instance.device_hz[0] == pytest.approx(phone.generate_s(int(steps)))
        assert instance.cycles[0, 1, at] / instance.server_hz[0] == pytest.approx(server.generate_s(int(steps)))
        assert instance.error[0, 1, at] == pytest.approx(1 - server.quality_at("any", int(steps)))
        energy_j = instance.device_w_per_hz3[0] * instance.device_hz[0] ** 2 * instance.cycles[0, 0, at]
        assert energy_j == pytest.approx(phone.generate_j(int(steps)))


def test_several_models_on_a_machine_are_options_with_their_own_steps():
    text = (
        '[[users]]\ncount = 2\n[[servers]]\ncount = 1\nprofile = ["sdxl-a100", "sdxl-lightning-a100", "sd-turbo-a100"]'
    )
    instance = built(text)
    assert set(instance.model.tolist()) == {0, 1, 2}
    assert instance.steps[instance.model == 1].tolist() == [2]
    assert instance.steps[instance.model == 2].tolist() == [1]
    assert not instance.allowed[:, 0, instance.model > 0].any()
    assert instance.allowed[:, 1, instance.model == 1].all()
    found = exact(instance)
    assert check(instance, found).holds
    small = built(text.replace("count = 2", "count = 2\nmin_picture_px = 1024"))
    assert not small.allowed[:, 1, small.model == 2].any()


def test_models_of_the_file_have_their_work_and_their_curve():
    instance = built(
        """
        steps = [4, 8]
        [[models]]
        name = "fast"
        flop_per_step = "1 TFLOP"
        fixed_flop = "0 FLOP"
        quality = { form = "table", x = [4, 8], y = [40.0, 80.0], scale = 100 }
        [[models]]
        name = "one"
        steps = 1
        error = { form = "saturating_exponential", a = 0.5, b = 0.0, c = 3.0 }
        [[users]]
        count = 1
        [[servers]]
        count = 1
        flop_per_cycle = 1000
        models = ["fast", "one"]
        """
    )
    assert instance.steps.tolist() == [4, 8, 1]
    np.testing.assert_allclose(instance.error[0, 1], [0.6, 0.2, 0.5])
    np.testing.assert_allclose(instance.cycles[0, 1, :2], [4e9, 8e9])


def test_servers_of_a_site_are_equally_far_and_reach_ends_where_it_says():
    instance = built('[[servers]]\nname = "a"\nsite = "mast"\n[[servers]]\nname = "b"\nsite = "mast"\ncount = 1')
    np.testing.assert_array_equal(instance.up_snr_hz[:, 0], instance.up_snr_hz[:, 2])
    far = built('[[users]]\ncount = 3\ndistance = ["50 m", "90 m", "none"]\n[[servers]]\nreach = "60 m"')
    assert (far.up_snr_hz > 0).tolist() == [[True, True], [False, False], [False, False]]
    own = built('[[users]]\n[[servers]]\ndistance = ["10 m", "20 m"]')
    assert (np.ptp(own.up_snr_hz, axis=0) == 0).all()
    assert (own.up_snr_hz[:, 0] > own.up_snr_hz[:, 1]).all()


@pytest.mark.parametrize(
    ("text", "status", "size"),
    [
        ("users = []", Status.OPTIMAL, (0, 2)),
        ("[[users]]\ncount = 0", Status.OPTIMAL, (0, 2)),
        ("servers = []", Status.OPTIMAL, (10, 0)),
        ("users = []\nservers = []", Status.OPTIMAL, (0, 0)),
        ("steps = 12", Status.FEASIBLE, (10, 2)),
        ('[[users]]\ndistance = "none"', Status.OPTIMAL, (10, 2)),
        ('[[users]]\ndistance = "none"\ndevice = { generates = false }', Status.INFEASIBLE, (10, 2)),
        ("[[users]]\ndevice = { generates = false }\n[[servers]]\ncount = 0", Status.INFEASIBLE, (10, 0)),
    ],
)
def test_borders_have_an_answer(text, status, size):
    instance = built(text)
    found = plan(instance)
    assert (instance.users, instance.servers) == size
    assert found.status is status
    if status is not Status.INFEASIBLE:
        assert check(instance, found).holds


def test_without_limits_the_scales_are_those_given():
    text = '[[users]]\ndeadline = "none"\ntime_scale = "10 s"\nenergy_budget = "none"\nenergy_scale = "20 J"'
    instance = built(text)
    assert np.isinf(instance.deadline_s).all()
    assert (instance.time_scale_s == 10).all()
    assert (instance.energy_scale_j == 20).all()
    assert check(instance, plan(instance)).holds
    free = built("weights = { time = 0, energy = 0 }\n" + '[[users]]\ndeadline = "none"\nenergy_budget = "none"')
    assert (free.time_scale_s == 1).all()
