"""Make and configure `TracerProvider`s; no other module does."""

from __future__ import annotations

import logging
import os
import random
import weakref
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ReadableSpan,
    SpanLimits,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator

from otel_agent_trace.backends import FileBackend
from otel_agent_trace.endings import remove, shut_down_at_exit
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.forks import renewed_in_children
from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.keywords import fields_among, takes_fields
from otel_agent_trace.pipeline import (
    DataOptions,
    DataPolicies,
    Gate,
    PipelineSpan,
    Policies,
    Policy,
    checked_policies,
    data_policies,
)
from otel_agent_trace.pipeline.sampling import Sampling, with_sampling
from otel_agent_trace.store.settings import StoreOptions
from otel_agent_trace.tracing import sigterm
from otel_agent_trace.tracing.exporters import FILE_EXPORTER, exporter_names, named_backends, otlp_of
from otel_agent_trace.tracing.log_intake import LogIntake
from otel_agent_trace.tracing.processor import AgentSpanProcessor, as_backends
from otel_agent_trace.tracing.provider_registry import (
    SETTINGS,
    HistoryMode,
    ProviderSettings,
    check_history,
    settings_of,
    span_processors_of,
)
from otel_agent_trace.tracing.record_all import RECORD_ALL
from otel_agent_trace.tracing.threads import carry_context_into_threads

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from otel_agent_trace.backends.otlp import OtlpBackend
    from otel_agent_trace.tracing.endpoints import Protocol

_SAMPLER_VARIABLE = "OTEL_TRACES_SAMPLER"
_ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_ATTRIBUTES = 4096
_EVENTS = 1024


class ConfigureOptions(DataOptions, StoreOptions, total=False):
    """Define the arguments of `configure` about data and about the store."""


@takes_fields(ConfigureOptions)
def configure(
    *,
    provider: TracerProvider | None = None,
    backends: Any = (),
    file: str | PathLike[str] | None = None,
    otlp: str | bool | SpanExporter | None = None,
    protocol: Protocol | None = None,
    policies: Iterable[Policy | Gate] = (),
    sampling: Sampling = None,
    history: HistoryMode | None = None,
    logs: str | int | None = None,
    logger_provider: Any = None,
    meter_provider: MeterProvider | None = None,
    resource: Resource | Mapping[str, Any] | None = None,
    threads: bool = False,
    set_global: bool = False,
    flush_on_sigterm: bool = False,
    **options: Unpack[ConfigureOptions],
) -> TracerProvider:
    """Configure where spans go and which policies they pass, and return the provider.

    ``OTEL_TRACES_EXPORTER`` adds what the arguments leave open: ``otlp`` if `otlp` is None, ``agent_trace_file`` if there
    is no `FileBackend`, and other exporters. It adds nothing to a provider that has exporters of the SDK, and nothing
    again to one that was configured before.

    Args:
        provider: the provider to extend; by default a new one, which records every run, even if its parent is not
            sampled, unless ``OTEL_TRACES_SAMPLER`` is set.
        backends: an `InMemoryBackend`, a `FileBackend`, any `SpanExporter`, a `SpanSink` or `TracerBackend` of your own,
            or a list of them.
        file: a file for a `FileBackend`.
        otlp: an endpoint such as ``http://localhost:4318``; True for the endpoint in ``OTEL_EXPORTER_OTLP_*``, or the
            default one; None for no OTLP unless ``OTEL_TRACES_EXPORTER`` names it, or if that is not set, unless an
            endpoint is; False for no OTLP; or an exporter, for example the official ``OTLPSpanExporter`` over HTTP or
            gRPC. Spans are sent in batches, in the background.
        protocol: ``"http/protobuf"`` (the default, unless ``OTEL_EXPORTER_OTLP_PROTOCOL`` is set) or ``"grpc"``.
        policies: further policies for spans and logs: functions of a `SpanRecord` or a `LogRecord` that return one, or
            None to drop it; the last may be a `Gate`. Policies of earlier calls apply too, but for their gate. If the
            provider was not made here, tracers apply the policies to what they write, before the span has it; spans of
            other instrumentations pass them on the way to these backends only.
        sampling: a `TailSampling`, which decides about whole traces on their way to the backends of this call; by default
            that of ``OTEL_AGENT_TRACE_SAMPLING``, if it is set; False for none.
        history: which messages the span of a model call holds: ``"full"`` for all of them (the default, as in the
            conventions), or ``"new"`` for those added since an earlier call of the same run, to which the span refers.
            Reading restores all messages; other tools show those that the span holds.
        logs: a level such as ``"WARNING"`` or ``logging.INFO``: what the program logs with `logging` inside runs, at this
            level or above, is recorded below the step in which it was logged, and sent to the ``/v1/logs`` of an
            endpoint in `otlp`. The program's loggers, handlers and levels stay as they are, and what these levels do not
            let through is not recorded. None for no logs, or for those of an earlier call.
        logger_provider: a logger provider of the SDK. Its log records pass the policies before its own processors get
            them; nothing else happens to them, `logs` alone decides what is recorded here.
        meter_provider: the meter provider for the metrics of the GenAI conventions, and of what is lost; without one,
            nothing is measured.
            Tracers use it from the first run that they record after this call.
        resource: attributes of the program, in addition to ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME``.
        threads: whether `threading.Thread`, `threading.Timer` and `ThreadPoolExecutor` carry the current context, in the
            whole program, by the package ``opentelemetry-instrumentation-threading``.
        set_global: whether to make it OpenTelemetry's global provider.
        flush_on_sigterm: whether to send what waits, for at most five seconds, when SIGTERM ends the program, which then
            ends by the signal as before. It needs the main thread, and a program that does not handle SIGTERM itself;
            otherwise one warning is logged.
        options: the settings of the store, for `file`: `rotate_bytes`, `rotate_every`, `compress`, `keep_days`,
            `keep_bytes` and `durability` (see `StoreOptions`). And what is done to the data of spans and logs, of any instrumentation; what is not given stays as an earlier
            call has set it. `user_ids`: how user ids are recorded: ``"pseudonym"`` (keyed HMAC, the default), ``"plain"``,
            or ``"none"`` (not at all). `content`: which content is recorded: ``"all"``, ``"no_inputs"``, ``"no_outputs"``,
            or ``"none"``; by default that of ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT``, else all. `mask`: a
            function ``(value, where) -> value`` that is called with each text or container. `redact`: a `Redactor`, which
            masks secrets; False for none.

    Raises:
        ConfigurationError: an argument is not valid, or the package for `threads` is not installed.
        TypeError: one of the backends is not a backend.
    """
    about_data, given = data_policies(**fields_among(options, DataOptions)), with_sampling(policies, sampling)
    of_store = {name: value for name, value in fields_among(options, StoreOptions).items() if value is not None}
    checked_history = None if history is None else check_history(history)
    log_level = None if logs is None else _log_level(logs)
    keepers = [*as_backends(backends), *([FileBackend(file, **of_store)] if file is not None else [])]
    is_ours, names = provider is None, exporter_names(os.environ, provider)
    if of_store and file is None and FILE_EXPORTER not in (names or ()):
        msg = f"{', '.join(of_store)}: there is no file to which this applies; give file="
        raise ConfigurationError(msg)
    if provider is None:
        provider = make_provider(resource)
    elif resource is not None:
        msg = "resource= needs a new provider; the one passed as provider= has a resource already"
        raise ConfigurationError(msg)
    if threads:
        carry_context_into_threads()
    if otlp is None and names is not None:
        otlp, required = otlp_of(names)
        protocol = protocol or required
    sending = _otlp_backend(otlp, protocol)
    keepers += [] if sending is None else [sending]
    if names:
        keepers += named_backends(names, keepers, of_store)
    before = settings_of(provider)
    about_data = about_data.over(before.data)
    # Processors that were added before do not apply the new policies, so that tracers have to.
    reaches_all = is_ours or (before.is_ours and not (given and processors_of(provider)))
    given = (*(policy for policy in before.policies if not isinstance(policy, Gate)), *given)
    if keepers:
        provider.add_span_processor(AgentSpanProcessor(keepers, policies=given, sampling=False, **about_data.options()))
    settings = ProviderSettings(
        about_data,
        given,
        meter_provider if meter_provider is not None else before.meter_provider,
        checked_history or before.history,
        reaches_all,
        before.log_level if log_level is None else log_level,
    )
    if settings.log_level is not None:
        _record_logs(provider, settings.log_level)
    SETTINGS.put(provider, settings)
    if logger_provider is not None:
        from otel_agent_trace.tracing.log_policies import apply_policies  # noqa: PLC0415 - most programs have none

        apply_policies(logger_provider, about_data.in_order(given))
    if set_global:
        trace.set_tracer_provider(provider)
    if flush_on_sigterm:
        sigterm.flush_on_sigterm()
    return provider


def _log_level(logs: str | int) -> int:
    from otel_agent_trace.tracing.logs import level_of  # noqa: PLC0415 - not all programs record logs

    return level_of(logs)


def _record_logs(provider: TracerProvider, level: int) -> None:
    from otel_agent_trace.tracing.logs import record_logs  # noqa: PLC0415 - likewise

    record_logs(processors_of(provider), level)


def _otlp_backend(otlp: str | bool | SpanExporter | None, protocol: Protocol | None) -> OtlpBackend | None:
    """Return the backend of `otlp`, None if there is none; its modules are imported only if they are needed."""
    if protocol is None and (otlp is False or (otlp is None and not any(map(os.environ.get, _ENDPOINT_VARIABLES)))):
        return None
    from otel_agent_trace.tracing.endpoints import otlp_backend  # noqa: PLC0415 - not all programs send spans

    return otlp_backend(otlp, protocol)


def make_provider(
    resource: Resource | Mapping[str, Any] | None = None, *, is_temporary: bool = False
) -> TracerProvider:
    """Return a new provider that records every run; a temporary one ignores ``OTEL_TRACES_SAMPLER`` and process exit."""
    if resource is not None and not isinstance(resource, Resource):
        resource = Resource.create(dict(resource))
    provider = _OwnProvider(
        sampler=None if os.environ.get(_SAMPLER_VARIABLE) and not is_temporary else RECORD_ALL,
        shutdown_on_exit=False,  # the SDK's `atexit` function would keep a provider that the program drops
        resource=resource,
        id_generator=PrivateIdGenerator(),
        span_limits=SpanLimits(
            max_attributes=_ATTRIBUTES,
            max_span_attributes=_ATTRIBUTES,
            max_event_attributes=_ATTRIBUTES,
            max_link_attributes=_ATTRIBUTES,
            max_events=_EVENTS,
            max_links=_EVENTS,
            max_attribute_length=SpanLimits.UNSET,
            max_span_attribute_length=SpanLimits.UNSET,
        ),
    )
    if not is_temporary:
        shut_down_at_exit(provider)
    return provider


class _OwnProvider(TracerProvider):
    """Provide a provider that is shut down when the program exits, unless the program has shut it down or dropped it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(active_span_processor=_Processors(weakref.ref(self)), **settings)

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Add a processor; from one that is not ours on, tracers apply the policies to what they write themselves.

        Such a processor receives ended spans of any instrumentation after the policies.
        """
        super().add_span_processor(span_processor)
        if not isinstance(span_processor, AgentSpanProcessor):
            SETTINGS.put(self, settings_of(self)._replace(is_ours=False))

    def shutdown(self) -> None:
        """Shut down the processors."""
        remove(self)
        super().shutdown()


class _Processors(SynchronousMultiSpanProcessor):
    """Pass the spans of a provider of ours to its processors; those that are not ours get ended ones after the policies."""

    def __init__(self, provider: weakref.ref[_OwnProvider]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._provider = provider
        self._has_others = False
        self._policies: tuple[int, Policies] | None = None
        self._diagnostics = Diagnostics()

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Add a processor."""
        super().add_span_processor(span_processor)
        self._has_others = self._has_others or not isinstance(span_processor, AgentSpanProcessor)

    def on_end(self, span: ReadableSpan) -> None:
        """Pass on an ended span; one that a policy drops, or that has no ids, reaches processors of ours only."""
        if not self._has_others:
            for processor in self._span_processors:  # as in the SDK, without the call of its method
                processor.on_end(span)
            return
        admitted = None if span.context is None else self._current_policies().admit(span, PipelineSpan)
        for processor in self._span_processors:
            if isinstance(processor, AgentSpanProcessor):
                processor.on_end(span)
            elif admitted is not None:
                processor.on_end(admitted.readable)

    def _current_policies(self) -> Policies:
        known, changes = self._policies, SETTINGS.changes
        if known is not None and known[0] == changes:
            return known[1]
        provider = self._provider()
        settings = ProviderSettings() if provider is None else settings_of(provider)
        steps = settings.data.in_order(settings.policies)
        policies = Policies((step for step in steps if not isinstance(step, Gate)), self._diagnostics)
        self._policies = changes, policies
        return policies


def private_provider(
    backends: Any, data: DataPolicies, policies: Iterable[Policy | Gate] = (), *, is_temporary: bool = False
) -> TracerProvider:
    """Return a new provider with backends of its own, for one tracer; a temporary one may be garbage-collected."""
    provider = make_provider(is_temporary=is_temporary)
    given = checked_policies(policies)
    processor = AgentSpanProcessor(backends, policies=given, sampling=False, **data.options())
    if is_temporary:
        processor.logs = LogIntake(logging.NOTSET)  # of whatever level `configure` has set
    provider.add_span_processor(processor)
    SETTINGS.put(provider, ProviderSettings(data, given, is_ours=True))
    return provider


class PrivateIdGenerator(IdGenerator):
    """Generate ids from a random generator of its own, which does not change the sequence that a program has seeded.

    The operating system seeds it, again in a forked child.
    """

    def __init__(self) -> None:
        self._random = random.Random(os.urandom(32))  # noqa: S311 - ids are no secrets
        renewed_in_children(self)

    def renew(self) -> None:
        """Seed the generator again, in a forked child."""
        self._random.seed(os.urandom(32))

    def generate_span_id(self) -> int:
        """Return 64 random bits, not all zero."""
        return self._random.getrandbits(64) or self.generate_span_id()

    def generate_trace_id(self) -> int:
        """Return 128 random bits, not all zero."""
        return self._random.getrandbits(128) or self.generate_trace_id()


def processors_of(provider: trace.TracerProvider) -> list[AgentSpanProcessor]:
    """Return our processors of a provider."""
    return [one for one in span_processors_of(provider) or () if isinstance(one, AgentSpanProcessor)]
