"""What a worker process says when a picture goes wrong: one structured line on the error stream, with the request's id.

The gateway is told the reason in a sentence; the traceback is only here. Nothing is imported before something is wrong.
"""


def complain(error: Exception, *, picture: str, request_id: str) -> None:
    """Log an unexpected error about a picture."""
    import structlog

    from edgegen.observe.logs import set_up

    if not structlog.is_configured():
        set_up("info")
    structlog.get_logger("edgegen.worker").error(
        "a picture failed", id=picture, request_id=request_id, error=type(error).__name__, exc_info=error
    )
