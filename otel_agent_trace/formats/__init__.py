"""Encode and decode spans: codecs between `SpanRecord` and the formats of OTLP, Jaeger and the SDK, without any I/O."""
