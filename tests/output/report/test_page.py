"""The page: hostile names stay text, and the same run gives the same page."""

import base64
import hashlib
import json
import re

import numpy as np
from PIL import Image

from tests.output.odd_run import NAMES
from tests.output.report.page import Page
from wsss_seed.output.report import report
from wsss_seed.output.run_folder import fingerprint

HOSTILE = "<img src=x onerror=alert(2)>"


def test_hostile_names_stay_text(run, truth):
    page = Page(report(run, truth=truth).out)
    assert [tag for tag, _ in page.tags].count("script") == 3
    assert [a for tag, a in page.tags if tag == "img"] == [{"id": "photo", "alt": ""}]
    assert not {"iframe"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    for name in (*NAMES, HOSTILE, "not an image <script>alert(3)</script>", "</script><b>bold</b>"):
        assert name in page.texts
    assert page.data["names"] == ["background", *NAMES]
    text = (run / "report.html").read_text("utf-8")
    assert "alert(1)</script>" not in text.replace("alert(1)&lt;/script&gt;", "")
    assert not re.search(r"https?://", text)


def test_the_same_run_gives_the_same_page(run, truth):
    first = report(run, truth=truth).out.read_bytes()
    assert report(run, truth=truth).out.read_bytes() == first


def test_only_the_script_of_the_page_may_run_and_nothing_is_loaded(run):
    """The policy names the digest of the script, so an edit of either is noticed here."""
    text = report(run).out.read_text("utf-8")
    [policy] = [a["content"] for tag, a in Page(run / "report.html").tags if a.get("http-equiv")]
    [script] = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_settings_of_the_run_are_listed_by_their_dotted_keys(run):
    texts = Page(report(run).out).texts
    assert texts[texts.index("settings.dataset.split") + 1] == "odd list"
    assert texts[texts.index("settings.note") + 1] == "</script><b>bold</b>"


def test_classes_without_pixels_are_folded(run):
    names = run / "classes.txt"
    names.write_text(names.read_text("utf-8") + "unicorn\n<b>griffin</b>\n", "utf-8")
    report(run)
    page = Page(run / "report.html")
    assert "2 classes without pixels" in page.texts
    assert "unicorn, <b>griffin</b>" in page.texts
    buttons = [a for tag, a in page.tags if tag == "button" and a.get("class") == "class"]
    assert [a["data-label"] for a in buttons] == ["1", "2", "3", "4"]


def test_a_class_of_the_ground_truth_is_not_folded(run, truth):
    names = run / "classes.txt"
    names.write_text(names.read_text("utf-8") + "unicorn\n", "utf-8")
    file = truth / "ring.png"
    labels = np.array(Image.open(file))
    labels[5:8] = 5
    Image.fromarray(labels).save(file)
    report(run, truth=truth)
    page = Page(run / "report.html")
    assert "details" not in [tag for tag, _ in page.tags][: [a.get("id") for _, a in page.tags].index("images")]
    row = page.texts.index("unicorn", page.texts.index("missed in"))
    assert [text for text in page.texts[row:] if text][:5] == ["unicorn", "0", "0.0", "–", "–"]


def test_phrases_are_there_where_they_say_more_than_the_name(run):
    about = json.loads((run / "run.json").read_text("utf-8"))
    phrases = {"cat": ["cat", "kitty"], "dog": ["dog"], "</script>": ["x"], "odd": 3}
    about["settings"]["class_set"] = {"phrases": phrases}
    (run / "run.json").write_text(json.dumps(about))
    lines = [json.loads(line) for line in (run / "manifest.jsonl").read_text("utf-8").splitlines()]
    own = fingerprint(about["settings"])
    (run / "manifest.jsonl").write_text("".join(json.dumps(line | {"settings": own}) + "\n" for line in lines))
    report(run)
    assert Page(run / "report.html").data["phrases"] == {"cat": ["cat", "kitty"], "</script>": ["x"]}
