"""What a worker process says when a picture goes wrong: one structured line on the error stream, with the request's id.

The gateway is told the reason in a sentence; the traceback is only here. No logging is imported before something is wrong.
"""

from edgegen.core.errors import EdgegenError
from edgegen.serve.workers.messages import encode


def failed(error: Exception, *, picture: str, request_id: str) -> bytes:
    """Return the message that a picture failed; an error that nobody expected is logged."""
    if isinstance(error, EdgegenError):
        return encode("failed", id=picture, reason=str(error), retry=False)
    complain(error, picture=picture, request_id=request_id)
    return encode("failed", id=picture, reason=f"{type(error).__name__}: {error}", retry=False)


def complain(error: Exception, *, picture: str, request_id: str) -> None:
    """Log an unexpected error about a picture."""
    import structlog

    from edgegen.observe.logs import set_up

    if not structlog.is_configured():
        set_up("info")
    structlog.get_logger("edgegen.worker").error(
        "a picture failed", id=picture, request_id=request_id, error=type(error).__name__, exc_info=error
    )
