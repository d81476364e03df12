"""Find the exporters that ``OTEL_TRACES_EXPORTER`` names, for `configure`.

A name that cannot be used is one warning, and the program goes on with the other names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.environment_variables import OTEL_TRACES_EXPORTER
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor, SpanExporter

from otel_agent_trace.backends import FileBackend
from otel_agent_trace.guard import Diagnostics, guarded, warn
from otel_agent_trace.tracing.provider_registry import SETTINGS, span_processors_of

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from opentelemetry.trace import TracerProvider

    from otel_agent_trace.tracing.endpoints import Protocol

_GROUP = "opentelemetry_traces_exporter"
_CONFIG_FILE = "OTEL_CONFIG_FILE"
_NONE = "none"
FILE_EXPORTER = "agent_trace_file"
_OWN: dict[str, type[SpanExporter]] = {"console": ConsoleSpanExporter, FILE_EXPORTER: FileBackend}
_OTLP: dict[str, Protocol | None] = {"otlp": None, "otlp_proto_http": "http/protobuf", "otlp_proto_grpc": "grpc"}
"""Protocol of each name of OTLP, None for that of the environment; our own backend sends all of them."""


def exporter_names(environ: Mapping[str, str], provider: TracerProvider | None) -> tuple[str, ...] | None:
    """Return the names of ``OTEL_TRACES_EXPORTER``; none for ``none``, None if it is not set.

    For a provider whose exporters were chosen before, there are none, as its spans would be exported twice.

    Args:
        environ: the variables.
        provider: the provider to extend, None for a new one.
    """
    names = _listed(environ)
    if provider is not None and (SETTINGS.get(provider) is not None or (names and _exports_already(provider))):
        return ()
    if _NONE in names and len(names) > 1:
        warn("%s=%s: with %r nothing is exported", OTEL_TRACES_EXPORTER, ",".join(names), _NONE)
    return () if _NONE in names else names or None


def is_chosen(environ: Mapping[str, str]) -> bool:
    """Return whether ``OTEL_TRACES_EXPORTER`` names anything, ``none`` included."""
    return bool(_listed(environ))


def _listed(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names in ``OTEL_TRACES_EXPORTER`` in lower case, each once.

    With ``OTEL_CONFIG_FILE`` there are none, as the specification of configuration files requires. Besides,
    `opentelemetry-instrument` sets the variable to ``otlp`` even then.
    """
    text = "" if environ.get(_CONFIG_FILE) else environ.get(OTEL_TRACES_EXPORTER, "")
    return tuple(dict.fromkeys(name for item in text.split(",") if (name := item.strip().lower())))


def _exports_already(provider: TracerProvider) -> bool:
    """Return whether a provider has exporters of the SDK, as one of `opentelemetry-instrument`, which read the variable."""
    return any(isinstance(one, BatchSpanProcessor | SimpleSpanProcessor) for one in span_processors_of(provider) or ())


def otlp_of(names: Iterable[str]) -> tuple[bool, Protocol | None]:
    """Return whether one of the names is OTLP, and the protocol that the first such name requires."""
    protocols = [_OTLP[name] for name in names if name in _OTLP]
    return bool(protocols), next(iter(protocols), None)


def named_backends(names: Iterable[str], given: Iterable[Any], of_store: Mapping[str, Any]) -> list[Any]:
    """Return the backends with these names, but for OTLP, and for console and file if the program gave such a backend.

    Args:
        names: the names.
        given: the backends that the program gave.
        of_store: the settings of a store.
    """
    given = list(given)
    others = [name for name in names if name not in _OTLP and name not in _OWN]
    own = [_OWN[name] for name in names if name in _OWN]
    backends = [
        kind(**of_store) if kind is FileBackend else kind()
        for kind in own
        if not any(isinstance(backend, kind) for backend in given)
    ]
    return backends + _installed(others) if others else backends


def _installed(names: list[str]) -> list[Any]:
    """Return exporters that other packages have registered under these names, each behind a queue."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - the usual names do not need it

    known = {entry.name.lower(): entry for entry in entry_points(group=_GROUP)}
    unknown = [name for name in names if name not in known]
    if unknown:
        choices = sorted({_NONE, *_OWN, *_OTLP, *known})
        what = ", ".join(map(repr, unknown))
        warn("%s: there is no exporter %s (ignored); known: %s", OTEL_TRACES_EXPORTER, what, ", ".join(choices))
    made = [
        guarded(Diagnostics(), f"{OTEL_TRACES_EXPORTER}: exporter {name!r}", _queued, known[name])
        for name in names
        if name in known
    ]
    return [backend for backend in made if backend is not None]


def _queued(entry: EntryPoint) -> Any:
    """Return a backend that exports from a queue, with an exporter of another package.

    Raises:
        TypeError: the registered object is not a `SpanExporter`.
    """
    from otel_agent_trace.tracing.endpoints import otlp_backend  # noqa: PLC0415 - not all programs send spans

    exporter = entry.load()()
    if not isinstance(exporter, SpanExporter):
        raise TypeError(f"{entry.value} is not a SpanExporter")
    return otlp_backend(exporter, None)
