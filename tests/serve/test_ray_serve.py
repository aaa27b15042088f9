"""A deployment on a real Ray of two nodes: every check of workers, and a picture whose replica is killed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgegen.core.errors import ConfigError
from edgegen.serve.workers import checks


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install -e .[cluster]")
    told = tmp_path_factory.mktemp("ray") / "told.json"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RAY_DEDUP_LOGS": "0"}
    script = str(Path(__file__).with_name("on_ray.py"))
    done = subprocess.run(
        [sys.executable, script, str(told)], env=env, timeout=240, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(told.read_text())


@pytest.mark.slow
def test_replicas_stand_on_both_nodes_and_fulfil_every_check(seen):
    assert seen["nodes"] == 2
    assert seen["checks"] == [check.__name__ for check in checks.CHECKS]


@pytest.mark.slow
def test_a_picture_whose_replica_is_killed_is_made_after_all(seen):
    killed = seen["killed"]
    assert killed["victims"] == 2
    assert 0 < killed["killed_at"] < 60
    assert killed["steps"][-1] == 60
    assert killed["steps"] == sorted(set(killed["steps"])), "no step is told twice"
    assert killed["same"]
    assert killed["replaced"]
    assert killed["alive"]
    assert seen["lost"] == []


def test_without_ray_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "edgegen.serve.workers.ray_serve", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'edgegen\[cluster\]'"):
        importlib.import_module("edgegen.serve.workers.ray_serve")
