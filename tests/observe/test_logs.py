"""What the log says, and what it never says."""

import io
import json

import pytest
import structlog

from edgegen.observe.logs import masked, set_up
from edgegen.serve.auth import new_key


@pytest.fixture
def lines():
    stream = io.StringIO()
    before = structlog.get_config()
    set_up("debug", form="json", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.configure(**before)


@pytest.mark.parametrize(
    ("text", "secret"),
    ids=["key", "header", "database", "webhook"],
    argvalues=[
        (new_key()[1], None),
        ("Authorization: Bearer abcdefgh-ijkl", "abcdefgh-ijkl"),
        ("cannot reach postgresql+asyncpg://me:pass-word@host/db", "pass-word"),
        ("webhook signed with whsec_MfKQ9r8GKYqrTwjU", "MfKQ9r8GKYqrTwjU"),
    ],
)
def test_what_looks_like_a_secret_is_masked_wherever_it_stands(lines, text, secret):
    secret = secret or text.rpartition("_")[2]
    log = structlog.get_logger("test")
    log.info("event", value=text, inner={"list": [text]})
    try:
        raise RuntimeError(text)
    except RuntimeError as error:
        log.error("failed", exc_info=error)
    said = json.dumps(lines())
    assert len(lines()) == 2
    assert secret not in said
    assert "***" in said


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:8000/v1/images", "a red circle at 10:30", "the bearer of news", "img_0123456789ab"]
)
def test_other_text_is_left_alone(text):
    assert masked(text) == text
