"""How engines with OpenAI's Images API call what is not in that API: steps, seed and guidance, and where they tell their health.

Where each row was read: vLLM-Omni's `ImageGenerationRequest` (at most 200 steps) and SGLang-Diffusion's
`ImageGenerationsRequest`, both with their names of parameters beside OpenAI's; LocalAI's `OpenAIRequest` (`step`, `seed`;
guidance stands in its model's file). OpenAI's own API has none of the three: `openai` is its older form, where pictures
come as text only when asked, `gpt-image` the newer one, which refuses to be asked.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Dialect:
    """Names of parameters; one with a dot lies inside of an object. None: the engine has no such parameter."""

    health: str  # a path that answers 200 while pictures can be made
    steps: str | None = None
    seed: str | None = None
    guidance: str | None = None
    always: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"response_format": "b64_json"})

    def body(
        self, *, prompt: str, model: str, steps: int, seed: int, size: str | None, guidance: float | None
    ) -> dict[str, Any]:
        """Return the body of a request for one picture."""
        body: dict[str, Any] = {"prompt": prompt, "model": model, "n": 1}
        if size is not None:
            body["size"] = size
        wanted = [*self.always.items(), (self.steps, steps), (self.seed, seed)]
        if guidance is not None:
            wanted.append((self.guidance, guidance))
        for name, value in wanted:
            if name is not None:
                _put(body, name, value)
        return body


def _put(body: dict[str, Any], name: str, value: Any) -> None:
    *path, last = name.split(".")
    for part in path:
        body = body.setdefault(part, {})
    body[last] = value


DIALECTS: dict[str, Dialect] = {
    "openai": Dialect("/v1/models"),
    "gpt-image": Dialect("/v1/models", always={}),
    "vllm-omni": Dialect("/health", "num_inference_steps", "seed", "guidance_scale"),
    "sglang": Dialect("/health", "num_inference_steps", "seed", "guidance_scale"),
    "localai": Dialect("/readyz", "step", "seed"),
    "edgegen": Dialect(
        "/readyz",
        "edgegen.steps",
        "edgegen.seed",
        always={"response_format": "b64_json", "edgegen.allow_degrade": True},  # the limits are kept in front of it
    ),
}
