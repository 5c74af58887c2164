"""Help: whole summaries, options in sections, examples that parse; versions for bug reports; shell completion."""

import os
import shlex
import subprocess
import sys
from importlib.metadata import version

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from wsss_seed.cli import app
from wsss_seed.cli.help import EXAMPLES

ROOT = typer.main.get_command(app)


def commands(group=ROOT, path=()):
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def help_of(*path, width=80):
    done = CliRunner().invoke(app, [*path, "--help"], terminal_width=width)
    assert done.exit_code == 0
    return done.stdout


@pytest.mark.parametrize("width", [50, 80, 200])
def test_summaries_are_whole(width):
    for path in ((), ("models",), ("datasets",)):
        text = help_of(*path, width=width)
        assert "..." not in text.replace("[ARGS]...", "")
        words = " ".join(text.split())
        group = ROOT.commands[path[0]] if path else ROOT
        for command in group.commands.values():
            assert " ".join(command.help.split("\n\n")[0].split()) in words


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda value: " ".join(value) if type(value) is tuple else ""
)
def test_each_option_has_one_place(path, command):
    lines = help_of(*path).splitlines()
    lines = lines[next(i for i, line in enumerate(lines) if line[:1].isupper() and line.endswith(":")) :]
    found = [param for param in command.params if param.param_type_name == "option"]
    for param in found:
        name = max(param.opts, key=len)
        assert sum(name in line.split("  ")[1].replace(",", "").split() for line in lines if line[2:3] == "-") == 1
    assert len(found) < 10 or "General:" in lines  # --help is the tenth


@pytest.mark.parametrize("width", [50, 80])
def test_names_with_hyphens_stay_on_one_line(width):
    for path, _ in commands():
        text = help_of(*path, width=width)
        assert not [line for line in text.splitlines() if line.endswith("-")]
        assert "\u2011" not in text


def test_examples_are_shown_as_a_module_too():
    done = subprocess.run(
        [sys.executable, "-m", "wsss_seed", "datasets", "make", "--help"], capture_output=True, text=True, check=True
    )
    assert EXAMPLES["datasets make"] in done.stdout


def test_sections_of_generate():
    text = help_of("generate")
    titles = [line for line in text.splitlines() if line and not line.startswith(" ") and line.endswith(":")]
    assert titles == [
        "Images:",
        "Drawn images:",
        "Method:",
        "Models and devices:",
        "Several machines:",
        "Output:",
        "General:",
        "Example:",
    ]
    assert text.index("Images:") < text.index("--root") < text.index("Method:") < text.index("--backend")


def test_python_m_shows_the_example_too():
    done = CliRunner().invoke(app, ["models", "pull", "--help"], prog_name="python -m wsss_seed")
    assert "Example:\n  wsss-seed models pull base\n" in done.stdout


def test_each_command_has_an_example_that_parses():
    assert set(EXAMPLES) == {" ".join(path) for path, _ in commands()}
    for path, command in commands():
        line = EXAMPLES[" ".join(path)]
        assert f"Example:\n  {line}\n" in help_of(*path)
        words = shlex.split(line)
        assert words[: len(path) + 1] == ["wsss-seed", *path]
        with ROOT.make_context("wsss-seed", [*path], resilient_parsing=True) as parent:
            command.make_context(path[-1], words[len(path) + 1 :], parent=parent)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("generate",), "Missing option '--dataset' / '-d'. voc, coco, folder, webdataset or toyland."),
        (("calibrate", "--dataset", "toyland"), "Missing option '--out' / '-o'. TOML file to write, for --config."),
        (("report",), "Missing argument 'RUN'. Run folder."),
        (("generate", "--dataset", "toyland", "--limit", "0"), "Invalid value for '--limit'"),
    ],
)
def test_what_is_missing_is_named_with_its_choices(words, text):
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert text in done.stderr


def test_a_seed_is_no_part_of_the_method():
    text = help_of("train-seg")
    assert text.index("General:") < text.index("--seed ")


def test_learn_prompts_has_its_own_defaults():
    text = " ".join(help_of("learn-prompts").split())
    assert "Default: train for voc and toyland" in text
    assert "(default 400)" in text


def test_the_version_has_what_a_bug_report_needs(cli):
    lines = cli("--version").stdout.splitlines()
    assert lines[0].startswith("wsss-seed ")
    assert lines[1].startswith(f"Python {sys.version.split()[0]} on ")
    assert lines[2] == f"torch {version('torch')}"
    assert lines[3] == f"transformers {version('transformers')}"
    assert lines[4].startswith("device: c")


def test_completion_knows_commands_and_options():
    for words, expected in (("wsss-seed gen", "generate"), ("wsss-seed train-seg --val-i", "--val-images")):
        environment = {
            **os.environ,
            "_WSSS_SEED_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        code = "import sys; sys.argv = ['wsss-seed']; from wsss_seed.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.stdout.split() == [expected], done.stderr
