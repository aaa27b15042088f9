"""What goes out for a picture: OpenAI's response and stream events, with the `edgegen` object beside them."""

import base64
import time
from typing import Any

from edgegen.serve.pictures import at_side
from edgegen.serve.store import Record
from edgegen.serve.wire import AbstractBody, usage


def grade(quality: float) -> str:
    """Return OpenAI's word for an expected quality: low below 0.5, medium below 0.8, high from there."""
    return "low" if quality < 0.5 else "medium" if quality < 0.8 else "high"


async def images_response(body: AbstractBody, records: list[Record], *, policy: str, base_url: str) -> dict[str, Any]:
    """Return the answer to `POST /v1/images/generations`."""
    side = body.side
    return {
        "created": int(time.time()),
        "data": [await _datum(record, body, base_url) for record in records],
        "usage": usage(body.prompt, side, len(records)),
        "size": f"{side}x{side}",
        "output_format": "png",
        "quality": min((_grade(record) for record in records), key=("low", "medium", "high").index),
        "background": "opaque",
        "edgegen": extension(records, policy),
    }


def extension(records: list[Record], policy: str) -> dict[str, Any]:
    """Return the `edgegen` object of an answer."""
    return {"id": records[0].group, "policy": policy, "items": [record.item() for record in records]}


def partial_event(body: AbstractBody, record: Record, png_b64: str, index: int) -> dict[str, Any]:
    """Return OpenAI's event for a picture in the making."""
    return {
        **_event(body, record, "image_generation.partial_image"),
        "b64_json": png_b64,
        "partial_image_index": index,
    }


async def completed_event(body: AbstractBody, record: Record, policy: str) -> dict[str, Any]:
    """Return OpenAI's event for the finished picture."""
    return {
        **_event(body, record, "image_generation.completed"),
        "b64_json": await _text(record, body.side),
        "usage": usage(body.prompt, body.side, 1),
        "edgegen": extension([record], policy),
    }


def _event(body: AbstractBody, record: Record, kind: str) -> dict[str, Any]:
    return {
        "type": kind,
        "created_at": int(time.time()),
        "size": f"{body.side}x{body.side}",
        "quality": _grade(record),
        "background": "opaque",
        "output_format": "png",
    }


async def _datum(record: Record, body: AbstractBody, base_url: str) -> dict[str, str]:
    if body.response_format == "url":
        return {"url": f"{base_url}/v1/images/{record.id}.png"}
    return {"b64_json": await _text(record, body.side)}


async def _text(record: Record, side: int) -> str:
    return base64.b64encode(await at_side(record.png or b"", side)).decode()


def _grade(record: Record) -> str:
    return grade(record.start.quality if record.start else 0.0)
