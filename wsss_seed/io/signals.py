"""Being asked to end: by Ctrl-C, by a scheduler's SIGTERM, by the SIGHUP of a terminal that is closed.

A signal that the process was started to ignore stays ignored: ``nohup`` does so with SIGHUP, a shell with the SIGINT of
what it runs in the background. Of several signals only the first counts, for closing a terminal sends more than one;
but a second Ctrl-C is a user who does not want to wait.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
TERMINAL_SIGNALS = tuple(kind for kind in SIGNALS if kind != signal.SIGTERM)
"""Those that a terminal sends to every process in it, not only to the one the user started."""

_asked = False  # whether this process was asked to end and attends to it
_watched = False  # whether a thread sees to a second Ctrl-C
_ending = threading.Lock()  # of two threads that would end the process one does


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Signals interrupt with KeyboardInterrupt.

    Yields a function that says whether one has come: libraries have been seen to swallow the exception.
    """
    heard = False

    def interrupt() -> None:
        nonlocal heard
        heard = True
        raise KeyboardInterrupt

    with on_signal(interrupt):
        yield lambda: heard


@contextmanager
def deferred_stop() -> Iterator[Callable[[], bool]]:
    """Signals only note that the work is to stop, for work that must not be left halfway.

    Yields what tells whether it is to stop. A second Ctrl-C interrupts at once.
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
    """The first signal and every further Ctrl-C call ``handler`` and interrupt nothing here."""
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
    """Processes started here ignore what a terminal sends to all; the process that starts them tells them to end."""
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
    """For a process that works for another: ignore what a terminal sends to all of them."""
    for kind in TERMINAL_SIGNALS:
        signal.signal(kind, signal.SIG_IGN)


def _launched() -> bool:
    """Whether a launcher has started several of this process. It hands on the Ctrl-C that all of them have heard."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def exit_on_signal() -> None:
    """From now on signals end this process, a command line, with status 130 and one line.

    Work that has to be brought to an end first handles them itself (``interruptible`` and the others). Everywhere else
    nothing is lost, because every file is written whole or not at all, and no library gets a chance to swallow an
    exception, to show its traceback, or to wait for its threads. A second Ctrl-C always ends the process.
    """
    global _asked, _watched
    if threading.current_thread() is not threading.main_thread():
        return
    _asked = False

    def handle(*_: object) -> None:
        if not _asked:
            _end()

    for kind in SIGNALS:
        if signal.getsignal(kind) not in (signal.SIG_IGN, None):
            signal.signal(kind, handle)
    if _launched():
        return
    # Handlers run when Python comes to them, which may be minutes away in a library's code; this thread need not wait.
    listening, signalled = socket.socketpair()
    signalled.setblocking(False)
    former = signal.set_wakeup_fd(signalled.fileno(), warn_on_full_buffer=False)
    if former != -1:  # somebody else listens already
        signal.set_wakeup_fd(former)
        return
    # A forked process shares the socket, and its signals are not this one's.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    _watched = True
    # The thread keeps both ends open.
    threading.Thread(target=_exit_at_second_interrupt, args=(listening, signalled), daemon=True).start()


def _exit_at_second_interrupt(listening: socket.socket, _: socket.socket) -> None:
    came = False
    while kinds := listening.recv(64):
        for kind in kinds:
            if came and kind == signal.SIGINT:
                _end()
            came |= kind in SIGNALS


def _end() -> None:
    """End this process and those it started, but for the one call that comes while another is at it. Nothing here waits
    for a lock that the main thread may hold."""
    if not _ending.acquire(blocking=False):
        return
    workers = sys.modules.get("multiprocessing.process")
    with suppress(Exception):
        for worker in workers.active_children() if workers else ():
            worker.kill()
    with suppress(OSError):
        # A progress bar hides the cursor, and stands in the line that Ctrl-C was echoed to.
        os.write(2, b"\r\n\x1b[?25herror: interrupted\n" if os.isatty(2) else b"error: interrupted\n")
    os._exit(130)
