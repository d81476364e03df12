"""Carriers of spans: codecs between bytes and `SpanRecord`, without any I/O."""
