"""One TOML file: what it says is what the fleet gets, and what is wrong is said in one sentence with its place."""

import math
import re
from pathlib import Path

import pytest

from edgegen.assemble import Measured, build_fleet
from edgegen.config import (
    CATEGORIES,
    GatewaySection,
    JobsSection,
    LinkSection,
    ModelSection,
    NodeSection,
    ObjectiveSection,
    PayloadSection,
    PolicySection,
    StorageSection,
    default_config,
    find_config,
    load_config,
    parse_config,
    template,
)
from edgegen.core.errors import ConfigError, UnknownNameError
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.fleet import Link, Speed


def figures(config):
    """Round numbers in place of profiles: every model takes 10 ms per step and 20 ms outside of the steps."""
    quality = tuple(tuple(k / (k + 1) for k in config.gateway.steps) for _ in CATEGORIES)
    return {model.name: Measured(quality, 5e6, Speed(0.01, 0.02, 0.3)) for model in config.models}


def changed(old: str, new: str) -> str:
    assert template().count(old) >= 1, old
    return template().replace(old, new, 1)


def test_the_default_is_a_phone_two_unequal_edge_servers_and_a_cloud():
    config = default_config()
    assert [(node.name, node.tier) for node in config.nodes] == [
        ("phone", "device"),
        ("edge-1", "edge"),
        ("edge-2", "edge"),
        ("cloud", "cloud"),
    ]
    assert config.policy.name == "certified"
    assert config.objective.weights == (1.0, 0.3, 0.2, 0.05)
    assert (config.gateway.payload.input, config.gateway.payload.output) == (2e3, 5e5)
    edge = config.node("edge-2").link
    assert (edge.uplink, edge.downlink, edge.rtt, edge.snr) == (6e6, 16e6, 0.014, math.inf)
    assert config.node("cloud").price == pytest.approx(4 / 3600)


def test_the_real_work_of_all_default_nodes_leaves_room_on_two_cores():
    assert sum(1 / node.slowdown for node in default_config().nodes) <= 0.5


def test_paced_nodes_declare_their_own_step_times():
    config = parse_config(
        changed('power = "4 W"', 'power = "4 W"\nstep_time = { shapes-s = "30 ms" }\nload_time = { shapes-s = "1 s" }')
    )
    phone = build_fleet(config, figures(config)).nodes[0]
    assert phone.speeds["shapes-s"] == Speed(0.03, pytest.approx(1.6), 1.0)
    assert phone.speeds["shapes-m"] == Speed(pytest.approx(0.8), pytest.approx(1.6), 0.3)
    assert phone.paced
    assert phone.adjustable_clock
    assert "pace" in phone.emulated


def test_without_pace_every_node_runs_flat_out():
    config = parse_config(changed("pace = true", "pace = false"))
    fleet = build_fleet(config, figures(config))
    assert {speed for node in fleet.nodes for speed in node.speeds.values()} == {Speed(0.01, 0.02, 0.3)}
    assert not any(node.paced or node.adjustable_clock or "pace" in node.emulated for node in fleet.nodes)


def test_a_fleet_has_the_links_and_steps_of_the_file():
    config = default_config()
    fleet = build_fleet(config, figures(config))
    assert fleet.steps == tuple(config.gateway.steps)
    assert fleet.nodes[1].link == Link(20e6, 60e6, 0.008)
    assert Catalog(fleet).steps.tolist() == config.gateway.steps
    assert fleet.nodes[3].emulated == ("pace", "wide-area link", "power")


REAL = """
[gateway]
steps = [10, 20, 50]
[[models]]
name = "sdxl"
profile = "sdxl-h100"
folder = "somewhere"
[[nodes]]
name = "laptop"
tier = "device"
models = ["sdxl"]
slowdown = 20
power = "30 W"
[[nodes]]
name = "orin"
tier = "edge"
models = ["sdxl"]
profiles = { sdxl = "sdxl-jetson-agx-orin" }
"""


def test_real_machines_are_described_by_packaged_profiles():
    fleet = build_fleet(parse_config(REAL))
    laptop, orin = (node.speeds["sdxl"] for node in fleet.nodes)
    assert laptop.step_s != orin.step_s
    assert all(0 < value <= 1 for row in fleet.models[0].quality for value in row)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("slowdown = 80.0", "slowdwn = 80.0", r"unknown key 'slowdwn' in nodes 'phone'; did you mean 'slowdown'\?"),
        ('rtt = "8 ms"', 'rrt = "8 ms"', r"unknown key 'rrt' in nodes 'edge-1'.link; did you mean 'rtt'\?"),
        ("[policy]", "[polcy]", r"unknown key 'polcy' in the file; did you mean 'policy'\?"),
        ("ahead = 1", "ahed = 1", r"unknown key 'ahed' in gateway; did you mean 'ahead'\?"),
        ('power = "4 W"', 'power = "4 J"', r"nodes 'phone'.power: expected a power such as '1 W' .*got '4 J'"),
        ('power = "4 W"', "power = 4", r"nodes 'phone'.power: expected a power .*got 4"),
        ('power = "4 W"', 'power = "-4 W"', r"nodes 'phone'.power: expected a power >= 0, got '-4 W'"),
        ('rtt = "8 ms"', 'rtt = "8 W"', r"nodes 'edge-1'.link.rtt: expected a time"),
        ('downlink = "60 Mbit/s"', 'downlink = "0 Mbit/s"', r"link.downlink: expected a rate > 0"),
        ('price = "4 USD/h"', 'price = "4 USD"', r"nodes 'cloud'.price: expected a price such as"),
        ('price = "4 USD/h"', 'price = "-4 USD/h"', r"nodes 'cloud'.price: expected a price >= 0"),
        (
            'tier = "cloud"',
            'tier = "clod"',
            r"nodes 'cloud'.tier: input should be 'device', 'edge' or 'cloud', got 'clod'",
        ),
        ("port = 8000", 'port = "web"', r"gateway.port: input should be a valid integer, got 'web'"),
        ("port = 8000", "port = 99999", r"gateway.port: .*65535, got 99999"),
        ('name = "phone"', 'name = "my/phone"', r"nodes 'my/phone'.name: expected a short name"),
        ('name = "phone"', "", r"nodes \[0\].name is missing"),
        (
            'models = ["shapes-s", "shapes-m"]',
            'models = ["shapes-x"]',
            r"nodes 'phone'.models names the model 'shapes-x', which is not defined; did you mean",
        ),
        (
            'memory = "1 GB"',
            'memory = "1 GB"\nstep_time = { shapes-l = "1 ms" }',
            r"nodes 'phone'.step_time names the model 'shapes-l', which is not one of its models",
        ),
        ('name = "edge-2"', 'name = "edge-1"', r"nodes has 2 entries named 'edge-1'"),
        ('name = "shapes-s" ', 'name = "shapes-m" ', r"models has 2 entries named 'shapes-m'"),
        ('tier = "device"', 'tier = "edge"', r"adjustable_clock is for devices"),
        ('power = "4 W"', 'power = "4 W"\nprice = "1 USD/h"', r"costs energy, not money"),
        ("steps = [1, 2,", "steps = [2, 1,", r"gateway.steps must rise"),
        ("[gateway]", "[gateway", r"is not TOML"),
        ('rtt = "8 ms" }', 'rtt = "8 ms", snr = "15" }', r"link.snr: expected a ratio such as '15 dB'"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(old, new, message):
    with pytest.raises(ConfigError, match=r"x\.toml") as caught:
        parse_config(changed(old, new), source="x.toml")
    assert re.search(message, str(caught.value)), str(caught.value)


def test_a_fleet_without_a_device_is_refused():
    text = REAL.replace('tier = "device"', 'tier = "edge"')
    with pytest.raises(ConfigError, match="requests need a device to come from"):
        parse_config(text)


def test_several_mistakes_are_told_together():
    text = template().replace("Mbit/s", "Mbit")
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    assert str(caught.value).count("expected a rate") == 5
    assert "(and 1 more)" in str(caught.value)


def test_a_ratio_in_decibels_is_understood():
    config = parse_config(changed('rtt = "8 ms" }', 'rtt = "8 ms", snr = "20 dB" }'))
    assert config.node("edge-1").link.snr == pytest.approx(100)


def test_every_key_is_documented_with_its_meaning():
    text = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text()
    for section in (
        GatewaySection,
        PolicySection,
        ObjectiveSection,
        StorageSection,
        JobsSection,
        ModelSection,
        NodeSection,
    ):
        for key in section.model_fields.keys() - {"payload", "link"}:
            assert f"`{key}`" in text, key
    for outer, section in (("payload", PayloadSection), ("link", LinkSection)):
        for key in section.model_fields:
            assert f"`{outer}.{key}`" in text, key


def test_the_documented_fleet_of_real_machines_is_one():
    text = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    fleet = build_fleet(parse_config(example))
    assert [node.name for node in fleet.nodes] == ["phone", "orin", "h100"]


def test_names_that_are_not_there_are_named():
    with pytest.raises(UnknownNameError, match="did you mean 'phone'"):
        default_config().node("phon")
    with pytest.raises(UnknownNameError, match="did you mean 'shapes-l'"):
        default_config().model("shape-l")


def test_a_file_is_found_where_it_is_given_then_here_then_inside_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(None) == default_config()
    (tmp_path / "edgegen.toml").write_text(changed("port = 8000", "port = 8001"))
    assert find_config(None).gateway.port == 8001
    (tmp_path / "other.toml").write_text(changed("port = 8000", "port = 8002"))
    assert find_config(tmp_path / "other.toml").gateway.port == 8002


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match="edgegen init"):
        load_config(tmp_path / "nothing.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "binary.toml")
