"""The requests of the README are sent to the gateway that the README starts: the default fleet, the shipped models."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgegen.assemble import build_fleet
from edgegen.config import default_config
from edgegen.serve.compose import compose
from edgegen.serve.run import in_thread

README = Path(__file__).parents[2] / "README.md"
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def default_gateway():
    config = default_config()
    with in_thread(lambda: compose(config, build_fleet(config))) as live:
        yield live


def only_block(language: str, beginning: str) -> str:
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), flags=re.S | re.M)
    (block,) = [block for block in blocks if block.startswith(beginning)]
    return block


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_request_of_the_front_page_is_answered(default_gateway):
    block = only_block("bash", "curl")
    script = block.replace(ADDRESS, default_gateway.url)
    assert default_gateway.url in script
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert '"b64_json"' in done.stdout, done.stdout[:500]


def test_the_client_of_the_front_page_gets_a_picture_and_a_reason(default_gateway, capsys):
    block = only_block("python", "from openai")
    script = block.replace(ADDRESS, default_gateway.url)
    assert default_gateway.url in script
    exec(compile(script, "README.md", "exec"), {})
    assert "shapes-" in capsys.readouterr().out
