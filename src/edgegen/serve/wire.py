"""What comes in over HTTP: OpenAI's image request and the `edgegen` extension object, strictly typed.

Units in names are those of the wire (`deadline_ms`); `serve.intake` turns a body into the dispatcher's Requests in SI.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_PROMPT_CHARACTERS = 4000  # the built-in grammar takes far fewer and says so itself
MAX_PICTURES = 8
MAX_NAMES = 32
NATIVE_SIDE = 64
SIDES = {"auto": NATIVE_SIDE, "64x64": 64, "256x256": 256, "512x512": 512, "1024x1024": 1024}
TOKEN_SIDE = 16  # one image token for each 16 x 16 patch

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Names = Annotated[list[Name], Field(min_length=1, max_length=MAX_NAMES)]
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)  # no conversions, no unknown fields
Worth = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]


class Weights(BaseModel):
    """How much a unit of each thing is worth to the one who asks; what is left out is worth what the gateway says."""

    model_config = STRICT

    quality: Worth | None = None
    time: Worth | None = None
    energy: Worth | None = None
    money: Worth | None = None


class AbstractExtension(BaseModel):
    """What only edgegen understands."""

    model_config = STRICT

    deadline_ms: float | None = Field(
        default=None, gt=0, le=3.6e6, description="From arrival to the picture on the device."
    )
    min_quality: float | None = Field(
        default=None, ge=0, le=1, description="Probability that all attributes are right."
    )
    max_energy_j: float | None = Field(default=None, ge=0, description="From the battery of the device that asks.")
    max_cost_usd: float | None = Field(default=None, ge=0)
    steps: Literal["auto"] | Annotated[int, Field(ge=1, le=1000)] = "auto"
    tiers: Annotated[list[Literal["device", "edge", "cloud"]], Field(min_length=1, max_length=3)] | None = None
    nodes: Names | None = Field(default=None, description="Names from GET /v1/nodes.")
    models: Names | None = Field(default=None, description="Names from GET /v1/models.")
    origin: Name | None = Field(default=None, description="The device node that asks.")
    privacy: Literal["any", "local"] = Field(default="any", description="`local`: the prompt never leaves the device.")
    allow_degrade: bool = Field(default=False, description="Rather late or below the quality floor than refused.")
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    weights: Weights | None = None


class Extension(AbstractExtension):
    """The object that OpenAI's clients pass as `extra_body={"edgegen": {...}}`."""


class PlanExtension(AbstractExtension):
    """The extension of `/v1/plan`, which may also name the policy to ask."""

    policy: Name | None = Field(default=None, description="A name from GET /v1/policies.")


class AbstractBody(BaseModel):
    """OpenAI's fields. None means OpenAI's default, as in their own API."""

    model_config = STRICT

    prompt: Annotated[str, StringConstraints(max_length=MAX_PROMPT_CHARACTERS), Field(examples=["a red circle"])]
    model: Name | None = Field(default="auto", description="`auto`, or a name from GET /v1/models.")
    n: int | None = Field(default=1, ge=1, le=MAX_PICTURES)
    size: Literal["auto", "64x64", "256x256", "512x512", "1024x1024"] | None = "auto"
    response_format: Literal["b64_json", "url"] | None = "b64_json"
    user: Annotated[str, StringConstraints(max_length=200)] | None = None
    safety_identifier: Annotated[str, StringConstraints(max_length=200)] | None = None
    stream: bool | None = False
    partial_images: int | None = Field(default=None, ge=0, le=3, description="Only with `stream`.")
    output_format: Literal["png"] | None = "png"
    output_compression: Literal[100] | None = Field(default=None, description="A PNG is not compressed with a loss.")
    quality: Literal["auto"] | None = Field(default="auto", description="See edgegen.steps and edgegen.min_quality.")
    background: Literal["auto", "opaque"] | None = "auto"

    @property
    def side(self) -> int:
        """The wanted side of the picture in pixels."""
        return SIDES[self.size or "auto"]


class ImageBody(AbstractBody):
    """The body of `POST /v1/images/generations`."""

    edgegen: Extension | None = None


class JobBody(ImageBody):
    """The body of `POST /v1/jobs`: a request for pictures, and who is to be told when they are there."""

    webhook: Annotated[str, StringConstraints(min_length=8, max_length=1000)] | None = Field(
        default=None, description="An address that the configuration permits."
    )


class PlanBody(AbstractBody):
    """The body of `POST /v1/plan`: the same, plus the policy to ask."""

    edgegen: PlanExtension | None = None


FIELDS: dict[str, list[str]] = {
    "": list(ImageBody.model_fields),
    "edgegen": list(PlanExtension.model_fields),
    "edgegen.weights": list(Weights.model_fields),
    "job": ["webhook"],  # on top of the body's, in a job
    "publication": ["name", "nodes"],
}


def usage(prompt: str, side: int, count: int) -> dict:
    """Return OpenAI's `usage`: words in, and one token out for every 16 x 16 patch of every picture."""
    words, patches = len(prompt.split()), count * (side // TOKEN_SIDE) ** 2
    return {
        "input_tokens": words,
        "output_tokens": patches,
        "total_tokens": words + patches,
        "input_tokens_details": {"text_tokens": words, "image_tokens": 0},
    }
