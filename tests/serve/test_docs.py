"""The documentation says what the gateway does: its code runs, and nothing is left out."""

import re
from pathlib import Path

import httpx
import pytest

from edgegen.serve.wire import AbstractBody, Extension

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_examples_for_the_openai_client_run(live_gateway, capsys):
    text = (DOCS / "openai-client.md").read_text().replace("http://127.0.0.1:8000", live_gateway.url)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(block, names)
    names["client"].close()
    said = capsys.readouterr().out
    assert "image_generation.completed" in said
    assert "infeasible" in said


def test_every_address_is_documented(live_gateway):
    text = (DOCS / "api.md").read_text()
    paths = httpx.get(f"{live_gateway.url}/openapi.json").json()["paths"]
    missing = [path for path in paths if path not in text]
    assert missing == []


@pytest.mark.parametrize("model", [AbstractBody, Extension])
def test_every_field_is_documented(model):
    text = (DOCS / "api.md").read_text()
    assert [name for name in model.model_fields if f"`{name}`" not in text] == []


def test_every_metric_is_documented(live_gateway):
    text = (DOCS / "api.md").read_text()
    served = httpx.get(f"{live_gateway.url}/metrics").text
    names = set(re.findall(r"^# TYPE (\S+)", served, flags=re.MULTILINE))
    assert [name for name in names if not name.endswith("_created") and f"`{name}" not in text] == []
