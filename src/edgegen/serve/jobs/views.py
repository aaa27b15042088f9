"""Jobs as the API shows them."""

import base64
import json
from typing import Any

from sqlalchemy import Row

from edgegen.serve.answers import grade
from edgegen.serve.jobs.keeper import Jobs
from edgegen.serve.jobs.reading import Seen
from edgegen.serve.jobs.records import Event
from edgegen.serve.pictures import at_side
from edgegen.serve.storage.blobs import BlobError
from edgegen.serve.wire import JobBody, usage


def job_head(row: Row[Any]) -> dict[str, Any]:
    """Return a job as it stands in a list."""
    return {
        "id": row.id,
        "object": "job",
        "status": row.status,
        "created_at": row.created_s,
        "ended_at": row.ended_s,
        "takings": row.takings,
        "request": row.body,
        "error": row.error,
    }


async def job_view(jobs: Jobs, seen: Seen, base_url: str) -> dict[str, Any]:
    """Return a job with what came out of it."""
    row, told = seen.row, seen.webhook
    webhook = None
    if row.webhook:
        tries, delivered, trouble = (told.tries, told.delivered_s, told.trouble) if told else (0, None, None)
        webhook = {"url": row.webhook, "tries": tries, "delivered_at": delivered, "trouble": trouble}
    result = await _result(jobs, seen, base_url) if row.status == "done" else None
    made = [kept.item for kept in seen.results]
    return {**job_head(row), "items": made, "webhook": webhook, "result": result}


async def _result(jobs: Jobs, seen: Seen, base_url: str) -> dict[str, Any]:
    """Return what `POST /v1/images/generations` would have answered."""
    body = JobBody.model_validate(seen.row.body)
    side, items = body.side, [kept.item for kept in seen.results]
    data = []
    for kept in seen.results:
        if body.response_format == "url":
            data.append({"url": f"{base_url}/v1/images/{kept.item['id']}.png"})
        else:
            png = await at_side(await jobs.read(kept.blob, kept.sha256), side)
            data.append({"b64_json": base64.b64encode(png).decode()})
    grades = (grade(item["quality_estimate"] or 0.0) for item in items)
    return {
        "created": int(seen.row.ended_s),
        "data": data,
        "usage": usage(body.prompt, side, len(items)),
        "size": f"{side}x{side}",
        "output_format": "png",
        "quality": min(grades, key=("low", "medium", "high").index),
        "background": "opaque",
        "edgegen": {"id": seen.row.id, "policy": items[0]["policy"], "items": items},
    }


def event_text(event: Event) -> str:
    """Return an event's data."""
    return json.dumps({"at": event.at_s, **event.data}, separators=(",", ":"))


async def kept_picture(jobs: Jobs, picture_id: str) -> bytes | None:
    """Return a job's picture in the size that was asked for, or None where there is none with this id."""
    kept = await jobs.reader.picture(picture_id)
    if kept is None:
        return None
    try:
        png = await jobs.read(kept.blob, kept.sha256)
    except BlobError:
        if await jobs.reader.picture(picture_id) is None:  # its job was forgotten meanwhile
            return None
        raise
    return await at_side(png, JobBody.model_validate(kept.body).side)
