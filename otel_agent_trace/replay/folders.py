"""Keep a replay in a folder, through which all of its processes answer from one recording, each call once."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from otel_agent_trace.guard import attempt
from otel_agent_trace.model import AgentRun
from otel_agent_trace.replay.divergences import Raises, ReplayDivergence, ReplayDivergenceError
from otel_agent_trace.replay.notes import Notes
from otel_agent_trace.replay.options import Options
from otel_agent_trace.replay.questions import Finder
from otel_agent_trace.replay.recordings import Recording
from otel_agent_trace.replay.shared_claims import SharedClaims
from otel_agent_trace.replay.unasked import unasked
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.tracing.memberships import REPLAY_VARIABLE
from otel_agent_trace.values import encode, restore

PREFIX = "otel_agent_trace-replay-"
_RECORDING, _CLAIMS, _NOTES, _SPANS = "recording", "claims", "notes.jsonl", "spans.jsonl"


class ReplayFolder:
    """Hold the folder of a replay. Only its owner can read it; it is removed at the end.

    It is written when the replay begins: the program may start a process at any time, and none of the ways to do so lets
    anybody know. The runs are pickled, which takes a third of the time of JSON, and a tenth of what recording them took.
    Objects of the program are encoded as in traces, so that nothing is imported when another program reads them.

    Attributes:
        path: the folder.
        id: a text that no other replay has.
        recording: the recorded runs.
        options: the options of the replay.
        claims: which calls were asked for, by all processes.
    """

    def __init__(self, path: str, recording: Recording, options: Options, *, is_new: bool = False) -> None:
        self._owner = os.getpid() if is_new else None
        self.path = path
        self.id = Path(path).name.removeprefix(PREFIX)
        self.recording = recording
        self.options = options
        self.claims = SharedClaims(self._file(_CLAIMS))
        self.notes = Notes(self._file(_NOTES))

    @classmethod
    def make(cls, runs: Sequence[AgentRun], options: Options) -> ReplayFolder:
        """Make a folder for a replay.

        Args:
            runs: the recorded runs.
            options: the options, checked with a `Recording` of these runs.

        Raises:
            OSError: there is no folder for temporary files that can be written to.
        """
        return cls.of(Recording(runs), options)

    @classmethod
    def of(cls, recording: Recording, options: Options) -> ReplayFolder:
        """Make a folder for a replay of indexed runs; see `make`."""
        path = tempfile.mkdtemp(prefix=PREFIX)  # mode 0700
        Path(path, _CLAIMS).write_bytes(bytes(max(len(recording.calls), 1)))
        Path(path, _RECORDING).write_bytes(_pickled((recording.runs, *_packed(options))))
        return cls(path, recording, options, is_new=True)

    @classmethod
    def opened(cls, path: str) -> ReplayFolder:
        """Return the folder of a replay that another process has made.

        Raises:
            OSError: it is not there any more.
        """
        runs, options, patches = pickle.loads(Path(path, _RECORDING).read_bytes())  # noqa: S301 - our own folder
        return cls(
            path, Recording(runs), options._replace(patches={key: _patch(data) for key, data in patches.items()})
        )

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name)

    @property
    def is_owner(self) -> bool:
        """Return whether this process has made the folder: it knows itself what happens here, and ends the replay."""
        return self._owner == os.getpid()

    @property
    def spans_file(self) -> str:
        """Return the path of the file with the spans of all processes but the one that has made the folder."""
        return self._file(_SPANS)

    def exists(self) -> bool:
        """Return whether the replay is in progress."""
        return os.access(self._file(_RECORDING), os.F_OK)

    def environment(self) -> dict[str, str]:
        """Return the variable by which a program takes part in the replay."""
        return {REPLAY_VARIABLE: self.path}

    # ── what came of it in other processes ───────────────────────────────────────────────────────────────────────────

    def divergences(self) -> list[ReplayDivergence]:
        """Return where other processes differ from the recording, in order."""
        return [ReplayDivergence(**facts) for facts in self.notes.all("divergence")]

    def answered(self) -> list[str]:
        """Return the names of the tools and models whose calls were answered in other processes, in order."""
        return self.notes.all("answered")

    def live(self) -> list[str]:
        """Return the names of the tools and models whose calls were made in other processes, in order."""
        return self.notes.all("live")

    def missing(self) -> list[ReplayDivergence]:
        """Return the recorded calls that no process has asked for, although the code around them ran."""
        return list(unasked(Finder(self.recording, self.claims, self.options.ignored), self.options))

    def spans(self) -> list[SpanRecord]:
        """Return the spans of other processes, in the order of their ends."""
        if not os.access(self.spans_file, os.F_OK):
            return []
        from otel_agent_trace.sources import open_source  # noqa: PLC0415 - few replays have other processes

        traces = open_source(self.spans_file).traces(lambda problem: None)
        return [span for spans in traces for span in spans]

    def close(self) -> None:
        """Remove the folder: processes that outlive the replay refuse what belongs to it."""
        self.claims.close()
        shutil.rmtree(self.path, ignore_errors=True)


# ── pickles ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Pickler(pickle.Pickler):
    """Pickle runs; of what they hold, objects that are not Python's own or ours are encoded as in traces."""

    def reducer_override(self, obj: Any) -> Any:
        """Return how an object is pickled that is not of a simple built-in type."""
        if (
            isinstance(obj, type)
            or callable(obj)
            or type(obj).__module__.partition(".")[0] == __package__.partition(".")[0]
        ):
            return NotImplemented
        encoded = encode(obj)
        return restore, (encoded.data, encoded.tag)


def _pickled(thing: Any) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(thing)
    return buffer.getvalue()


def _packed(options: Options) -> tuple[Options, dict[int, bytes | None]]:
    """Return options without patches, and the patches as bytes; None for one that cannot be pickled."""
    return options._replace(patches={}), {key: attempt(pickle.dumps, patch) for key, patch in options.patches.items()}


def _patch(data: bytes | None) -> Any:
    """Return a patch of another process; one that this process cannot have raises a divergence where it is asked for."""
    patch = None if data is None else attempt(lambda: (pickle.loads(data),))  # noqa: S301 - our own folder
    missing = ReplayDivergenceError("its patch cannot be pickled for another process, so that it cannot be answered")
    return Raises(missing) if patch is None else patch[0]
