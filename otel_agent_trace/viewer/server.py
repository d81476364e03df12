"""Run the server of the page: bind its port, print its address, open a browser where there is one, and end cleanly."""

from __future__ import annotations

import asyncio
import getpass
import ipaddress
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, closing, contextmanager, nullcontext
from types import FrameType
from typing import Any
from urllib.parse import quote

import msgspec
import uvicorn

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.viewer.app import Viewer
from otel_agent_trace.viewer.guard import Access
from otel_agent_trace.viewer.library import Library

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_MOST_CONNECTIONS = 256
_ENDING_S = 2
_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how the page is served.

    `host` is what the socket is bound to, `port` its port (0: any that is free), `trusted_hosts` further names by which
    browsers call it, `opens_browser` whether to open one where there is a desktop.
    """

    host: str = "127.0.0.1"
    port: int = 0
    trusted_hosts: tuple[str, ...] = ()
    opens_browser: bool = True


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a socket that listens, and where it does."""

    socket: socket.socket
    address: str
    port: int

    @property
    def is_open(self) -> bool:
        """Return whether other machines may reach it."""
        return not ipaddress.ip_address(self.address.partition("%")[0]).is_loopback

    @property
    def is_everywhere(self) -> bool:
        """Return whether it listens at all addresses of this machine."""
        return ipaddress.ip_address(self.address.partition("%")[0]).is_unspecified

    def url(self, token: str | None) -> str:
        """Return the address of the page for people of this machine, with the token if there is one."""
        host = "127.0.0.1" if self.is_everywhere else self.address
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/" + ("" if token is None else f"#token={quote(token)}")


def bind(host: str, port: int, option: str = "--port") -> Bound:
    """Return a socket that listens.

    Args:
        host: a name or an address of this machine.
        port: the port; 0 takes one that is free.
        option: the option that another port is given with, for the error.

    Raises:
        ConfigurationError: there is no such address, or the port is taken or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        with ExitStack() as undo:
            undo.callback(bound.close)
            if sys.platform != "win32":  # where it would share the port
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen()
            undo.pop_all()
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"cannot listen on {host} port {port}: {reason}; {option} N takes another") from error
    name = bound.getsockname()
    return Bound(socket=bound, address=str(name[0]), port=int(name[1]))


Beside = Callable[[], AbstractAsyncContextManager[Sequence[str]]]
"""Function that returns what goes on while the page is served; its block yields lines about it for people."""


def serve(
    library: Library,
    options: Options,
    write: Callable[[str], None],
    note: Callable[[str], None],
    beside: Beside | None = None,
) -> None:
    """Serve the page of a source until SIGTERM or Ctrl-C; called in the main thread.

    Args:
        library: what the source has.
        options: where and how.
        write: called with the address of the page, once it can be opened.
        note: called with further lines for people.
        beside: what goes on meanwhile.

    Raises:
        ConfigurationError: the port cannot be listened on.
    """
    bound, access, server = _prepared(library, options)

    def announce(lines: Sequence[str]) -> None:
        url = bound.url(access.token)
        write(url)
        for line in (*lines, *_advice(bound)):
            note(line)
        if options.opens_browser and _has_browser():
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    with closing(library), _ending_on_signals(server):
        asyncio.run(server.run_on(bound.socket, announce, beside or _nothing))


@contextmanager
def serving(library: Library, options: Options) -> Iterator[str]:
    """Serve the page of a source in a thread for the time of a block, and yield its address; opens no browser.

    Raises:
        ConfigurationError: the port cannot be listened on.
    """
    bound, access, server = _prepared(library, options)
    running = server.run_on(bound.socket, lambda _: None, _nothing)
    thread = threading.Thread(target=asyncio.run, args=(running,), name="otel-agent-trace-view", daemon=True)
    thread.start()
    try:
        yield bound.url(access.token)
    finally:
        server.stop()
        thread.join()
        library.close()


@contextmanager
def _ending_on_signals(server: _Server) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end a server, also before it runs and while it ends."""
    before = {number: signal.signal(number, server.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing() -> AbstractAsyncContextManager[Sequence[str]]:
    return nullcontext(())


def _prepared(library: Library, options: Options) -> tuple[Bound, Access, _Server]:
    bound = bind(options.host, options.port)
    names = (*_LOOPBACK_NAMES, *(() if bound.is_everywhere else (bound.address, options.host)))
    access = Access.of(names, bound.port, trusted=options.trusted_hosts, is_open=bound.is_open)
    return bound, access, _Server(Viewer(library, access))


class _Server(uvicorn.Server):
    """Run an application, and end its streams and its work when a signal arrives."""

    def __init__(self, viewer: Viewer) -> None:
        settings: dict[str, Any] = {
            "http": "h11",
            "loop": "asyncio",
            "lifespan": "off",
            "log_config": None,
            "access_log": False,
            "server_header": False,
            "proxy_headers": False,
            "ws": "none",
            "limit_concurrency": _MOST_CONNECTIONS,
            "timeout_graceful_shutdown": _ENDING_S,
        }
        super().__init__(uvicorn.Config(viewer.app, **settings))
        self._viewer = viewer
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run_on(self, listening: socket.socket, announce: Callable[[Sequence[str]], None], beside: Beside) -> None:
        """Serve on a socket until a signal arrives; `announce` is called with the lines of what goes on beside."""
        self._loop = asyncio.get_running_loop()
        with closing(listening):
            async with beside() as lines:
                self._viewer.follow()
                announce(lines)
                await self.serve(sockets=[listening])

    def stop(self) -> None:
        """Begin to end."""
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._viewer.close)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; what a second Ctrl-C interrupts is not waited for."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.stop()


def _advice(bound: Bound) -> list[str]:
    """Return what people need to know where their browser is on another machine, or in another network."""
    lines = []
    connection = os.environ.get("SSH_CONNECTION", "").split()
    if connection:
        target = f"{_user()}@{connection[2] if len(connection) > 3 else socket.gethostname()}"
        address = "127.0.0.1" if bound.is_everywhere else bound.address
        lines.append(f"over SSH, run this on your machine first: ssh -L {bound.port}:{address}:{bound.port} {target}")
    if not bound.is_open and any(map(os.path.exists, _CONTAINER_MARKS)):
        lines.append("in a container, --host 0.0.0.0 lets a published port reach the page")
    return lines


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such account
        return "USER"


def _has_browser() -> bool:
    """Return whether a browser can be opened beside this terminal, and not in its place or on another machine."""
    if any(os.environ.get(name) for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")):
        return False
    if os.environ.get("BROWSER"):
        return True
    if any(map(os.path.exists, _CONTAINER_MARKS)):
        return False
    return sys.platform in ("win32", "darwin") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
