"""Find out whether the process that writes a journal is alive: it holds the lock (``flock``) of its journal.

The lock is gone when the process is, however it ends. It is right also for a stopped process, for one in another
container, and for one whose number was given to another. Where locks do not work, the first line of the journal names the
process: this machine's since its start (``boot_id``), its numbers of processes (``pid_ns``), its number, and when it began.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.formats import otlp_json_encoding
from otel_agent_trace.span import Resource, Scope, SpanRecord
from otel_agent_trace.store.sharing import is_lock_free, open_regular, take

JOURNAL_SCOPE = "otel_agent_trace.journal"
JOURNAL_FORMAT = 1
_HOST, _PID = "host.name", "process.pid"
_BOOT_ID, _PID_NS = "agent_trace.boot_id", "agent_trace.pid_ns"
_PROCESS_START = "agent_trace.process_start"
_HAS_LOCKS = "agent_trace.has_locks"
_POSITION = "agent_trace.store_position"
SAMPLING, SAMPLED_ELSEWHERE = "agent_trace.sampling", "agent_trace.sampled_elsewhere"
"""Attributes of the first line: the text of a policy, and the traces that are decided in the process that forked this one."""
RECEIVED = "agent_trace.received"
"""Attribute of the first line: the spans in the journal are of other processes, and were received when they had ended."""
_HEAD_BYTES = 16 << 10
_ZOMBIE = "Z"
_NETWORK = frozenset(
    ("9p", "afs", "ceph", "cifs", "fuse", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs", "virtiofs")
)
"""File systems that other machines may have mounted, and whose locks these may not see."""


class _Value(msgspec.Struct):
    stringValue: str = ""  # noqa: N815 - the names are OTLP's


class _KeyValue(msgspec.Struct):
    key: str
    value: _Value


class _Resource(msgspec.Struct):
    attributes: list[_KeyValue] = []


class _ResourceSpans(msgspec.Struct):
    resource: _Resource


class _Header(msgspec.Struct):
    resourceSpans: list[_ResourceSpans]  # noqa: N815


_header_decoder = msgspec.json.Decoder(_Header)


def header(
    position: str, *, has_locks: bool, sampling: str = "", sampled_elsewhere: str = "", is_received: bool = False
) -> bytes:
    """Return the first line of a journal of this process, an OTLP/JSON object without spans.

    Args:
        position: identifies the end of the live file (see `LineFile.position`): what the journal holds ends after it.
        has_locks: whether a lock was found to keep another one out.
        sampling: the text of the policy that decides about the traces in it; empty if they are not sampled.
        sampled_elsewhere: the ids of traces, with commas between, whose root span is in the process that forked this one.
        is_received: whether the spans in it are of other processes.
    """
    attributes = {
        _HOST: platform.node(),
        _PID: str(os.getpid()),
        _BOOT_ID: _boot_id(),
        _PID_NS: _pid_namespace(),
        _PROCESS_START: _start_of(os.getpid()),
        _HAS_LOCKS: "true" if has_locks else "false",
        _POSITION: position,
        **({SAMPLING: sampling} if sampling else {}),
        **({SAMPLED_ELSEWHERE: sampled_elsewhere} if sampled_elsewhere else {}),
        **({RECEIVED: "true"} if is_received else {}),
    }
    head, tail = otlp_json_encoding.frame(
        Resource(attributes), Scope(JOURNAL_SCOPE, attributes={semconv.FORMAT: JOURNAL_FORMAT})
    )
    return head + tail + b"\n"


def owner_of(head: bytes) -> Mapping[str, str]:
    """Return what the first line of a journal has about its process; nothing if that is damaged."""
    try:
        found = _header_decoder.decode(head.partition(b"\n")[0])
        return {pair.key: pair.value.stringValue for pair in found.resourceSpans[0].resource.attributes}
    except (msgspec.MsgspecError, UnicodeDecodeError, IndexError, RecursionError):
        return {}


def position_in(head: bytes) -> tuple[int, int, int] | None:
    """Return device, inode and size of the live file when the journal was begun, from its first line."""
    try:
        device, inode, size = map(int, owner_of(head).get(_POSITION, "").split(":"))
    except ValueError:
        return None
    return device, inode, size


def is_alive(path: str) -> bool | None:
    """Return whether the process that writes a journal is alive; None where that cannot be known.

    Raises:
        OSError: the journal cannot be read, or is no regular file.
    """
    descriptor = open_regular(path)
    try:
        return is_owner_alive(descriptor, lock_is_free=is_lock_free(descriptor))
    finally:
        os.close(descriptor)


def with_liveness(record: SpanRecord, *, is_alive: bool | None) -> SpanRecord:
    """Return a span of a journal with whether its process is gone, unless that is not known; one that has ended as it is."""
    if record.end_ns is not None or is_alive is None:
        return record
    return msgspec.structs.replace(record, attributes={**record.attributes, semconv.INTERRUPTED: not is_alive})


def is_owner_alive(descriptor: int, *, lock_is_free: bool | None) -> bool | None:
    """Return whether the process that writes a journal is alive.

    Args:
        descriptor: the open journal.
        lock_is_free: whether its lock could be had; None where files cannot be locked.
    """
    if lock_is_free is False:
        return True
    owner = owner_of(os.pread(descriptor, _HEAD_BYTES, 0))
    if lock_is_free and owner.get(_HAS_LOCKS) == "true":
        is_here = owner.get(_BOOT_ID) == _boot_id() or not _is_on_network(os.fstat(descriptor).st_dev)
        return False if is_here else None
    if not owner.get(_BOOT_ID) or owner.get(_BOOT_ID) != _boot_id() or owner.get(_PID_NS) != _pid_namespace():
        return None
    return _start_of(owner.get(_PID, "")) == owner.get(_PROCESS_START)


def keeps_others_out(path: str) -> bool:
    """Return whether a lock on a file, which this process holds, keeps out whoever opens the file again."""
    descriptor = open_regular(path)
    try:
        return take(descriptor) is False
    finally:
        os.close(descriptor)


def _boot_id() -> str:
    return _text_of("/proc/sys/kernel/random/boot_id")


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _start_of(pid: Any) -> str:
    """Return when a process began, in ticks since the start of the machine; an empty text if there is none, or a zombie."""
    fields = _text_of(f"/proc/{int(pid)}/stat").rpartition(")")[2].split() if str(pid).isdecimal() else []
    return fields[19] if len(fields) > 19 and fields[0] != _ZOMBIE else ""


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_HEAD_BYTES).strip()
    except OSError:
        return ""


def _is_on_network(device: int) -> bool:
    """Return whether a file system may be mounted by other machines as well."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in _text_lines("/proc/self/mountinfo"):
        fields, _, rest = line.partition(" - ")
        if fields.split()[2:3] == [wanted]:
            return rest.split(" ", 1)[0].partition(".")[0] in _NETWORK
    return False


def _text_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readlines()
    except OSError:
        return []
