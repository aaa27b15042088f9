import subprocess
import sys

from edgegen.serve.jobs import owners

SAY = "from edgegen.serve.jobs import owners; print(owners.new_owner(), flush=True); input()"


def test_a_process_that_lives_is_not_gone_and_one_that_ended_is():
    with subprocess.Popen(
        [sys.executable, "-c", SAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        name = other.stdout.readline().strip()
        assert not owners.is_gone(name)
        assert not owners.is_gone(owners.new_owner())
        other.kill()
    assert owners.is_gone(name)


def test_another_process_with_the_same_number_is_not_the_one_that_is_meant():
    place, process, token = owners.new_owner().split("/")
    pid, _, _ = process.partition(".")
    assert owners.is_gone(f"{place}/{pid}.1/{token}")


def test_what_runs_elsewhere_is_never_known_to_be_gone():
    _, process, token = owners.new_owner().split("/")
    assert not owners.is_gone(f"0123456789ab/{process}/{token}")
    assert not owners.is_gone(f"elsewhere/{process}/{token}")
    assert not owners.is_gone("something else")


def test_every_run_has_a_name_of_its_own():
    assert owners.new_owner() != owners.new_owner()
