"""The answers as the published description (`/openapi.json`) shows them; nothing is validated against these at run time."""

from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict


class Error(BaseModel):
    """What is wrong, in OpenAI's shape; some errors carry more, such as `offer` or `known_words`."""

    model_config = ConfigDict(extra="allow")

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every answer that is no success."""

    error: Error


class SplitBody(BaseModel):
    """Where time, energy and money went; null where it is not known."""

    upload_s: float | None
    queue_s: float | None
    load_s: float | None
    generate_s: float | None
    download_s: float | None
    total_s: float | None
    device_energy_j: float | None
    node_energy_j: float | None
    money_usd: float | None


class Item(BaseModel):
    """One picture: where it was made, how and why."""

    id: str
    prompt: str
    category: str
    node: str | None
    tier: str | None
    model: str | None
    steps: int | None
    seed: int
    origin: str
    reason: str | None
    policy: str
    predicted: SplitBody | None
    actual: SplitBody | None
    quality_estimate: float | None
    deadline_s: float | None
    met_deadline: bool | None
    image_url: str | None
    emulated: list[str]


class Account(BaseModel):
    """The `edgegen` object of an answer."""

    id: str
    policy: str
    items: list[Item]


class Datum(BaseModel):
    """A picture, in the form that was asked for."""

    b64_json: str | None = None
    url: str | None = None


class TokenDetails(BaseModel):
    """Tokens of the input."""

    text_tokens: int
    image_tokens: int


class Usage(BaseModel):
    """Words in, patches of 16 x 16 pixels out."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: TokenDetails


class ImagesAnswer(BaseModel):
    """OpenAI's `ImagesResponse` with the `edgegen` object."""

    created: int
    data: list[Datum]
    usage: Usage
    size: str
    output_format: str
    quality: str
    background: str
    edgegen: Account


class WebhookAnswer(BaseModel):
    """Whom a job tells of its end, and whether it has."""

    url: str
    tries: int
    delivered_at: float | None
    trouble: str | None


class JobHead(BaseModel):
    """A job as it stands in a list. Times are Unix seconds."""

    id: str
    object: Literal["job"]
    status: Literal["waiting", "running", "done", "refused", "failed", "cancelled"]
    created_at: float
    ended_at: float | None
    takings: int
    request: dict[str, Any]
    error: Error | None


class JobAnswer(JobHead):
    """A job: the pictures that are made so far, and the answer once it is done."""

    items: list[Item]
    webhook: WebhookAnswer | None
    result: ImagesAnswer | None


class JobList(BaseModel):
    """A page of jobs, the newest first."""

    object: Literal["list"]
    data: list[JobHead]
    has_more: bool


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "Something in the request is wrong, or its limits cannot be met."},
    401: {"model": ErrorBody, "description": "No API key, or a wrong one."},
    403: {"model": ErrorBody, "description": "The API key is for something else."},
    404: {"model": ErrorBody, "description": "There is nothing with this name."},
    408: {"model": ErrorBody, "description": "The body took too long to come."},
    413: {"model": ErrorBody, "description": "The body is too large."},
    429: {"model": ErrorBody, "description": "Too many wait, or the key's quota is used up; see Retry-After."},
    503: {"model": ErrorBody, "description": "No worker can do it now."},
}


def describe(app: FastAPI) -> None:
    """Take out of the description what the framework adds and this application never answers."""
    made = app.openapi()
    for path in made["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        made["components"]["schemas"].pop(name, None)
    app.openapi_schema = made
