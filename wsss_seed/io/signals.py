"""Handling of Ctrl-C, of a scheduler's SIGTERM, and of the SIGHUP of a closed terminal.

Signals that were ignored when the process started stay ignored: ``nohup`` ignores SIGHUP, and a shell ignores SIGINT
for background jobs. Only the first signal counts, because closing a terminal sends several; the exception is a second
Ctrl-C, which ends the process at once.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
TERMINAL_SIGNALS = tuple(kind for kind in SIGNALS if kind != signal.SIGTERM)
"""The signals that a terminal sends to all of its processes, not only to the one the user started."""

_asked = False  # a signal came, and on_signal is handling it
_watched = False  # a thread waits for the second Ctrl-C
_leaves = False  # exit_on_signal was called
_stop = threading.Event()  # request_stop was called
_ending = threading.Lock()  # so that only one thread ends the process


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Signals raise KeyboardInterrupt.

    Yields a function that returns whether a signal has come, because some libraries swallow the exception.
    """
    heard = False

    def interrupt() -> None:
        nonlocal heard
        heard = True
        raise KeyboardInterrupt

    with on_signal(interrupt):
        yield lambda: heard or _stop.is_set()


def request_stop() -> None:
    """Interrupt what is ``interruptible`` in this process, also outside its main thread, at its next safe point."""
    _stop.set()


@contextmanager
def deferred_stop() -> Iterator[Callable[[], bool]]:
    """Signals only set a flag, for work that must reach a safe point before it stops.

    Yields a function that returns whether to stop. A second Ctrl-C raises KeyboardInterrupt at once.
    """
    asked = False

    def ask() -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    with on_signal(ask):
        yield lambda: asked


@contextmanager
def on_signal(handler: Callable[[], None]) -> Iterator[None]:
    """The first signal and every further Ctrl-C call ``handler`` instead of raising KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = False

    def handle(kind: int, _: object) -> None:
        global _asked
        nonlocal heard
        if heard and (kind != signal.SIGINT or _watched or _launched()):
            return
        heard = _asked = True
        handler()

    former = {kind: signal.getsignal(kind) for kind in SIGNALS}
    former = {kind: before for kind, before in former.items() if before not in (signal.SIG_IGN, None)}
    try:
        for kind in former:
            signal.signal(kind, handle)
        yield
    finally:
        for kind, before in former.items():
            signal.signal(kind, before)


@contextmanager
def ignore_terminal_signals() -> Iterator[None]:
    """Processes started in this context ignore the terminal's signals; their parent ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {kind: signal.signal(kind, signal.SIG_IGN) for kind in TERMINAL_SIGNALS}
    try:
        yield
    finally:
        for kind, before in former.items():
            signal.signal(kind, before)


def leave_signals_to_parent() -> None:
    """In a worker process: ignore the terminal's signals and the first SIGTERM, which the parent handles.

    A scheduler sends SIGTERM to all processes, and the parent may still need what the worker is computing. A second
    SIGTERM, such as the parent's own, ends the worker.
    """

    def heed_the_next(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    for kind in TERMINAL_SIGNALS:
        signal.signal(kind, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, heed_the_next)


def _launched() -> bool:
    """Whether a launcher started several such processes. It forwards a Ctrl-C that they have already received."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def exit_on_signal() -> None:
    """From now on signals end this process with status 130 and a one-line message. For command lines.

    Code that must finish something first handles signals itself (``interruptible`` and the others). Anywhere else it is
    safe to exit at once, because files are written atomically, and it keeps libraries from swallowing the exception,
    printing a traceback or waiting for their threads. A second Ctrl-C always ends the process.
    """
    global _asked, _leaves, _watched
    if threading.current_thread() is not threading.main_thread():
        return
    _asked, _leaves = False, True

    def handle(*_: object) -> None:
        if not _asked:
            _end()

    for kind in SIGNALS:
        if signal.getsignal(kind) not in (signal.SIG_IGN, None):
            signal.signal(kind, handle)
    if _launched():
        return
    # Python runs handlers between bytecodes, and a library call may take minutes; this thread does not have to wait.
    listening, signalled = socket.socketpair()
    signalled.setblocking(False)
    former = signal.set_wakeup_fd(signalled.fileno(), warn_on_full_buffer=False)
    if former != -1:  # already in use
        signal.set_wakeup_fd(former)
        return
    # A forked child shares the socket; its signals must not end this process.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    _watched = True
    # The arguments keep both ends of the socket alive.
    threading.Thread(target=_exit_at_second_interrupt, args=(listening, signalled), daemon=True).start()


def _exit_at_second_interrupt(listening: socket.socket, _: socket.socket) -> None:
    came = False
    while kinds := listening.recv(64):
        for kind in kinds:
            if came and kind == signal.SIGINT:
                _end()
            came |= kind in SIGNALS


def leave(status: int) -> NoReturn:
    """End this process and its children at once; files and standard streams must be complete.

    Python would first tear down its objects and those of torch, which takes seconds. Exit handlers do not run.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    _kill_children()
    os._exit(status)


def leaves_at_once() -> bool:
    """Whether ``exit_on_signal`` was called: the process belongs to a command line."""
    return _leaves


def _kill_children() -> None:
    workers = sys.modules.get("multiprocessing.process")
    with suppress(Exception):
        for worker in workers.active_children() if workers else ():
            worker.kill()


def _end() -> None:
    """End this process and its children. Only the first call acts. Takes no lock that the main thread may hold."""
    if not _ending.acquire(blocking=False):
        return
    _kill_children()
    with suppress(OSError):
        # Restores the cursor that a progress bar hides, and leaves the line to which ^C was echoed.
        os.write(2, b"\r\n\x1b[?25herror: interrupted\n" if os.isatty(2) else b"error: interrupted\n")
    os._exit(130)
