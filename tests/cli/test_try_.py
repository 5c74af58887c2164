"""``wsss-seed try``."""

import io
import json
import os
import pty
import re
import sys
import threading
from base64 import b64decode

import pytest
from PIL import Image

from wsss_seed.cli import main
from wsss_seed.cli.try_ import _columns, _parse, spread
from wsss_seed.config import override
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.toyland.dataset import Toyland
from wsss_seed.seeding.dino_sam.settings import Settings

WORLD = Toyland(load_class_set("toyland"), "test", 2, difficulty="hard")


@pytest.fixture
def photos(tmp_path):
    """Two images of toyland in the current folder, one of them stored turned."""
    for name, sample in zip(("a.png", "b.png"), WORLD, strict=True):
        Image.fromarray(WORLD.image(sample)).save(tmp_path / name)
    return tmp_path


def results(cli, *args):
    done = cli("try", *args, "--classes", "toyland", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_text_and_picture(cli, photos):
    done = cli("try", "b.png", "--classes", "toyland")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("b.png, 222 x 263 pixels, ")
    assert "\x1b" not in done.stdout
    assert re.search(r"\n\d cup, dropped: IoU \d\.\d\d with box \d of its class > nms.iou_threshold 0.7\n", done.stdout)
    assert re.search(r"\n\d \w+, painted: detector score ", done.stdout)
    assert done.stdout.endswith("\npicture: try.png\n")
    with Image.open(photos / "try.png") as picture:
        assert picture.text["Software"] == "wsss-seed try"
        assert picture.height > 1000


def test_it_says_what_generate_and_explain_say(cli, photos):
    cli("generate", "--dataset", "folder", "--root", ".", "--classes", "toyland", "--out", "run")
    found = results(cli, "b.png")
    explained = json.loads(cli("explain", "run", "b", "--json").stdout)
    (result,) = found["photos"][0]["results"]
    for key in ("mode", "size", "ignore", "notes", "classes", "boxes", "evidence"):
        assert result[key] == explained[key], key
    assert found["picture"] == "try.png"
    assert found["failed"] == []


def test_compare(cli, photos):
    """A column per settings; the models give what they give alone."""
    found = results(cli, ".", "--compare", "box_threshold=0.2", "detector.box_threshold=0.5, caption=per_class")
    assert [photo["photo"] for photo in found["photos"]] == ["a.png", "b.png"]
    assert [r["caption"] for r in found["photos"][0]["results"]] == [
        "box_threshold=0.2",
        "detector.box_threshold=0.5, caption=per_class",
    ]
    with Image.open(photos / "try.png") as picture:
        assert picture.width > 2000
        assert picture.height > 2 * 800
    for column, settings in enumerate((["box_threshold=0.2"], ["box_threshold=0.5", "caption=per_class"])):
        alone = results(cli, "b.png", *(word for text in settings for word in ("--set", text)))
        together = found["photos"][1]["results"][column]
        assert [b["role"] for b in together["boxes"]] == [b["role"] for b in alone["photos"][0]["results"][0]["boxes"]]
        assert together["classes"] == alone["photos"][0]["results"][0]["classes"]
    counts = [[c["boxes"] for c in r["classes"]] for r in found["photos"][1]["results"]]
    assert counts[0] != counts[1]


def test_one_setting_beside_none(cli, photos):
    (photo,) = results(cli, "a.png", "--set", "verify.enabled=false", "--compare", "box_threshold=0.9")["photos"]
    assert [r["caption"] for r in photo["results"]] == ["verify.enabled=false", "box_threshold=0.9"]
    assert [r["settings"] for r in photo["results"]] == [
        {"verify.enabled": False},
        {"verify.enabled": False, "box_threshold": 0.9},
    ]
    done = cli("try", "a.png", "--classes", "toyland", "--compare", "box_threshold=0.9")
    assert done.stdout.startswith("--- unchanged\na.png, ")
    assert "\n--- box_threshold=0.9\na.png, " in done.stdout


def test_given_classes_and_clip_sams(cli, photos):
    (photo,) = results(cli, "b.png", "--labels", "tree, Mushroom")["photos"]
    assert photo["results"][0]["mode"] == "label_given"
    assert [c["name"] for c in photo["results"][0]["classes"] if c["given"]] == ["tree", "mushroom"]
    free = cli("try", "b.png", "--classes", "toyland", "--backend", "clip-sams")
    assert free.returncode == 2
    assert "name them in --labels, or use --backend dino-sam" in free.stderr
    both = results(cli, "b.png", "--backend", "clip-sams", "--labels", "tree", "--compare", "sams.margin=0.5")
    plain, wide = both["photos"][0]["results"]
    assert plain["ignore"] < wide["ignore"]


def test_photographs_are_upright(cli, photos):
    stored = Image.fromarray(WORLD.image(WORLD[1])).transpose(Image.Transpose.ROTATE_90)
    exif = stored.getexif()
    exif[0x0112] = 6
    stored.save(photos / "turned.png", exif=exif)
    upright, turned = (results(cli, name)["photos"][0]["results"][0] for name in ("b.png", "turned.png"))
    assert turned["size"] == upright["size"] == [222, 263]
    assert turned["boxes"] == upright["boxes"]


def test_a_folder_and_a_limit(cli, photos):
    first = cli("try", ".", "--classes", "toyland", "--limit", "1")
    assert "the first 1 of 2 photographs" in first.stderr
    assert first.stdout.startswith("a.png, ")
    again = cli("try", ".", "--classes", "toyland", "--limit", "1")  # try.png is none of them
    assert "the first 1 of 2 photographs" in again.stderr
    (photos / "empty").mkdir()
    assert cli("try", "empty", "--classes", "toyland").stderr == "error: empty: no image below it\n"


def test_photographs_that_cannot_be_read(cli, photos):
    (photos / "bad.jpg").write_bytes(b"no image")
    Image.fromarray(WORLD.image(WORLD[0])).save(photos / "cut.jpg")
    (photos / "cut.jpg").write_bytes((photos / "cut.jpg").read_bytes()[:1500])
    done = cli("try", "bad.jpg", "--classes", "toyland")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: bad.jpg: not an image in ")
    assert done.stderr.count("\n") == 1
    done = json.loads(cli("try", "bad.jpg", "--classes", "toyland", "--json").stdout)
    assert (done["photos"], done["failed"][0]["photo"], done["picture"]) == ([], "bad.jpg", None)
    found = cli("try", "bad.jpg", "a.png", "cut.jpg", "--classes", "toyland", "--json")
    assert found.returncode == 1
    assert [photo["photo"] for photo in json.loads(found.stdout)["photos"]] == ["a.png"]
    assert [photo["photo"] for photo in json.loads(found.stdout)["failed"]] == ["bad.jpg", "cut.jpg"]
    assert found.stderr.count("error: ") == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("none.jpg", "--classes", "cat"), "none.jpg: no such file or folder"),
        (("a.png",), 'try needs class names; give --classes a file or "cat, dog"'),
        (("a.png", "--classes", "toyland", "--set", "nosuch=1"), "unknown setting of dino-sam 'nosuch'"),
        (("a.png", "--classes", "toyland", "--compare", "iou_threshold=1"), "setting iou_threshold: ambiguous"),
        (("a.png", "--classes", "toyland", "--compare", "x"), "--compare x: expected KEY=VALUE"),
        (("a.png", "--classes", "toyland", "--compare", "x=1", "b.png", "y=2"), "y=2: no such file; give settings"),
        (("a.png", "--classes", "toyland", "--labels", "unicorn"), "unknown class 'unicorn'; known: boat"),
        (("a.png", "--classes", "toyland", "--labels", " ,"), "--labels: name the classes in the photographs"),
        (("a.png", "--classes", "toyland", "--set", "mode=boxes_given"), "needs the ground-truth boxes"),
        (("a.png", "--classes", "toyland", "--out", "a.jpg"), "give --out the name of a .png file"),
        (("a.png", "--classes", "toyland", "--out", "a.png"), "a.png: one of the photographs; choose another --out"),
        (("a.png", "--classes", "toyland", "--out", "b.png"), "wsss-seed try did not write it; choose another --out"),
        (("a.png", "--classes", "toyland", "--out", "a.png/x.png"), "a.png/x.png: cannot be written"),
    ],
)
def test_errors_are_one_line(cli, photos, arguments, text):
    before = (photos / "b.png").read_bytes()
    done = cli("try", *arguments)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert text in errors[0]
    assert done.stderr.splitlines()[-1] == errors[0]
    assert (photos / "b.png").read_bytes() == before
    assert not (photos / "try.png").exists()


def test_only_its_own_picture_is_replaced(cli, photos):
    assert cli("try", "a.png", "--classes", "toyland", "--out", "b.png", "--overwrite").returncode == 0
    assert cli("try", "a.png", "--classes", "toyland", "--out", "b.png").returncode == 0


def test_models_of_another_world_are_warned_of(cli, photos):
    done = cli("try", "a.png", "--classes", "cat, dog, -toy cat", "--models", "tiny", "--quiet")
    assert "trained on toyland only" not in done.stderr
    assert done.returncode == 0
    done = cli("try", "a.png", "--classes", "cat, dog, -toy cat", "--models", "tiny")
    assert "warning: the models of 'tiny' were trained on toyland only" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("a.jpg --compare x=1 y=2", "a.jpg --compare x=1 --compare y=2"),
        ("--compare x=1 y=2 a.jpg z=3", "--compare x=1 --compare y=2 a.jpg z=3"),
        ("--compare=x=1 y=2 --set z=3 w=4", "--compare=x=1 --compare y=2 --set z=3 w=4"),
        ("--compare x=1 x=1.jpg y=2", "--compare x=1 x=1.jpg y=2"),
        ("--compare x=1 -- y=2", "--compare x=1 -- y=2"),
        ("--compare x=1 s3://bucket/y=2", "--compare x=1 s3://bucket/y=2"),
        ("a.jpg --compare", "a.jpg --compare"),
    ],
)
def test_compare_takes_what_follows_it(tmp_path, monkeypatch, arguments, expected):
    (tmp_path / "x=1.jpg").touch()
    monkeypatch.chdir(tmp_path)
    assert list(spread(arguments.split())) == expected.split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1 b=2,c=3", {"a": 1, "b": 2, "c": 3}),
        ("a=[2, 3], b=x", {"a": [2, 3], "b": "x"}),
        ("a.tv monitor=0.3, b=1", {"a.tv monitor": 0.3, "b": 1}),
        ("b=1, a.tv monitor=0.3", {"b": 1, "a.tv monitor": 0.3}),
        ("b=1, a.t-shirt=0.3 c=2", {"b": 1, "a.t-shirt": 0.3, "c": 2}),
    ],
)
def test_settings_of_a_column(text, expected):
    assert dict(_parse(text)) == expected


def test_compared_settings_hold_whatever_their_names():
    settings = {"detector.box_threshold": 0.1, "box_threshold": 0.2}  # of a file, and of --set
    ((_, first), (_, second)) = _columns(settings, [], ["detector.box_threshold=0.3", "box_threshold=0.4"])
    assert override(Settings(), first).detector.box_threshold == 0.3
    assert override(Settings(), second).detector.box_threshold == 0.4


def on_terminal(monkeypatch, folder, environment, *args):
    """What the command sends to a terminal as its standard output."""
    reading, writing = pty.openpty()
    received = bytearray()

    def read():
        try:
            while data := os.read(reading, 2**16):
                received.extend(data)
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=read)
    with monkeypatch.context() as patch:
        for name in ("TMUX", "TERM_PROGRAM", "LC_TERMINAL"):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["wsss-seed", "try", "--classes", "toyland", *args])
        patch.setattr("wsss_seed.cli.exit_on_signal", lambda: None)
        with open(writing, "w", encoding="utf-8") as terminal:
            patch.setattr(sys, "stdout", terminal)
            reader.start()
            with pytest.raises(SystemExit) as ended:
                main()
    reader.join(60)
    os.close(reading)
    assert not ended.value.code
    return received.decode()


def test_terminals_that_show_pictures(photos, monkeypatch):
    kitty = on_terminal(monkeypatch, photos, {"TERM": "xterm-kitty"}, "a.png", "b.png")
    sent = re.findall(r"\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\", kitty)
    starts = [i for i, (keys, _) in enumerate(sent) if keys.startswith("a=T,f=100,q=2,c=")]
    assert len(starts) == 2
    for start, end in zip(starts, [*starts[1:], len(sent)], strict=True):
        picture = Image.open(io.BytesIO(b64decode("".join(data for _, data in sent[start:end]))))
        assert max(picture.size) > 1000
    assert kitty.index("a.png, ") < kitty.index("\x1b_G") < kitty.index("b.png, ")
    assert "picture:" not in kitty
    assert not (photos / "try.png").exists()
    iterm = on_terminal(monkeypatch, photos, {"TERM": "xterm", "TERM_PROGRAM": "iTerm.app"}, "a.png", "--out", "o.png")
    (found,) = re.findall(r"\x1b\]1337;File=inline=1;[^:]*:([^\a]*)\a", iterm)
    with Image.open(photos / "o.png") as written:
        assert Image.open(io.BytesIO(b64decode(found))).tobytes() == written.tobytes()
    assert iterm.endswith("picture: o.png\r\n")


def test_a_terminal_that_shows_none_and_json_on_one_that_does(photos, monkeypatch):
    plain = on_terminal(monkeypatch, photos, {"TERM": "xterm-256color"}, "a.png")
    assert not re.search(r"\x1b[_\]P]", plain)
    assert plain.endswith("picture: try.png\r\n")
    as_json = on_terminal(monkeypatch, photos, {"TERM": "xterm-kitty"}, "a.png", "--json")
    assert json.loads(as_json)["picture"] == "try.png"
