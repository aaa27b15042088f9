import pytest

from edgegen.core.errors import ConfigError
from edgegen.serve.auth import Keys, check_binding
from edgegen.serve.problems import Problem

KEY = "a-long-enough-secret"


def test_without_keys_everybody_may_come_in():
    Keys().check("/v1/nodes", None)
    assert not Keys()


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", f"Basic {KEY}", "Bearer wrong-wrong-wrong-wrong"])
def test_a_missing_or_wrong_key_is_refused(header):
    with pytest.raises(Problem) as caught:
        Keys([KEY, "another-secret-of-ours"]).check("/v1/nodes", header)
    assert caught.value.status == 401
    assert caught.value.headers == {"WWW-Authenticate": "Bearer"}
    assert KEY not in caught.value.message


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/assets/index.js", "/v1/images/img_00.png"])
def test_the_page_the_probes_and_pictures_by_their_secret_id_need_no_key(path):
    Keys([KEY]).check(path, None)


def test_every_right_key_opens():
    keys = Keys.from_environment({"EDGEGEN_API_KEYS": f" {KEY} , another-secret-of-ours,"})
    keys.check("/v1/nodes", f"Bearer {KEY}")
    keys.check("/v1/nodes", "bearer another-secret-of-ours")


def test_a_short_key_is_refused():
    with pytest.raises(ConfigError, match="at least 16 characters, got 5"):
        Keys(["short"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_this_machine_alone_needs_no_key(host):
    check_binding(host, Keys(), insecure=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gateway.example"])
def test_other_machines_need_a_key_or_a_clear_word(host):
    with pytest.raises(ConfigError, match=r"EDGEGEN_API_KEYS.*--insecure"):
        check_binding(host, Keys(), insecure=False)
    check_binding(host, Keys([KEY]), insecure=False)
    check_binding(host, Keys(), insecure=True)
