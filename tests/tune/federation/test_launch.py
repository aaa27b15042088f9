"""What real processes are started with: files, commands, certificates, an environment without the network."""

import os
import ssl
import stat
import sys
import tomllib

import numpy as np
import pytest

pytest.importorskip("flwr", reason="pip install -e .[federated]")

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from edgegen.core.errors import ConfigError, InputError
from edgegen.tune.federation.launch import Launch, learner_of, read_launch
from edgegen.tune.federation.learners import load
from edgegen.tune.federation.packing import CONNECTION, MARK, OFFLINE, environment, write_app, write_home
from edgegen.tune.federation.pids import is_alive, marked
from edgegen.tune.federation.places import Place, free_port, superlink_command, supernode_command
from edgegen.tune.federation.processes import Federation
from edgegen.tune.federation.settings import FederatedSettings, PrivacySection
from edgegen.tune.federation.simulated import simulation
from edgegen.tune.federation.tls import Certificates, is_loopback, make_certificates, make_site_key
from tune import toys

# ------------------------------------------------------------------------------------------------------------- the files


def launch(folder, **rest) -> Launch:
    privacy = PrivacySection(kind="example", noise=1.5)
    settings = FederatedSettings(rounds=7, bits=16, privacy=privacy)
    return Launch("tune.toys:make", 3, settings, folder, options={"alpha": 0.5, "word": 'a "b"\n'}, **rest)


def test_a_launch_is_read_as_it_was_written(tmp_path):
    written = launch(tmp_path / "run", judge="tune.toys:judge", wait_s=5.0)
    start = {"z": np.arange(3, dtype=np.float32), "a": np.asarray(2.0, np.float32)}
    written.write(start)
    back, arrays = read_launch(tmp_path / "run")
    assert back == written
    assert list(arrays) == ["z", "a"]  # in the order of the learner
    np.testing.assert_array_equal(arrays["z"], start["z"])


def test_a_folder_without_a_launch_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no launch"):
        read_launch(tmp_path)


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # of Flower, about its own dependency
def test_the_packed_app_is_one_that_flower_takes(tmp_path):
    from flwr.cli.build import build_fab_from_disk
    from flwr.common.config import get_fab_config, validate_config

    made = launch(tmp_path)
    app = write_app(tmp_path, made.run_config())
    config = tomllib.loads((app / "pyproject.toml").read_text())
    assert config["tool"]["flwr"]["app"]["config"] == made.run_config()
    valid, errors, warnings = validate_config(config, check_module=True, project_dir=app)
    assert (valid, errors, warnings) == (True, [], [])
    packed = get_fab_config(build_fab_from_disk(app))
    assert packed["tool"]["flwr"]["app"]["components"]["clientapp"] == "edgegen_federated.client:app"


def test_a_site_makes_its_own_learner_from_its_configuration(tmp_path):
    from flwr.app import Context, RecordDict

    told = launch(tmp_path).run_config()
    context = Context(1, 2, {"partition-id": 2, "num-partitions": 3}, RecordDict(), told)
    x, _ = toys.data(3, alpha=0.5)[2]
    np.testing.assert_array_equal(learner_of(context).x, x)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("toys", "must be written 'module:function', got 'toys'"),
        ("tune.nothing:make", "there is no module 'tune.nothing'"),
        ("tune.toys:nothing", "has no 'nothing'"),
        ("tune.toys:EXAMPLES", "is not a function"),
    ],
)
def test_a_factory_that_is_not_there_is_named(name, reason):
    with pytest.raises(InputError, match=reason):
        load(name)


def test_a_module_that_fails_while_it_is_imported_says_so_itself(tmp_path, monkeypatch):
    (tmp_path / "broken_factory.py").write_text("import a_module_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        load("broken_factory:make")


# ------------------------------------------------------------------------------------------------ no network, no traces


def test_processes_are_told_to_leave_the_network_alone(tmp_path):
    env = environment(write_home(tmp_path, "127.0.0.1:1", None), "mark")
    assert {name: env[name] for name in OFFLINE} == {
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }
    assert env["FLWR_HOME"].startswith(str(tmp_path.resolve()))  # and the user's own home of Flower is not touched
    assert env[MARK] == "mark"


def test_flower_knows_these_switches():
    import flwr.common.constant as common
    import flwr.supercore.constant as core
    import flwr.supercore.telemetry as telemetry

    assert common.FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION in OFFLINE
    assert core.FLWR_DISABLE_UPDATE_CHECK in OFFLINE
    assert hasattr(telemetry, "FLWR_TELEMETRY_ENABLED")


def test_the_connection_trusts_the_runs_own_authority(tmp_path):
    made = make_certificates(tmp_path / "keys", ["10.0.0.5"])
    home = write_home(tmp_path, "10.0.0.5:8000", made.authority)
    told = tomllib.loads((home / "config.toml").read_text())["superlink"][CONNECTION]
    assert told == {"address": "10.0.0.5:8000", "root-certificates": str(made.authority.resolve())}


def test_processes_are_found_by_the_mark_of_their_run(tmp_path):
    import subprocess

    env = {**os.environ, MARK: "a-test-of-marks"}
    command = [sys.executable, "-c", "print(1, flush=True); input()"]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert marked("a-test-of-marks") == [process.pid]
        assert marked("a-test") == []
        process.kill()
    assert not is_alive(process.pid)
    assert marked("a-test-of-marks") == []


# ------------------------------------------------------------------------------------------------------- what is protected


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *((host, True) for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9")),
        *((host, False) for host in ("0.0.0.0", "10.0.0.5", "edge.example", "::", "")),
    ],
)
def test_only_loopback_is_without_protection_unless_somebody_says_so(host, local):
    assert is_loopback(host) == local
    assert Place(host).protected == (not local)
    assert Place(host, security="tls").protected
    assert not Place(host, security="insecure").protected


def test_certificates_and_no_protection_contradict_each_other(tmp_path):
    made = Certificates(tmp_path, tmp_path, tmp_path)
    with pytest.raises(ConfigError, match="'insecure' does not use them"):
        Place(security="insecure", certificates=made)
    with pytest.raises(ConfigError, match="for the authority of the server"):
        made.check()
    assert Place(certificates=made).protected


def test_commands_carry_the_protection(tmp_path):
    made = make_certificates(tmp_path, ["10.0.0.5"])
    server = superlink_command("0.0.0.0", 8000, tmp_path / "db", made)
    assert "--enable-supernode-auth" in server
    assert "--insecure" not in server
    key, _ = make_site_key(tmp_path, 2)
    site = supernode_command("10.0.0.5:8000", 2, 3, 9000, made.authority, key)
    assert site[site.index("--auth-supernode-private-key") + 1] == str(key)
    assert site[site.index("--node-config") + 1] == "partition-id=2 num-partitions=3"
    assert "--insecure" not in site
    assert "--insecure" in supernode_command("127.0.0.1:8000", 0, 1, 9000, None, None)
    assert "--insecure" in superlink_command("127.0.0.1", 8000, tmp_path / "db", None)


def test_a_server_with_made_certificates_is_believed_under_its_names_only(tmp_path):
    made = make_certificates(tmp_path, ["127.0.0.1", "edge.example"]).check()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(made.certificate, made.key)
    strict = ssl.create_default_context(cafile=str(made.authority))
    strict.verify_flags |= ssl.VERIFY_X509_STRICT  # what newer versions of Python ask by default

    def handshake(name: str) -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = strict.wrap_bio(to_client, to_server, server_hostname=name)
        other = server.wrap_bio(to_server, to_client, server_side=True)
        for _ in range(4):
            for side in (client, other):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue

    handshake("127.0.0.1")
    handshake("edge.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake("other.example")


def test_secrets_can_be_read_by_their_owner_only_and_stay(tmp_path):
    made = make_certificates(tmp_path, ["127.0.0.1"])
    private, public = make_site_key(tmp_path, 0)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (made.key, private)} == {0o600}
    before = [path.read_bytes() for path in (made.authority, made.key, private, public)]
    make_certificates(tmp_path, ["127.0.0.1"])
    make_site_key(tmp_path, 0)
    assert [path.read_bytes() for path in (made.authority, made.key, private, public)] == before
    key = load_ssh_private_key(private.read_bytes(), None)
    assert key.public_key().public_numbers() == load_ssh_public_key(public.read_bytes()).public_numbers()
    assert x509.load_pem_x509_certificate(made.authority.read_bytes()).extensions


def test_real_processes_need_a_deadline(tmp_path):
    with pytest.raises(ConfigError, match="need deadline_s"):
        Federation(Launch("tune.toys:make", 1, FederatedSettings(), tmp_path))


def test_a_free_port_is_one_that_can_be_bound():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port()))


def test_the_simulation_is_told_how_many_sites_and_how_many_at_once():
    engine = simulation(12, 2)
    assert engine.supernodes == 0
    assert "--simulation" in engine.superlink_options
    assert "num-supernodes=12 " in engine.run_options[1]
    assert "init-args-num-cpus=2" in engine.run_options[1]
    with pytest.raises(InputError, match="at least one"):
        simulation(12, 0)
