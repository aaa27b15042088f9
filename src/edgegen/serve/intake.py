"""From a body of the API to the dispatcher's Requests: names, units and ids."""

import itertools
import math
import secrets

from edgegen.config import Config
from edgegen.core.errors import InputError, UnknownNameError
from edgegen.dispatch.messages import Limits, Request, Wish
from edgegen.generate import grammar
from edgegen.serve.wire import AbstractBody, AbstractExtension, Extension, ImageBody, PlanBody


class Intake:
    """Knows what a request means that does not say everything, and numbers the requests."""

    def __init__(self, config: Config):
        self._origin = next(node.name for node in config.nodes if node.tier == "device")
        self._models = [model.name for model in config.models]
        self._payload = config.gateway.payload
        self._weights = config.objective
        self._numbers = itertools.count()

    def admit(self, model: str) -> None:
        """Take requests for one more model."""
        self._models.append(model)

    def requests(self, body: ImageBody | PlanBody, *, now_s: float) -> list[Request]:
        """Return one Request per wanted picture.

        **Raises** `PromptError` or `InputError` for what the models' field types cannot say.
        """
        extension = body.edgegen or Extension()
        _check_together(body, extension)
        if body.model not in (None, "auto", *self._models):
            raise UnknownNameError("model", body.model, ["auto", *self._models], param="model")
        category = grammar.parse(body.prompt).category
        wish, limits = _wish(body, extension), _limits(extension)
        weights = self._weights_of(extension)
        first_seed = secrets.randbelow(2**31) if extension.seed is None else extension.seed
        return [
            Request(
                id=f"img_{secrets.token_hex(12)}",
                number=next(self._numbers),
                prompt=body.prompt,
                category=category,
                origin=extension.origin or self._origin,
                arrived_s=now_s,
                input_bits=8.0 * self._payload.input,
                output_bits=8.0 * self._payload.output,
                seed=(first_seed + index) % 2**31,
                limits=limits,
                wish=wish,
                weights=weights,
            )
            for index in range(body.n or 1)
        ]

    def _weights_of(self, extension: AbstractExtension) -> tuple[float, float, float, float]:
        default, given = self._weights, extension.weights
        if given is None:
            return default.weights
        names = ("quality", "time", "energy", "money")
        quality, time, energy, money = (
            getattr(default if getattr(given, name) is None else given, name) for name in names
        )
        return quality, time, energy, money


def _limits(extension: AbstractExtension) -> Limits:
    deadline_ms = extension.deadline_ms
    return Limits(
        deadline_s=math.inf if deadline_ms is None else deadline_ms / 1e3,
        min_quality=extension.min_quality or 0.0,
        energy_j=math.inf if extension.max_energy_j is None else extension.max_energy_j,
        money_usd=math.inf if extension.max_cost_usd is None else extension.max_cost_usd,
    )


def _wish(body: AbstractBody, extension: AbstractExtension) -> Wish:
    named = () if body.model in (None, "auto") else (body.model,)
    return Wish(
        models=named or tuple(extension.models or ()),
        nodes=tuple(extension.nodes or ()),
        tiers=tuple(extension.tiers or ()),
        steps=None if extension.steps == "auto" else extension.steps,
        local_only=extension.privacy == "local",
        allow_degrade=extension.allow_degrade,
    )


def _check_together(body: AbstractBody, extension: AbstractExtension) -> None:
    """Refuse fields that are fine alone and contradict each other."""
    named = body.model not in (None, "auto")
    if named and extension.models and body.model not in extension.models:
        raise InputError(
            f"model is {body.model!r} and edgegen.models permits only {', '.join(extension.models)}; say one of them",
            param="edgegen.models",
        )
    if body.partial_images and not body.stream:
        raise InputError(
            "partial_images is for stream: true; set it or leave partial_images out", param="partial_images"
        )
    if body.stream and (body.n or 1) > 1:
        raise InputError(f"n must be 1 with stream: true, got {body.n}", param="n")
    if body.stream and body.response_format == "url":
        raise InputError("response_format must be b64_json with stream: true, got 'url'", param="response_format")
