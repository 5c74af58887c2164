"""--quiet and --verbose: what of messages, logs and warnings reaches standard error."""

import json
import logging
import os
import re
import warnings

import pytest
import typer
from typer.testing import CliRunner

from wsss_seed.cli import show
from wsss_seed.cli.help import Command
from wsss_seed.io import steps
from wsss_seed.io.progress import Progress

pytestmark = pytest.mark.filterwarnings("default:a deprecated name")
TIME = r"\d\d:\d\d:\d\d "


def work() -> None:
    """What a command may do to standard error."""
    show.message("2 images")
    show.warning("one is dark")
    steps.log.info("loading SAM")
    logging.getLogger("wsss_seed.models.zoo").info("from a file")
    logging.getLogger("wsss_seed.run.loop").debug("0.1 s")
    logging.getLogger("wsss_seed.models.precision").warning("out of memory")
    logging.getLogger("some_library").warning("Retrying in 1s")
    logging.getLogger("some_library").info("GET")
    warnings.warn("a deprecated name", FutureWarning, stacklevel=1)
    progress = Progress(show.err)
    progress.start(1, 0)
    progress.stop()
    show.error("one failed")
    show.result("1 mask")


def run(*args: str, env: dict[str, str] | None = None) -> tuple[str, list[str]]:
    """Standard output, and the lines of standard error."""
    app = typer.Typer()
    app.command(cls=Command)(work)
    done = CliRunner().invoke(app, args, env=env, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout, done.stderr.splitlines()


def test_by_default_steps_and_our_warnings_are_shown_and_libraries_are_not():
    out, err = run()
    assert out == "1 mask\n"
    assert err[:4] == ["2 images", "warning: one is dark", "loading SAM", "warning: out of memory"]
    assert err[4] == "seeding 1 image"
    assert err[-1] == "error: one failed"
    assert len(err) == 7


@pytest.mark.parametrize("how", [(("--quiet",), {}), (("-q",), {}), ((), {"WSSS_SEED_QUIET": "1"})])
def test_quiet_leaves_errors_and_the_result(how):
    args, env = how
    assert run(*args, env=env) == ("1 mask\n", ["error: one failed"])
    assert not show.err.quiet  # afterwards


def test_verbose_shows_the_log_with_times_and_warnings_of_libraries():
    out, err = run("--verbose")
    text = "\n".join(err)
    assert out == "1 mask\n"
    assert re.search(f"(?m)^{TIME}INFO wsss_seed.io.steps: loading SAM$", text)
    assert re.search(f"(?m)^{TIME}INFO wsss_seed.models.zoo: from a file$", text)
    assert re.search(f"(?m)^{TIME}WARNING some_library: Retrying in 1s$", text)
    assert "a deprecated name" in text
    assert "0.1 s" not in text
    assert "GET" not in text


def test_twice_is_for_debugging():
    for args, env in ((["-vv"], {}), ([], {"WSSS_SEED_VERBOSE": "2"})):
        text = "\n".join(run(*args, env=env)[1])
        assert re.search(f"(?m)^{TIME}DEBUG wsss_seed.run.loop: 0.1 s$", text)
        assert re.search(f"(?m)^{TIME}INFO some_library: GET$", text)


def test_afterwards_logging_is_as_before():
    root, ours = logging.getLogger(), logging.getLogger("wsss_seed")
    before = root.level, [*root.handlers], ours.level, dict(os.environ), warnings.showwarning
    run("-vv")
    run("-q")
    assert (root.level, root.handlers, ours.level, dict(os.environ), warnings.showwarning) == before


def test_commands_have_both(cli):
    common = ("generate", "--dataset", "toyland", "--images", 1, "--device", "cpu")
    quiet = cli(*common, "--out", "a", "--json", "--quiet")
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert json.loads(quiet.stdout)["made"] == 1
    verbose = cli(*common, "--out", "b", "--json", "-v")
    assert json.loads(verbose.stdout)["made"] == 1
    assert re.search(f"(?m)^{TIME}INFO wsss_seed.models.zoo: detector tiny: bundled, .*models", verbose.stderr)
    both = cli(*common, "--out", "c", "--quiet", "--verbose")
    assert both.returncode == 2
    assert both.stderr == "error: --quiet and --verbose exclude each other; give one of them\n"
    refused = cli("generate", "--dataset", "nowhere", "--quiet")
    assert (refused.returncode, refused.stderr[:7]) == (2, "error: ")


def test_a_config_file_may_set_them(cli, tmp_path):
    (tmp_path / "my.toml").write_text("quiet = true\n")
    done = cli("generate", "--dataset", "toyland", "--images", 1, "--device", "cpu", "--config", "my.toml")
    assert (done.returncode, done.stderr) == (0, "")
