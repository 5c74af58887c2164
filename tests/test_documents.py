"""What README, changelog and examples say is true of the code."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

import wsss_seed
from wsss_seed.cli import app
from wsss_seed.models.zoo import model_sets
from wsss_seed.seeding.backends import backends

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "examples").rglob("*.md"))]


def commands(path: Path) -> list[list[str]]:
    """The wsss-seed commands in the code blocks of a document."""
    blocks = re.findall(r"```sh\n(.*?)```", path.read_text("utf-8"), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [shlex.split(part, comments=True) for part in parts if part.startswith("wsss-seed ")]


def options(words: list[str]) -> set[str]:
    """The options of the command that the words name."""
    command = typer.main.get_command(app)
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
    assert command.name != "wsss-seed", f"no such command: {words}"
    return {o for p in command.params for o in (*p.opts, *p.secondary_opts)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_commands_in_documents_exist(path: Path):
    for words in commands(path):
        known = options(words[1:])
        for word in words:
            if word.startswith("--"):
                assert word.split("=")[0] in known, f"{word} in {shlex.join(words)}"


def test_the_readme_has_commands():
    assert len(commands(REPOSITORY / "README.md")) >= 4


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)#]+)\)", (REPOSITORY / "README.md").read_text("utf-8")))
def test_links_of_the_readme_lead_somewhere(link: str):
    assert (REPOSITORY / link).exists()


def test_the_readme_names_every_model_set_backend_and_option_it_should():
    text = (REPOSITORY / "README.md").read_text("utf-8")
    for name in (*model_sets(), *backends()):
        assert f"`{name}`" in text


def test_the_changelog_begins_with_unreleased_or_this_version():
    """Then releases follow with their dates, newest first, in the sections of Keep a Changelog."""
    text = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    first, *rest = re.findall(r"^## (.*)$", text, re.M)
    headings = rest if first == "[Unreleased]" else [first, *rest]
    releases = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", heading) for heading in headings]
    assert all(releases), headings
    dates = [release[2] for release in releases]
    assert dates == sorted(dates, reverse=True)
    assert not releases or releases[0][1] == wsss_seed.__version__
    sections = re.findall(r"^### (.*)$", text, re.M)
    assert set(sections) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_python_example_runs(tmp_path: Path):
    result = subprocess.run(
        [sys.executable, REPOSITORY / "examples" / "from_python.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 3


def test_a_backend_of_ones_own_is_found_by_its_entry_point(program, tmp_path: Path):
    """The example plug-in, installed as pip would: its module and its metadata on the path."""
    example = REPOSITORY / "examples" / "own_backend"
    info = tmp_path / "site" / "wsss_seed_saliency-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wsss-seed-saliency\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[wsss_seed.backends]\nsaliency = saliency_backend:build\n")
    path = f"{tmp_path / 'site'}:{example}"
    result = program(
        "generate", "--dataset", "toyland", "--images", 2, "--backend", "saliency", "--out", "seeds",
        "--set", "threshold=0.3", env={"PYTHONPATH": path},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "mIoU" in result.stdout
    mistyped = program(
        "generate", "--dataset", "toyland", "--images", 2, "--backend", "saliency", "--out", "other",
        "--set", "thresold=0.3", env={"PYTHONPATH": path},
    )  # fmt: skip
    assert mistyped.returncode == 2
    assert "Did you mean 'threshold'?" in mistyped.stderr
    listed = program("settings", "saliency", env={"PYTHONPATH": path})
    assert "threshold = 0.25    (number 0 to 1)" in listed.stdout
