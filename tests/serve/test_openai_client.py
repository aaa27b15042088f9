"""The unmodified OpenAI client against a gateway on a real socket."""

import base64
import io

import httpx
import openai
import pytest
from PIL import Image

from edgegen.serve.auth import Keys
from edgegen.serve.run import in_thread

KEY = "a-key-for-the-tests-only"


@pytest.fixture(scope="module")
def client(live_gateway):
    with openai.OpenAI(base_url=f"{live_gateway.url}/v1", api_key="unused", max_retries=0, timeout=30) as client:
        yield client


def picture(text: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    return image


def test_it_generates_and_hears_where_and_why(client):
    answer = client.images.generate(
        prompt="a red circle", model="auto", extra_body={"edgegen": {"deadline_ms": 20_000, "seed": 7}}
    )
    assert picture(answer.data[0].b64_json).size == (64, 64)
    assert (answer.size, answer.output_format, answer.background) == ("64x64", "png", "opaque")
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens == 3 + 16
    item = answer.edgegen["items"][0]
    assert item["node"] in ("phone", "edge-1", "edge-2")
    assert item["seed"] == 7
    assert item["node"] in item["reason"]
    parts = item["actual"]
    assert parts["total_s"] == pytest.approx(
        sum(parts[name] for name in ("upload_s", "queue_s", "load_s", "generate_s", "download_s"))
    )
    assert item["predicted"]["total_s"] > 0
    assert item["met_deadline"] is True


def test_several_pictures_in_another_size(client):
    answer = client.images.generate(prompt="a blue square", n=3, size="256x256")
    assert [picture(image.b64_json).size for image in answer.data] == [(256, 256)] * 3
    assert len({item["id"] for item in answer.edgegen["items"]}) == 3
    assert answer.usage.output_tokens == 3 * 256


def test_a_picture_by_its_address(client):
    answer = client.images.generate(prompt="a green cross", response_format="url", size="512x512")
    fetched = httpx.get(answer.data[0].url)
    assert fetched.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(fetched.content)).size == (512, 512)


def test_it_streams_the_picture_as_it_forms(client):
    stream = client.images.generate(
        prompt="a red circle left of a blue square", stream=True, partial_images=2, extra_body={"edgegen": {"steps": 8}}
    )
    events = list(stream)
    assert [event.type for event in events] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    assert all(picture(event.b64_json).size == (64, 64) for event in events)
    assert events[-1].usage.total_tokens == 8 + 16
    assert events[-1].edgegen["items"][0]["steps"] == 8


def test_few_steps_give_the_previews_that_there_are(client):
    stream = client.images.generate(
        prompt="a red circle", stream=True, partial_images=3, extra_body={"edgegen": {"steps": 1}}
    )
    assert [event.type for event in stream] == ["image_generation.partial_image", "image_generation.completed"]


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["shapes-s", "shapes-m"]


WRONG = {
    "unknown word": ({"prompt": "a unicorn"}, openai.BadRequestError, "prompt", "unknown_words"),
    "empty prompt": ({"prompt": " "}, openai.BadRequestError, "prompt", "invalid_prompt"),
    "huge prompt": ({"prompt": "red " * 3000}, openai.BadRequestError, "prompt", "invalid_value"),
    "unknown model": (
        {"prompt": "a red circle", "model": "shapes-x"},
        openai.NotFoundError,
        "model",
        "model_not_found",
    ),
    "n": ({"prompt": "a red circle", "n": 100}, openai.BadRequestError, "n", "invalid_value"),
    "size": ({"prompt": "a red circle", "size": "1x1"}, openai.BadRequestError, "size", "invalid_value"),
    "style": ({"prompt": "a red circle", "style": "vivid"}, openai.BadRequestError, "style", "unknown_field"),
    "stream with n": ({"prompt": "a red circle", "stream": True, "n": 2}, openai.BadRequestError, "n", "invalid_value"),
}


@pytest.mark.parametrize(("asked", "kind", "param", "code"), WRONG.values(), ids=WRONG.keys())
def test_errors_arrive_as_the_clients_own_types(client, asked, kind, param, code):
    with pytest.raises(kind) as caught:
        client.images.generate(**asked)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_an_impossible_deadline_comes_back_with_the_best_offer(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(prompt="a red circle", extra_body={"edgegen": {"deadline_ms": 0.01}})
    assert caught.value.code == "infeasible"
    assert caught.value.body["offer"]["total_s"] > 0


def test_keys_are_checked(make_gateway):
    with in_thread(make_gateway(keys=Keys([KEY]))) as live:
        wrong = openai.OpenAI(base_url=f"{live.url}/v1", api_key="wrong", max_retries=0)
        with wrong, pytest.raises(openai.AuthenticationError):
            wrong.images.generate(prompt="a red circle")
        with openai.OpenAI(base_url=f"{live.url}/v1", api_key=KEY, max_retries=0) as right:
            assert right.images.generate(prompt="a red circle").data
        assert httpx.get(f"{live.url}/healthz").status_code == 200
        assert httpx.get(f"{live.url}/v1/nodes").status_code == 401
