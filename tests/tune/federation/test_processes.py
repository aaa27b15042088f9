"""Real SuperLinks and SuperNodes on loopback: killed ones are recovered, and none is left.

Minutes of processes, so only run when asked: `scripts/test -m processes`. What needs no process is in test_launch.py.
"""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr", reason="pip install -e .[federated]")

from edgegen.core.errors import WorkerError
from edgegen.tune.federation.launch import Launch
from edgegen.tune.federation.packing import environment, scripts
from edgegen.tune.federation.pids import is_alive, marked
from edgegen.tune.federation.places import Place, elsewhere, free_port, supernode_command
from edgegen.tune.federation.processes import Federation, run_on_processes
from edgegen.tune.federation.settings import FederatedSettings, SecureSection
from edgegen.tune.federation.simulated import run_simulated
from tune import toys

pytestmark = [pytest.mark.slow, pytest.mark.processes]

SITES, STEPS = 3, 7


def launch(folder: Path, *, learner: str = "tune.toys:make", options=None, **settings) -> Launch:
    told = FederatedSettings(**{"rounds": 2, "steps": STEPS, "deadline_s": 120, **settings})
    made = Launch(learner, SITES, told, folder, options={"sites": SITES, **(options or {})}, judge="tune.toys:judge")
    made.write(toys.start())
    return made


def assert_as_by_hand(progress, rounds: int, tolerance: float = 1e-6) -> None:
    assert progress.ended == "rounds"
    assert [(r.asked, r.answered, r.late, r.failed) for r in progress.history] == [(SITES, SITES, 0, 0)] * rounds
    for name, values in toys.averaged(SITES, rounds, STEPS).items():
        np.testing.assert_allclose(progress.arrays[name], values, atol=tolerance)


def test_three_supernodes_give_what_is_computed_by_hand_and_no_process_is_left(tmp_path):
    seen, pids = [], set()
    with Federation(launch(tmp_path)) as federation:
        progress = federation.wait(lambda progress: pids.update(federation.pids()) or seen.append(progress))
    assert_as_by_hand(progress, 2)
    assert [len(progress.history) for progress in seen] == [1, 2]
    assert federation.restarted == 0
    assert len(pids) >= 1 + SITES + 1  # SuperLink, SuperNodes, ServerApp
    assert federation.pids() == []
    assert [pid for pid in pids if is_alive(pid)] == []


def test_secure_rounds_over_tls_with_sites_that_prove_who_they_are(tmp_path):
    secure = SecureSection(shares=3, threshold=2, max_weight=200)
    with Federation(launch(tmp_path, rounds=1, secure=secure), Place(security="tls")) as federation:
        assert federation.certificates
        progress = federation.wait()
    assert_as_by_hand(progress, 1, 3e-5)
    assert federation.pids() == []


def test_a_killed_superlink_is_started_again_and_goes_on_from_the_last_round(tmp_path):
    with Federation(launch(tmp_path, rounds=3)) as federation:

        def kill(progress):
            if len(progress.history) == 1:
                os.kill(federation.superlink.pid, signal.SIGKILL)

        progress = federation.wait(kill)
    assert federation.restarted == 1
    assert_as_by_hand(progress, 3)
    assert federation.pids() == []


def test_a_killed_server_app_goes_on_from_the_last_round(tmp_path):
    options = {"die_once": str(tmp_path / "killed")}
    with Federation(launch(tmp_path, rounds=3, options=options)) as federation:
        progress = federation.wait()
    assert (tmp_path / "killed").exists()
    assert federation.restarted == 1
    assert_as_by_hand(progress, 3)


class Enough(Exception):
    pass


@pytest.mark.parametrize("security", ["insecure", "tls"])
def test_a_killed_supernode_is_started_again_and_takes_part(tmp_path, security):
    rounds = []

    def watch(progress):
        rounds.append(progress.history[-1])
        if len(rounds) == 1:
            os.kill(federation.supernodes[1].pid, signal.SIGKILL)
        elif set(rounds[-1].sites) == {"0", "1", "2"}:
            raise Enough

    made = launch(tmp_path, rounds=60, deadline_s=20)
    with Federation(made, Place(security=security)) as federation, pytest.raises(Enough):
        federation.wait(watch)
    assert federation.restarted == 1
    assert rounds[1].late + rounds[1].failed >= 1
    assert federation.pids() == []


def test_a_failing_server_app_is_an_error_with_its_reason(tmp_path):
    settings = FederatedSettings(deadline_s=60)
    made = Launch("tune.toys:make", 1, settings, tmp_path, judge="tune.toys:nobody")
    made.write(toys.start())
    with Federation(made) as federation, pytest.raises(WorkerError, match="has no 'nobody'"):
        federation.wait()
    assert federation.pids() == []


def test_an_interrupt_leaves_no_process(tmp_path):
    script = (
        "import sys; from pathlib import Path; from tune import toys; from tune.federation.test_processes import launch\n"
        "from edgegen.tune.federation.processes import run_on_processes\n"
        "run_on_processes(launch(Path(sys.argv[1]), rounds=99), toys.start(),"
        " on_round=lambda progress: print('ROUND', flush=True))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", script, str(tmp_path)]
    for number in (signal.SIGINT, signal.SIGTERM):
        with subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout
            assert "ROUND" in process.stdout.readline()
            process.send_signal(number)
            assert process.wait(60) != 0
        left = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if _of(path, tmp_path)]
        assert [pid for pid in left if is_alive(pid)] == []


def _of(path: Path, folder: Path) -> bool:
    try:
        return str(folder).encode() in path.read_bytes()
    except OSError:
        return False


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the simulation engine needs ray")
def test_the_simulation_engine_gives_the_same(tmp_path):
    made = launch(tmp_path)
    assert_as_by_hand(run_simulated(made, toys.start(), at_once=2), 2)
    time.sleep(0.5)
    left = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if _of(path, tmp_path)]
    assert [pid for pid in left if is_alive(pid)] == []


def test_a_site_of_another_machine_comes_with_the_key_that_was_made_for_it(tmp_path):
    made = Launch("tune.toys:make", 1, FederatedSettings(rounds=1, steps=STEPS, deadline_s=120), tmp_path)
    made.write(toys.start())
    with Federation(made, Place(security="tls"), engine=elsewhere(1)) as federation:
        keys = tmp_path / "keys"
        program, *options = supernode_command(
            federation.address, 0, 1, free_port(), keys / "authority.pem", keys / "site-0.key"
        )
        env = environment(tmp_path / "site", "the other machine")
        with subprocess.Popen([scripts() / program, *options], env=env, stderr=subprocess.DEVNULL) as site:
            progress = federation.wait()
            site.terminate()
    plain = toys.learners(1)[0].fit(toys.start(), round=1, steps=STEPS).arrays
    np.testing.assert_allclose(progress.arrays["w"], plain["w"], atol=1e-6)
    until = time.monotonic() + 20  # its helpers look for their parent now and then
    while marked("the other machine") and time.monotonic() < until:
        time.sleep(0.2)
    assert marked("the other machine") == []


def test_a_folder_is_gone_on_with_by_other_processes(tmp_path):
    for rounds in (1, 2):
        settings = FederatedSettings(rounds=rounds, steps=STEPS, deadline_s=120)
        made = Launch("tune.toys:make", 1, settings, tmp_path / "new")
        progress = run_on_processes(made, toys.start(), place=Place(security="tls"))
        assert len(progress.history) == rounds
    plain = toys.learners(1)[0].fit(toys.start(), round=1, steps=2 * STEPS).arrays
    np.testing.assert_allclose(progress.arrays["w"], plain["w"], atol=1e-6)
    assert marked("nothing carries this") == []
