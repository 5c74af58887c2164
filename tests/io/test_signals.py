"""Processes that are asked to end, as a terminal, a scheduler and an impatient user do it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
HOLD = """
import ctypes, os, signal, sys, threading, time
from wsss_seed.io.signals import exit_on_signal, deferred_stop, interruptible, on_signal

def say(text):
    os.write(1, text.encode() + b"\\n")

exit_on_signal()
"""


def heeding(kind: int) -> Callable[[], None]:
    """What is run before a process: pytest may run in the background, where shells ignore Ctrl-C."""

    def prepare() -> None:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)
        if kind:
            signal.signal(kind, signal.SIG_IGN)

    return prepare


def python(*args: object, ignored: int = 0, **more: object) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WSSS_SEED_")}
    environment |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
    return subprocess.Popen([sys.executable, *map(str, args)], env=environment, preexec_fn=heeding(ignored), **options)  # type: ignore[call-overload,no-any-return]


def script(code: str, **more: object) -> subprocess.Popen[str]:
    return python("-c", HOLD + textwrap.dedent(code), **more)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and messages; a process that hangs fails the test."""
    try:
        _, messages = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        pytest.fail("the process did not end")
    return process.returncode, messages


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_nothing_attends_to_ends_at_once(kind):
    """Also with a thread that never ends, for which Python would wait."""
    process = script("threading.Thread(target=time.sleep, args=(600,)).start(); say('here'); time.sleep(600)")
    line_of(process)
    process.send_signal(kind)
    assert ended(process) == (130, "error: interrupted\n")


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_work_that_attends_to_it_is_interrupted(kind):
    process = script("""
        try:
            with interruptible():
                say("here")
                time.sleep(600)
        except KeyboardInterrupt:
            sys.exit(17)
    """)
    line_of(process)
    process.send_signal(kind)
    assert ended(process) == (17, "")


def test_work_that_must_not_be_left_halfway_is_not():
    process = script("""
        with deferred_stop() as asked:
            say("here")
            while not asked():
                time.sleep(0.01)
            say("stopped")
    """)
    line_of(process)
    process.send_signal(signal.SIGHUP)
    assert line_of(process) == "stopped"
    assert ended(process) == (0, "")


@pytest.mark.parametrize("context", ["interruptible", "deferred_stop"])
def test_a_second_ctrl_c_ends_work_that_hangs(context):
    process = script(f"""
        try:
            with {context}() as asked:
                say("here")
                while not asked():
                    time.sleep(0.01)
        except KeyboardInterrupt:
            pass
        say("stopping")
        time.sleep(600)
    """)
    line_of(process)
    process.send_signal(signal.SIGINT)
    assert line_of(process) == "stopping"
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "error: interrupted\n")


def test_a_second_ctrl_c_ends_a_process_that_is_stuck_in_a_library():
    """Python comes to no handler there; a thread sees both signals."""
    process = script("""
        libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(256)
        say("here")
        libc.pthread_mutex_lock(mutex)
        threading.Timer(0.5, say, ["stuck"]).start()
        libc.pthread_mutex_lock(mutex)
    """)
    assert line_of(process) == "here"
    assert line_of(process) == "stuck"
    process.send_signal(signal.SIGINT)
    while process.poll() is None:  # of two that come together the system makes one
        process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "error: interrupted\n")


def test_what_follows_from_schedulers_and_terminals_is_no_second_ctrl_c():
    process = script("""
        try:
            with interruptible():
                say("here")
                time.sleep(600)
        except KeyboardInterrupt:
            say("stopping")
            sys.stdin.readline()
            sys.exit(17)
    """, stdin=subprocess.PIPE)  # fmt: skip
    line_of(process)
    process.send_signal(signal.SIGINT)
    assert line_of(process) == "stopping"
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.close()
    process.stdin = None
    assert ended(process) == (17, "")


@pytest.mark.parametrize("context", ["interruptible()", "deferred_stop()", "on_signal(lambda: os._exit(9))"])
def test_a_signal_that_is_ignored_stays_ignored(context):
    """nohup starts a command like this."""
    process = script(f"""
        with {context}:
            os.kill(os.getpid(), signal.SIGHUP)
            say("on")
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0)
    """, ignored=signal.SIGHUP)  # fmt: skip
    assert line_of(process) == "on"
    assert ended(process) == (0, "")


def test_a_second_ctrl_c_takes_the_workers_along(tmp_path):
    (tmp_path / "two.py").write_text(
        textwrap.dedent("""
            import os, signal, sys, time

            def stubborn(device, progress):
                signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"received\\n"))
                os.write(1, f"{os.getpid()}\\n".encode())
                while True:
                    time.sleep(600)

            if __name__ == "__main__":
                from wsss_seed.io.progress import Progress
                from wsss_seed.run.workers import on_devices
                from wsss_seed.io.signals import exit_on_signal
                exit_on_signal()
                on_devices(stubborn, ["cpu", "cpu"], Progress())
        """)
    )
    process = python(tmp_path / "two.py", start_new_session=True)
    workers = [int(line_of(process)) for _ in range(2)]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it, to all
    assert [line_of(process), line_of(process)] == ["received", "received"]
    os.killpg(process.pid, signal.SIGINT)
    assert ended(process) == (130, "error: interrupted\n")
    assert process.stdout is not None
    for pid in workers:  # killed, and perhaps not yet collected by the system
        state = Path(f"/proc/{pid}/stat")
        assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_a_terminal_that_is_closed_interrupts_and_nothing_is_lost(tmp_path):
    """The process leads a session of its own; its bar is drawn at a terminal that is gone."""
    out = tmp_path / "run"
    code = f"""
        import fcntl, termios
        fcntl.ioctl(2, termios.TIOCSCTTY, 0)
        sys.path.insert(0, {str(REPOSITORY / "tests/run")!r})
        from pathlib import Path
        import painted
        from wsss_seed.cli import show
        from wsss_seed.run.generate import generate
        from wsss_seed.io.progress import Progress

        seeder = painted.NearestColour(pause=0.02)
        result = generate(
            painted.Painted(2000), seeder, Path({str(out)!r}), settings=seeder.settings, progress=Progress(show.err)
        )
        show.error("interrupted")
        sys.exit(result.exit_status)
    """
    ours, theirs = pty.openpty()
    process = script(code, stderr=theirs, start_new_session=True)
    os.close(theirs)
    while not any(b"\n" in path.read_bytes() for path in out.glob(".work/*.jsonl")):
        assert process.poll() is None
        os.read(ours, 1000)
    os.close(ours)
    assert ended(process)[0] == 130
    done = (out / "manifest.jsonl").read_text().count("\n")
    assert 0 < done < 2000
    assert len((out / "ImageSets/Segmentation/val.txt").read_text().split()) == done


COMMANDS = {
    "generate": ["generate", "--dataset", "toyland", "--images", 200, "--device", "cpu", "--out", "OUT"],
    "learn-prompts": ["learn-prompts", "--dataset", "toyland", "--images", 200, "--device", "cpu", "--out", "OUT"],
    "proposals": ["proposals", "--dataset", "toyland", "--images", 200, "--device", "cpu", "--out", "OUT"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_while_models_are_loaded(tmp_path, command):
    """It comes as soon as the command has said what it is about to do."""
    words = [tmp_path / "out" if word == "OUT" else word for word in COMMANDS[command]]
    process = python("-m", "wsss_seed", *words)
    assert process.stderr is not None
    while "200 images of toyland" not in (line := process.stderr.readline()):
        assert line
    process.send_signal(signal.SIGINT)
    status, messages = ended(process)
    assert status == 130, messages
    assert messages.count("interrupted") == 1
    assert "Traceback" not in messages


def test_a_reader_that_has_enough_does_not_harm():
    for more in ([], ["--json"]):
        reading, writing = os.pipe()
        os.close(reading)
        process = python("-m", "wsss_seed", "datasets", "list", *more, stdout=writing)
        os.close(writing)
        assert ended(process) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_results_that_cannot_be_written_are_an_error():
    for more in ([], ["--json"]):
        with open("/dev/full", "w") as full:
            process = python("-m", "wsss_seed", "datasets", "list", *more, stdout=full)
        status, messages = ended(process)
        assert status == 2
        assert messages == "error: stdout: cannot be written (No space left on device); redirect it elsewhere\n"


@pytest.mark.slow
def test_an_interrupted_run_does_not_wait_for_what_libraries_do_at_exit(tmp_path):
    out = tmp_path / "run"
    process = script(f"""
        import atexit
        from wsss_seed.cli import main
        atexit.register(time.sleep, 600)
        sys.argv = ["wsss-seed", "generate", "--dataset", "toyland", "--images", "200", "--out", {str(out)!r}]
        main()
    """)
    while not list(out.glob("SegmentationClass/*.png")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    status, messages = ended(process)
    assert (status, messages.splitlines()[-1]) == (130, "error: interrupted; run the same command again to resume")
    assert len((out / "ImageSets/Segmentation/test.txt").read_text().split()) > 0


def test_a_worker_leaves_the_first_sigterm_to_its_parent():
    process = script("""
        from wsss_seed.io.signals import leave_signals_to_parent
        leave_signals_to_parent()
        say("here")
        while True:
            time.sleep(0.01)
    """)
    line_of(process)
    for kind in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(kind)
        time.sleep(0.3)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == -signal.SIGTERM
