"""Receive spans and logs by OTLP, over HTTP and gRPC, and write them into a local store; needs the extra `view`."""

from __future__ import annotations

from otel_agent_trace.receiver.app import app
from otel_agent_trace.receiver.grpc_server import GrpcServer, serve_grpc
from otel_agent_trace.receiver.serving import GRPC_PORT, HTTP_PORT, Addresses, running
from otel_agent_trace.receiver.sink import Receipt, Sink, StoreSink
from otel_agent_trace.receiver.unpacking import Limits

__all__ = [
    "GRPC_PORT",
    "HTTP_PORT",
    "Addresses",
    "GrpcServer",
    "Limits",
    "Receipt",
    "Sink",
    "StoreSink",
    "app",
    "running",
    "serve_grpc",
]
