"""Run a command in a session of its own, and leave nothing of it behind.

    python supervise.py COMMAND ARGUMENT...

Its process id is printed; its output goes to stderr. When the command ends, or stdin does because whoever started this
is gone, all that it started is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def _kill_all(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _kill_at_end_of_input(group: int) -> None:
    sys.stdin.buffer.read()
    _kill_all(group)


child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
print(child.pid, flush=True)
threading.Thread(target=_kill_at_end_of_input, args=(child.pid,), daemon=True).start()
# Killed before it is waited for: until then no other process has its number.
os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
_kill_all(child.pid)
sys.stdout.flush()
os._exit(child.wait() & 0xFF)  # the thread still reads
