"""The spans of one picture, made when it has ended from what was measured about it."""

from edgegen.serve.store import Record

MAX_STEPS = 256  # events of steps on one span


def leave(record: Record, after_s: float) -> None:
    """Send a picture's spans; it ended so many seconds after it came."""
    span, came_s = record.span, record.created
    for line in record.story:
        facts = {key: value for key, value in line.items() if isinstance(value, str | int | float) and key != "what"}
        span.event(line["what"], came_s + line["after_s"], facts)
    _parts(record, after_s)
    span.note({"edgegen.id": record.id, "edgegen.status": record.status, "edgegen.policy": record.policy})
    if record.start is not None:
        start = record.start
        span.note({"edgegen.node": start.node, "edgegen.model": start.model, "edgegen.steps": start.steps})
        span.note({"edgegen.predicted_s": start.predicted.total_s, "edgegen.quality": start.quality})
    span.end(came_s + after_s, error=record.error)


def _parts(record: Record, after_s: float) -> None:
    """Lay the parts out in time: upload follows the start, download, generation and loading end one after the other."""
    actual, came_s = record.actual, record.created
    starts = [line["after_s"] for line in record.story if line["what"] == "started"]
    if starts:
        decided = record.span.child("decision", came_s, {"edgegen.reason": record.start.reason if record.start else ""})
        decided.end(came_s + starts[0])
    if actual is None or not starts:
        return
    sent_s = starts[-1] + actual.upload_s
    made_s = after_s - actual.download_s
    begun_s = made_s - actual.generate_s
    loading_s = begun_s - actual.load_s
    for name, began_s, ended_s in (
        ("upload", starts[-1], sent_s),
        ("queue", sent_s, max(sent_s, loading_s)),
        ("load", loading_s, begun_s),
        ("generate", begun_s, made_s),
        ("download", made_s, after_s),
    ):
        if ended_s <= began_s:
            continue
        part = record.span.child(name, came_s + began_s)
        if name == "generate":
            for at_s, step in record.steps[:MAX_STEPS]:
                part.event("step", came_s + at_s, {"edgegen.step": step})
        part.end(came_s + ended_s)
