"""What makes a node's pictures: kinds and their keys, and what follows for its times."""

import re
from pathlib import Path

import pytest

from edgegen.assemble import Measured, build_fleet
from edgegen.config import WORKER_SECTIONS, OpenAIWorkerSection, parse_config, template
from edgegen.core.errors import ConfigError
from edgegen.dispatch.fleet import Speed
from edgegen.serve.workers.kinds import KINDS

DOCUMENT = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text()


def cloud(worker: str, *, pace: str = "true"):
    """Return the built-in configuration with another worker of its last node."""
    text = template().replace("pace = true", f"pace = {pace}")
    return parse_config(f"{text}\nworker = {worker}\n")


def spec(worker: str, *, pace: str = "true"):
    config = cloud(worker, pace=pace)
    quality = tuple(tuple(k / (k + 1) for k in config.gateway.steps) for _ in range(4))
    figures = {model.name: Measured(quality, 5e6, Speed(0.01, 0.02, 0.3)) for model in config.models}
    return build_fleet(config, figures).nodes[-1]


def test_a_kind_alone_stands_for_its_worker():
    assert cloud('"replay"').nodes[-1].worker == cloud('{ kind = "replay" }').nodes[-1].worker
    assert cloud('"process"').nodes[-1].worker == cloud('"process"').nodes[0].worker


def test_every_kind_of_the_configuration_can_be_made_and_is_documented():
    assert set(KINDS) == set(WORKER_SECTIONS)
    for kind, section in WORKER_SECTIONS.items():
        assert f'"{kind}"' in DOCUMENT
        assert [name for name in section.model_fields if f"`{name}`" not in DOCUMENT and name != "kind"] == []


@pytest.mark.parametrize("line", re.findall(r"^worker = .*$", DOCUMENT, flags=re.M))
def test_every_worker_of_the_documentation_is_one(line):
    cloud(line.removeprefix("worker = ").partition("#")[0])


def test_an_address_may_end_as_openais_clients_write_it():
    for url in ("http://10.0.0.5:8000", "http://10.0.0.5:8000/", "http://10.0.0.5:8000/v1", "http://10.0.0.5:8000/v1/"):
        worker = cloud(f'{{ kind = "openai", url = "{url}" }}').nodes[-1].worker
        assert isinstance(worker, OpenAIWorkerSection)
        assert worker.url == "http://10.0.0.5:8000"


@pytest.mark.parametrize(
    ("worker", "message"),
    [
        ('"nix"', r"nodes 'cloud'.worker: .* got \{'kind': 'nix'\}"),
        ('{ kind = "openai" }', "nodes 'cloud'.worker.openai.url is missing"),
        ('{ kind = "openai", url = "ftp://a" }', "expected an address such as 'http://10.0.0.5:8000', got 'ftp://a'"),
        ('{ kind = "openai", url = "http://[" }', "expected an address"),
        ('{ kind = "openai", url = "http://name:key@a" }', "name the environment variable of the key as key_env"),
        ('{ kind = "openai", url = "http://a", model_names = { x = "y" } }', "'x', which is not one of its models"),
        ('{ kind = "pull", grce = "3 s" }', "unknown key 'grce' in nodes 'cloud'.worker.pull; did you mean 'grace'"),
        ('{ kind = "ray", replicas = 3, max_replicas = 2 }', r"max_replicas must be at least replicas \(3\), got 2"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(worker, message):
    with pytest.raises(ConfigError, match=message):
        cloud(worker)


def test_a_secret_in_an_address_is_not_repeated():
    with pytest.raises(ConfigError) as failure:
        cloud('{ kind = "openai", url = "http://name:hunter2@a" }')
    assert "hunter2" not in str(failure.value)


@pytest.mark.parametrize("pace", ["true", "false"])
def test_a_machine_of_its_own_is_as_fast_as_declared_and_never_padded(pace):
    node = spec('{ kind = "pull" }', pace=pace)
    assert not node.paced
    assert node.speeds["shapes-m"].step_s == pytest.approx(0.01 * 4.0)


def test_a_replay_is_padded_always_and_a_process_where_the_gateway_says_so():
    assert spec('"replay"', pace="false").paced
    assert not spec('"process"', pace="false").paced
    assert spec('"process"').paced
