"""Starting and ending a gateway."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from edgegen.core.errors import ConfigError, UnknownNameError, WorkerError
from edgegen.serve.run import in_thread, run_gateway

SCRIPT = """
import json, sys
from edgegen.config import parse_config
from edgegen.dispatch.fleet import Fleet
from edgegen.observe.logs import set_up
from edgegen.serve.run import run_gateway

set_up("info", form="json")

def ready(live):
    print(json.dumps({"url": live.url, "pids": [w.pid for w in live.runtime.roads.workers.values()]}), flush=True)

config, fleet = parse_config(sys.argv[1]), Fleet.from_dict(json.loads(sys.argv[2]))
run_gateway(config, fleet, maker="instant", port=0, journal=sys.argv[3], on_ready=ready)
print("ended well", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_and_what_is_under_way_is_finished_first(config_text, fleet_text, tmp_path, number):
    command = [sys.executable, "-c", SCRIPT, config_text, fleet_text, str(tmp_path / "journal.jsonl")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as gateway:
        try:
            facts = json.loads(gateway.stdout.readline())
            with (
                httpx.Client(base_url=facts["url"], timeout=30) as client,
                client.stream("GET", "/v1/events") as events,
            ):
                next(events.iter_lines())
                body = {"prompt": "a red circle", "edgegen": {"steps": 16, "nodes": ["phone"]}}
                with httpx.stream(
                    "POST", f"{facts['url']}/v1/images/generations", json={**body, "stream": True}, timeout=30
                ) as picture:
                    gateway.send_signal(number)
                    assert "image_generation.completed" in picture.read().decode()
            assert gateway.stdout.readline() == "ended well\n"
            assert gateway.wait(timeout=20) == 0
        finally:
            gateway.kill()
    until_s = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in facts["pids"]):
        assert time.monotonic() < until_s, "a worker outlived its gateway"
        time.sleep(0.05)


def test_a_taken_port_is_said_and_leaves_the_journal_alone(small, tmp_path):
    journal = tmp_path / "journal.jsonl"
    journal.write_text("somebody else's\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}.*choose another --port"):
            run_gateway(*small, port=port, journal=str(journal), maker="inside")
    assert journal.read_text() == "somebody else's\n"


def test_other_machines_need_a_key(small):
    with pytest.raises(ConfigError, match="--insecure"):
        run_gateway(*small, host="0.0.0.0", port=0, maker="inside")


def test_an_unknown_policy_is_said_before_anything_starts(make_gateway):
    with pytest.raises(UnknownNameError, match="did you mean 'planner'"), in_thread(make_gateway(policy="planer")):
        pass


def test_an_earlier_journal_is_kept_beside_the_new_one(make_gateway, tmp_path):
    journal = tmp_path / "journal.jsonl"
    for _ in range(2):
        with in_thread(make_gateway(journal=journal, maker="inside")) as live:
            assert httpx.get(f"{live.url}/readyz").status_code == 200
    assert len(list(tmp_path.iterdir())) == 2


def test_the_whole_gateway_fits_into_one_process_for_tests(make_gateway):
    with in_thread(make_gateway(maker="inside")) as live:
        answer = httpx.post(f"{live.url}/v1/images/generations", json={"prompt": "a red circle"})
        assert answer.status_code == 200


def test_a_gateway_whose_workers_do_not_start_leaves_nothing_behind(make_gateway):
    with pytest.raises(WorkerError, match="did not say hello"), in_thread(make_gateway(maker="nonsense")):
        pass
