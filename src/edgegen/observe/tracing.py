"""Traces: one request from HTTP through decision, upload, queue and denoising steps to the download.

Nothing here imports OpenTelemetry before `otel_tracer` is called, and a gateway that is not told to trace has a `NoTracer`
whose one span forgets everything. Spans of a picture's parts are made when the picture ends, with the times that were
measured: while it is made, tracing costs nothing. Steps are events on one span, which bounds what a picture costs.
W3C Trace Context (https://www.w3.org/TR/trace-context/) says what a `traceparent` is.
"""

import abc
from collections.abc import Mapping
from typing import Any

from edgegen.core.errors import ConfigError

Attributes = Mapping[str, str | int | float | bool]


class AbstractSpan(abc.ABC):
    """Something that lasted, with what happened meanwhile. Times are Unix seconds; None is now."""

    traceparent: str  # how others name it as their parent; "" when nothing is traced

    @abc.abstractmethod
    def child(self, name: str, began_s: float | None = None, attributes: Attributes | None = None) -> "AbstractSpan":
        """Begin a part of it."""

    @abc.abstractmethod
    def note(self, attributes: Attributes) -> None:
        """Add facts."""

    @abc.abstractmethod
    def event(self, name: str, at_s: float | None = None, attributes: Attributes | None = None) -> None:
        """Note that something happened."""

    @abc.abstractmethod
    def end(self, at_s: float | None = None, *, error: str | None = None) -> None:
        """End it; `error` says what went wrong."""


class AbstractTracer(abc.ABC):
    """Begins traces."""

    active: bool  # whether anybody will see them

    @abc.abstractmethod
    def begin(self, name: str, traceparent: str | None, attributes: Attributes | None = None) -> AbstractSpan:
        """Begin the span of a request, as a part of the caller's trace where it named one."""

    def close(self) -> None:
        """Send what was not sent yet. Closing twice is fine; here there is nothing to send."""
        return


class NoSpan(AbstractSpan):
    """Forgets everything."""

    traceparent = ""

    def child(self, name: str, began_s: float | None = None, attributes: Attributes | None = None) -> AbstractSpan:
        del name, began_s, attributes
        return self

    def note(self, attributes: Attributes) -> None:
        del attributes

    def event(self, name: str, at_s: float | None = None, attributes: Attributes | None = None) -> None:
        del name, at_s, attributes

    def end(self, at_s: float | None = None, *, error: str | None = None) -> None:
        del at_s, error


NO_SPAN = NoSpan()


class NoTracer(AbstractTracer):
    """Traces nothing."""

    active = False

    def begin(self, name: str, traceparent: str | None, attributes: Attributes | None = None) -> AbstractSpan:
        del name, traceparent, attributes
        return NO_SPAN


class OtelSpan(AbstractSpan):
    """A span of OpenTelemetry."""

    def __init__(self, tracer: Any, span: Any):
        self._tracer, self._span = tracer, span
        context = span.get_span_context()
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def child(self, name: str, began_s: float | None = None, attributes: Attributes | None = None) -> AbstractSpan:
        from opentelemetry import trace

        inside = trace.set_span_in_context(self._span)
        span = self._tracer.start_span(name, inside, attributes=attributes, start_time=_ns(began_s))
        return OtelSpan(self._tracer, span)

    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def event(self, name: str, at_s: float | None = None, attributes: Attributes | None = None) -> None:
        self._span.add_event(name, attributes, _ns(at_s))

    def end(self, at_s: float | None = None, *, error: str | None = None) -> None:
        from opentelemetry.trace import Status, StatusCode

        if error is not None:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end(_ns(at_s))


class OtelTracer(AbstractTracer):
    """Hands spans to OpenTelemetry."""

    active = True

    def __init__(self, provider: Any):
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider, self._kind = provider, SpanKind.SERVER
        self._tracer = provider.get_tracer("edgegen")
        self._read = TraceContextTextMapPropagator().extract

    def begin(self, name: str, traceparent: str | None, attributes: Attributes | None = None) -> AbstractSpan:
        parent = self._read({"traceparent": traceparent}) if traceparent else None
        return OtelSpan(self._tracer, self._tracer.start_span(name, parent, kind=self._kind, attributes=attributes))

    def close(self) -> None:
        self._provider.shutdown()


def otel_tracer(endpoint: str, *, service: str = "edgegen", patience_s: float = 5.0) -> AbstractTracer:
    """Return a tracer that sends to a collector over OTLP/HTTP, such as `http://127.0.0.1:4318`.

    **Raises** `ConfigError` when OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigError("gateway.traces needs OpenTelemetry: pip install 'edgegen[tracing]'") from None
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=patience_s)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return OtelTracer(provider)


def _ns(at_s: float | None) -> int | None:
    return None if at_s is None else int(at_s * 1e9)
