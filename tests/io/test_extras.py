"""The command that installs an extra, for each origin of the package."""

import json
import tomllib
from pathlib import Path

import pytest

from wsss_seed.io import extras
from wsss_seed.io.extras import EXTRAS, install_command, missing_modules


class Distribution:
    def __init__(self, origin):
        self.origin = origin

    def read_text(self, name):
        assert name == "direct_url.json"
        return self.origin if self.origin is None or isinstance(self.origin, str) else json.dumps(self.origin)


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (None, 'pip install "wsss-seed[segmenter]"'),
        ({"url": "file:///home/a%20b/wsss", "dir_info": {}}, 'pip install "/home/a b/wsss[segmenter]"'),
        ({"url": "file:///w", "dir_info": {"editable": True}}, 'pip install -e "/w[segmenter]"'),
        (
            {"url": "https://host/wsss", "vcs_info": {"vcs": "git", "commit_id": "1"}},
            'pip install "wsss-seed[segmenter] @ git+https://host/wsss"',
        ),
        (
            {"url": "https://host/wsss.whl", "archive_info": {}},
            'pip install "wsss-seed[segmenter] @ https://host/wsss.whl"',
        ),
        ("{damaged", 'pip install "wsss-seed[segmenter]"'),
        ([1], 'pip install "wsss-seed[segmenter]"'),
        ({"url": None, "dir_info": {}}, 'pip install "wsss-seed[segmenter]"'),
    ],
)
def test_an_extra_comes_from_where_the_package_came(origin, command, monkeypatch):
    monkeypatch.setattr(extras, "distribution", lambda name: Distribution(origin))
    assert install_command("segmenter") == command


def test_the_extras_are_those_of_the_project():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]
    assert set(EXTRAS) == set(optional) - {"test"}
    for name, extra in EXTRAS.items():
        required = [requirement.split(">")[0].replace("-", "_") for requirement in optional[name]]
        assert sorted(extra.modules) == sorted(required)


def test_missing_modules(monkeypatch):
    monkeypatch.setitem(EXTRAS, "heif", EXTRAS["heif"]._replace(modules=("json", "no_such_module_here")))
    assert missing_modules("heif") == ["no_such_module_here"]
