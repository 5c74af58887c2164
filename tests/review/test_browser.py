"""The page in a real browser: every action by mouse and by keyboard, and what it leaves in the run folder."""

import io
import shutil
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from PIL import Image

import wsss_seed as ws
from tests.browser import chromium
from tests.output.many_records import write as write_records
from tests.output.odd_run import NOISE, label_maps, write_run
from tests.output.report.seen import until
from tests.review.running import PETS, pets, serving
from wsss_seed.data.base import Sample
from wsss_seed.data.corrections import CorrectionLog, Corrections, read_log
from wsss_seed.data.images import read_labels
from wsss_seed.models.zoo import ModelSet
from wsss_seed.output.run_folder import RunFolder, fingerprint
from wsss_seed.types import Seed

BOTH = pytest.mark.parametrize("by", ["mouse", "keyboard"])
FAILED_REQUEST = "Failed to load resource"


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


class Desk:
    """A window of a reviewer."""

    def __init__(self, page, run: Path) -> None:
        self.page, self.run = page, run
        self.pointed: list[float] | None = None  # where the keys have moved the pointer
        self.touches = None

    def open(self, id: str) -> None:
        self.pointed = None
        self.page.locator(f"button.card[data-id={id!r}]").click()
        self.drawn(id)

    def drawn(self, id: str) -> None:
        """Wait until the mask of an image is drawn."""
        until(
            self.page,
            """id => document.getElementById('mask').dataset.drawn === 'yes'
                && document.getElementById('image-title').textContent === id""",
            id,
        )

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the fitted image is in the window."""
        stage = self.page.locator("#stage").bounding_box()
        width, height = self.shape[::-1]
        scale = min((stage["width"] - 16) / width, (stage["height"] - 16) / height)
        left, top = (stage["width"] - width * scale) / 2, (stage["height"] - height * scale) / 2
        return stage["x"] + left + x * scale, stage["y"] + top + y * scale

    @property
    def shape(self) -> tuple[int, int]:
        return self.own(self.title).shape

    @property
    def title(self) -> str:
        return self.page.inner_text("#image-title")

    def own(self, id: str) -> np.ndarray:
        return read_labels(self.run / f"SegmentationClass/{id}.png")

    def click(self, x: float, y: float, **options) -> None:
        self.page.mouse.move(*self.at(x, y))
        if options.get("modifiers"):
            for key in options["modifiers"]:
                self.page.keyboard.down(key)
        self.page.mouse.down(button=options.get("button", "left"))
        self.page.mouse.up(button=options.get("button", "left"))
        for key in options.get("modifiers", ()):
            self.page.keyboard.up(key)

    def drag(self, *places: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*places[0]))
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.at(*place), steps=4)
        self.page.mouse.up()

    def point(self, x: float, y: float) -> None:
        """Move the pointer by keys alone, from the centre of the image, to within a pixel."""
        if self.pointed is None:
            height, width = self.shape
            self.page.keyboard.press("Control+Shift+ArrowRight")
            self.pointed = [width / 2 + 1, height / 2]
        for axis, (less, more) in enumerate((("ArrowLeft", "ArrowRight"), ("ArrowUp", "ArrowDown"))):
            steps = round((x, y)[axis] - self.pointed[axis])
            for _ in range(abs(steps)):
                self.page.keyboard.press(f"Control+Shift+{more if steps > 0 else less}")
            self.pointed[axis] += steps

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def state(self) -> list[str]:
        return self.page.locator("#image-state .badge").all_inner_texts()

    def save(self) -> None:
        self.press("s")
        self.reaches(lambda: "not saved" not in self.state())

    def reaches(self, condition) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, (self.state(), self.page.inner_text("#notice"))
            self.page.wait_for_timeout(20)

    def decisions(self) -> list[tuple[str, str, str]]:
        return [(decision.id, decision.verdict, decision.what) for decision in read_log(self.run)]

    def decided(self, count: int) -> list[tuple[str, str, str]]:
        """Wait for this number of decisions."""
        self.reaches(lambda: len(self.decisions()) >= count)
        return self.decisions()

    def labels(self, id: str) -> np.ndarray:
        """The label map in use."""
        own = self.run / f"SegmentationClass/{id}.png"
        return read_labels(Corrections(self.run).mask(id, own))

    def colours(self) -> np.ndarray:
        """int (H, W, 3), what is seen of the stage."""
        return np.asarray(Image.open(io.BytesIO(self.page.locator("#stage").screenshot())).convert("RGB")).astype(int)


@pytest.fixture
def start():
    """Start servers, which end after the windows."""
    with ExitStack() as stack:
        yield lambda run, **options: stack.enter_context(serving(run, **options))


@pytest.fixture(scope="module")
def window(browser):
    """A window that the tests use one after the other; another one takes a second to open."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    yield context.new_page()
    context.close()


@pytest.fixture
def sit(browser, window, start):
    """Open a server's page; at the end nothing may be on the console and nothing asked of anybody else.

    The first one without options is the common window.
    """
    trouble: list[str] = []
    contexts = []
    used = []

    def sit(server, expect: str = "", **options) -> Desk:
        if options or used:
            contexts.append(browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options}))
            page = contexts[-1].new_page()
        else:
            page = window
            used.append(page)
        own = (server.address.split("?")[0], "data:")
        handlers = {
            "console": lambda m: None if expect and expect in m.text else trouble.append(m.text),
            "pageerror": lambda error: trouble.append(str(error)),
            "request": lambda r: None if r.url.startswith(own) else trouble.append(r.url),
        }
        for event, handle in handlers.items():
            page.on(event, handle)
            used.append((page, event, handle))
        page.goto(server.address)
        page.wait_for_selector("#cards > li, #nothing:not([hidden]), #notice.bad")
        return Desk(page, server.session.run)

    yield sit
    for context in contexts:
        context.close()
    for page, event, handle in used[1:]:
        if page is window:
            page.remove_listener(event, handle)
    window.unroute_all()
    window.once("dialog", accept := lambda dialog: dialog.accept())  # of what was not saved
    window.goto("about:blank")
    with suppress(KeyError, ValueError):
        window.remove_listener("dialog", accept)
    assert trouble == []


@pytest.fixture
def run(tmp_path):
    return pets(tmp_path / "run")


@pytest.fixture
def server(run, start):
    return start(run, by="anna")


@pytest.fixture
def desk(sit, server):
    return sit(server)


@pytest.fixture(scope="module")
def toyland(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toyland") / "run"
    data = ws.open_dataset("toyland", split="val", images=1, labels="none", difficulty="hard")
    ws.generate(data, out=folder, models="tiny", device="cpu", progress=False)
    return folder


def names(desk) -> list[str]:
    return desk.page.locator(".card-name").all_inner_texts()


def address(desk) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(desk.page.url).fragment))


# -- the list


def test_the_list_shows_every_image_and_hides_the_token(desk):
    assert names(desk) == ["c", "a", "b"]
    assert "token" not in desk.page.url
    desk.page.evaluate("Promise.all([...document.querySelectorAll('.frame img')].map(image => image.decode()))")
    assert desk.page.inner_text("#progress") == "0 of 3 reviewed"
    desk.page.reload()  # with the cookie only
    desk.page.wait_for_selector("#cards > li")
    assert all(cookie["httpOnly"] and cookie["sameSite"] == "Strict" for cookie in desk.page.context.cookies())


def test_filters_are_in_the_address(desk):
    desk.page.select_option("#order", "id")
    desk.reaches(lambda: names(desk) == ["a", "b", "c"])
    desk.page.fill("#name", "B")
    desk.reaches(lambda: names(desk) == ["b"])
    desk.reaches(lambda: address(desk) == {"order": "id", "name": "B"})
    desk.page.reload()
    desk.reaches(lambda: names(desk) == ["b"])
    desk.page.fill("#name", "nothing")
    desk.page.wait_for_selector("#nothing:not([hidden])")
    desk.page.fill("#name", "")
    desk.page.select_option("#state", "reviewed")
    desk.page.wait_for_selector("#nothing:not([hidden])")


def test_the_list_by_keyboard(desk):
    focused = "document.activeElement.dataset.id"
    assert desk.page.evaluate(focused) == "c"
    desk.press("ArrowRight", "ArrowRight", "ArrowLeft")
    assert desk.page.evaluate(focused) == "a"
    desk.press("x")
    assert desk.decided(1) == [("a", "rejected", "rejected")]
    desk.page.wait_for_selector("button.card.rejected[data-id=a]")
    assert desk.page.evaluate(focused) == "a"
    desk.press("a")
    desk.decided(2)
    desk.press("o")
    desk.decided(3)
    desk.press("u")
    assert desk.decided(4)[-1] == ("a", "accepted", "undone")
    desk.press("Enter")
    desk.drawn("a")
    desk.press("Escape")
    until(desk.page, f"{focused} === 'a'")
    assert desk.page.inner_text("#progress") == "1 of 3 reviewed"


def test_hostile_names_are_shown_as_text(sit, start, tmp_path):
    server = start(write_run(tmp_path / "run", tmp_path / "photos"))
    desk = sit(server)
    assert set(label_maps()) < set(names(desk))
    assert "not an image <script>alert(3)</script>" in desk.page.locator(".fault").all_inner_texts()
    desk.page.select_option("#state", "failed")
    desk.reaches(lambda: len(names(desk)) == 1)
    desk.page.locator("button.card").click()
    desk.reaches(lambda: desk.page.inner_text("#stage-line") == "not an image <script>alert(3)</script>")
    assert desk.page.is_disabled("#accept")
    desk.press("Escape")
    desk.page.select_option("#state", "all")
    desk.reaches(lambda: NOISE in names(desk))
    desk.page.locator("button.card", has_text="noise").click()
    desk.drawn(NOISE)
    assert desk.page.locator("#facts").inner_text().count("<i>") == 1
    assert "</script>" in desk.page.inner_text("#classes")
    desk.press("b")
    desk.click(5, 5)
    desk.press("a")
    assert desk.decided(1)[0][:2] == (NOISE, "accepted")


@pytest.mark.slow
def test_ten_thousand_images(sit, start, tmp_path):
    ids = [f"{i // 1000:04}/image_{i:08}" for i in range(10_000)]
    run = pets(tmp_path / "run", ids=(ids[0],))
    write_records(run / "manifest.jsonl", ids, fingerprint({"a": 1}))
    server = start(run)
    desk = sit(server, expect=FAILED_REQUEST)  # only one of them has files
    assert desk.page.inner_text("#place") == "1–60 of 10000"
    assert len(names(desk)) == 60
    desk.press("PageDown")
    desk.reaches(lambda: desk.page.inner_text("#place") == "61–120 of 10000")
    desk.page.fill("#name", "00009999")
    desk.reaches(lambda: names(desk) == ["0009/image_00009999"])
    desk.reaches(lambda: "cannot be read" in desk.page.locator(".fault").first.inner_text())


def test_the_progress_follows_the_decisions(desk):
    desk.page.locator("button.card[data-id=b]").focus()
    desk.press("x")
    desk.reaches(lambda: desk.page.inner_text("#progress") == "1 of 3 reviewed")
    assert desk.page.locator("#state option[value=rejected]").inner_text() == "rejected (1)"


def test_new_images_appear_on_reload(desk):
    line = (desk.run / "manifest.jsonl").read_text("utf-8").splitlines()[0].replace('"id":"a"', '"id":"new"')
    for folder, suffix in (("SegmentationClass", "png"), ("Confidence", "png"), ("JPEGImages", "jpg")):
        shutil.copy(desk.run / folder / f"a.{suffix}", desk.run / folder / f"new.{suffix}")
    (desk.run / ".work").mkdir(exist_ok=True)
    (desk.run / ".work/0000.jsonl").write_text(line + "\n", "utf-8")
    desk.page.wait_for_selector("#reload.news")
    desk.press("r")
    desk.reaches(lambda: "new" in names(desk))


# -- verdicts


@BOTH
def test_verdicts(desk, by):
    desk.open("c")

    def act(id, key):
        if by == "mouse":
            desk.page.click(f"#{id}")
        else:
            desk.press(key)

    act("accept", "a")
    desk.drawn("a")
    act("reject", "x")
    desk.drawn("b")
    assert desk.decided(2) == [("c", "accepted", "accepted"), ("a", "rejected", "rejected")]
    act("previous", "ArrowLeft")
    desk.drawn("a")
    desk.reaches(lambda: desk.state() == ["rejected"])
    act("reopen", "o")
    assert desk.decided(3)[-1] == ("a", "open", "reopened")
    desk.reaches(lambda: desk.state() == [])
    act("next", "ArrowRight")
    desk.drawn("b")
    assert desk.page.inner_text("#image-place") == "3 of 3"
    act("close", "Escape")
    desk.reaches(lambda: desk.page.inner_text("#progress") == "1 of 3 reviewed")
    assert Corrections(desk.run).reviewed == {"c"}


@BOTH
def test_undo_takes_the_last_decision_back(desk, by):
    desk.open("c")
    desk.press("x")
    desk.drawn("a")
    if by == "mouse":
        desk.page.click("#undo")
    else:
        desk.press("Control+z")
    desk.drawn("c")
    assert desk.decided(2)[-1] == ("c", "open", "undone")
    assert Corrections(desk.run).rejected == frozenset()


def test_several_decisions_about_an_image_are_undone_one_by_one(desk):
    desk.page.locator("button.card[data-id=b]").focus()
    desk.press("a", "x", "u", "u")
    verdicts = [verdict for _, verdict, _ in desk.decided(4)]
    assert verdicts == ["accepted", "rejected", "accepted", "open"]


def test_undo_does_not_renew_a_verdict_that_has_lapsed(desk):
    """The acceptance was about another mask."""
    desk.page.locator("button.card[data-id=b]").focus()
    desk.press("a")
    desk.decided(1)
    Image.fromarray(np.full(desk.own("b").shape, 2, np.uint8)).save(desk.run / "SegmentationClass/b.png")
    desk.press("x", "u")
    assert desk.decided(3)[-1] == ("b", "open", "undone")
    assert Corrections(desk.run).reviewed == frozenset()


def test_a_key_that_is_held_down_is_one_verdict(desk):
    desk.open("c")
    desk.page.keyboard.down("a")
    desk.drawn("a")
    for _ in range(3):
        desk.page.keyboard.down("a")
    desk.page.keyboard.up("a")
    desk.press("x")
    desk.drawn("b")
    assert desk.decided(2) == [("c", "accepted", "accepted"), ("a", "rejected", "rejected")]


# -- corrections


@BOTH
@pytest.mark.parametrize("label", [pytest.param(0, marks=pytest.mark.slow), 2, 255])
def test_a_region_gets_a_class(desk, by, label):
    desk.open("a")
    desk.press("g")
    if by == "mouse":
        desk.page.click(f"#classes [data-label='{label}']")
        desk.click(3.5, 20.5)
    else:
        desk.press("i" if label == 255 else str(label))
        desk.point(3.5, 20.5)
        desk.press(" ")
    desk.save()
    want = desk.own("a")
    want[want == 1] = label
    assert np.array_equal(desk.labels("a"), want)
    name = {0: "background", 2: "dog", 255: "ignore"}[label]
    assert desk.decisions() == [("a", "open", f"region cat → {name}")]
    assert desk.state() == ["corrected"]


def disc(shape, x, y, diameter):
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    return (columns - x) ** 2 + (rows - y) ** 2 <= (diameter / 2) ** 2


@BOTH
@pytest.mark.parametrize(("tool", "key", "label"), [("brush", "b", 2), ("eraser", "e", 0)])
def test_brush_and_eraser(desk, by, tool, key, label):
    desk.open("a")
    if by == "mouse":
        desk.page.click(f"[data-tool={tool}]")
        desk.page.click("#classes [data-label='2']")
        desk.page.locator("#size").fill("8")
        desk.click(8, 20)
    else:
        desk.press(key, "2", "[")
        desk.point(8, 20)
        desk.press(" ")
    assert desk.page.inner_text("#size-value") == "8"
    desk.save()
    want = desk.own("a")
    want[disc(want.shape, 8, 20, 8)] = label
    got = desk.labels("a")
    assert (got != want).sum() <= 4  # the mouse points to a fraction of a pixel
    assert (got != desk.own("a")).sum() > 40


def test_a_stroke_is_one_step_without_gaps(desk):
    desk.open("a")
    desk.press("b", "2", "[", "[", "[")
    desk.drag((22, 25), (38, 25), (38, 28))
    desk.press("u")
    desk.reaches(lambda: desk.state() == [])
    desk.press("Control+y")
    desk.save()
    changed = desk.labels("a") != desk.own("a")
    assert changed[25, 22:38].all()
    assert not changed[:20].any()
    assert desk.decisions()[0][2] == "brush dog"


@BOTH
def test_undo_redo_and_discard(desk, by):
    desk.open("a")
    desk.press("g", "2")
    desk.click(3.5, 20.5)
    assert desk.state() == ["not saved"]

    def act(id, key):
        if by == "mouse":
            desk.page.click(f"#{id}")
        else:
            desk.press(key)

    act("undo", "u")
    assert desk.state() == []
    act("redo", "Control+Shift+Z")
    assert desk.state() == ["not saved"]
    act("discard", "d")
    assert desk.state() == []
    act("undo", "Control+z")
    assert desk.state() == ["not saved"]
    act("save", "Control+s")
    desk.reaches(lambda: desk.state() == ["corrected"])
    assert (desk.labels("a") == 2).sum() > 500
    assert len(desk.decisions()) == 1


@BOTH
def test_copying_from_another_run(sit, start, run, tmp_path, by):
    other = pets(tmp_path / "other", shift=7)
    server = start(run, other=other)
    desk = sit(server)
    desk.open("a")
    if by == "mouse":
        desk.page.click("[data-tool=copy]")
        desk.click(30, 20)
    else:
        desk.press("c")
        desk.point(30, 20)
        desk.press(" ")
    desk.reaches(lambda: "not saved" in desk.state())
    desk.save()
    theirs = read_labels(other / "SegmentationClass/a.png")
    assert np.array_equal(desk.labels("a"), np.where(theirs == 2, 2, desk.own("a")))
    if by == "mouse":
        desk.page.click("#copy-all")
    else:
        desk.press("Shift+C")
    desk.reaches(lambda: "not saved" in desk.state())
    desk.save()
    assert np.array_equal(desk.labels("a"), theirs)
    assert [what for _, _, what in desk.decisions()] == ["region dog from other", "mask from other"]


# -- SAM


def proposed(desk) -> None:
    desk.reaches(lambda: desk.page.inner_text("#prompt-line").startswith("candidate"))


@BOTH
def test_sam_proposes_the_mask_of_a_click(sit, start, toyland, tmp_path, by):
    """The mask that is taken is that of the run's own SAM, to the last pixel."""
    run = shutil.copytree(toyland, tmp_path / "run")
    server = start(run, device="cpu")
    desk = sit(server)
    id = names(desk)[0]
    desk.open(id)
    height, width = desk.shape
    x, y = width // 2, height // 2
    if by == "mouse":
        desk.page.click("[data-tool=sam]")
        desk.reaches(lambda: desk.page.inner_text("#prompt-line") == "click on the object, or drag a box")
        desk.click(x + 0.5, y + 0.5)
    else:
        desk.press("m")
        desk.point(x + 0.5, y + 0.5)
        desk.press(" ")
    proposed(desk)
    assert "of 3" in desk.page.inner_text("#prompt-line")
    if by == "mouse":
        desk.page.click("#candidate")
        desk.page.click("#classes [data-label='12']")
        desk.page.click("#take")
    else:
        desk.press("t", "1", "2", "Enter")
    desk.save()
    sam = ModelSet("tiny", "cpu").sam
    embedding = sam.embed(server.session.image(id))
    place = desk.pointed or [x + 0.5, y + 0.5]
    found = sam.decode_prompt(embedding, np.array([place]), np.array([True]))
    second = found.iou[0].argsort(descending=True)[1]
    mask = (sam.logits(embedding, found.low_res)[0, second] > 0).numpy()
    want = np.where(mask, 12, desk.own(id))
    assert mask.any()
    assert (desk.labels(id) != want).mean() < (0.01 if by == "mouse" else 1e-9)
    assert desk.decisions()[0][2] == "SAM umbrella"


@pytest.mark.slow
@BOTH
def test_sam_with_a_box_and_a_point_beside_the_object(sit, start, toyland, tmp_path, by):
    run = shutil.copytree(toyland, tmp_path / "run")
    sent = []
    server = start(run, device="cpu")
    desk = sit(server)
    desk.page.on("request", lambda r: sent.append(r.post_data_json) if r.url.endswith("/api/segment") else None)
    id = names(desk)[0]
    desk.open(id)
    height, width = desk.shape
    box = (width // 4, height // 4, 3 * width // 4, 3 * height // 4)
    desk.press("m")
    if by == "mouse":
        desk.drag(box[:2], box[2:])
    else:
        desk.point(*box[:2])
        desk.press("v")
        desk.point(*box[2:])
        desk.press("v")
    proposed(desk)
    assert "1 of 1" in desk.page.inner_text("#prompt-line")
    assert sent[-1]["box"] == pytest.approx(box, abs=1)
    if by == "mouse":
        desk.click(width / 2, height / 2, modifiers=["Alt"])
        desk.reaches(lambda: len(sent) == 2)
        desk.click(width / 3, height / 3, button="right")
    else:
        desk.point(width // 2, height // 2)
        desk.press("Alt+ ")
        desk.reaches(lambda: len(sent) == 2)
        desk.point(width // 3, height // 3)
        desk.press("n", " ")
    desk.reaches(lambda: len(sent) == 3)
    assert sent[-1]["positive"] == [False, False]
    proposed(desk)
    desk.press("Backspace")
    desk.reaches(lambda: len(sent) == 4)
    assert (len(sent[-1]["points"]), sent[-1]["box"] is None) == (1, False)
    if by == "mouse":
        desk.page.click("#drop")
    else:
        desk.press("Escape")
    assert desk.state() == []
    assert desk.title == id


def test_a_run_without_sam_says_so(sit, server):
    desk = sit(server, expect=FAILED_REQUEST)
    desk.open("a")
    desk.press("m")
    desk.reaches(lambda: "--sam NAME" in desk.page.inner_text("#prompt-line"))
    desk.press("g", "2")
    desk.click(3.5, 20.5)
    desk.save()


# -- nothing is lost


@BOTH
def test_the_next_image_saves_this_one(desk, by):
    desk.open("a")
    desk.press("g", "2")
    desk.click(3.5, 20.5)
    if by == "mouse":
        desk.page.click("#next")
    else:
        desk.press("ArrowRight")
    desk.drawn("b")
    assert (desk.labels("a") == 2).sum() > 500
    desk.press("g", "2")
    desk.click(3.5, 20.5)
    desk.press("Escape")
    desk.page.wait_for_selector("#grid-screen:not([hidden])")
    assert [id for id, _, _ in desk.decisions()] == ["a", "b"]


def test_the_next_image_ends_a_stroke(desk):
    """It is saved as far as it was painted, and no part of it reaches the next image."""
    desk.open("a")
    desk.press("b", "2")
    desk.page.mouse.move(*desk.at(3.5, 20.5))
    desk.page.mouse.down()
    desk.page.mouse.move(*desk.at(8.5, 20.5), steps=4)
    desk.press("ArrowRight")
    desk.drawn("b")
    desk.page.mouse.move(*desk.at(8.5, 5.5), steps=4)
    desk.page.mouse.up()
    assert desk.state() == []
    assert (desk.labels("a") == 2).sum() > (desk.own("a") == 2).sum()
    assert [id for id, _, _ in desk.decisions()] == ["a"]


def slowed(desk) -> list:
    """Hold decisions back until they are let through."""
    held = []
    desk.page.route("**/api/decide", lambda route: held.append(route))
    return held


def test_what_changes_while_it_is_being_saved_is_not_taken_for_saved(desk):
    desk.open("a")
    desk.press("g", "2")
    desk.click(3.5, 20.5)
    held = slowed(desk)
    desk.press("s")
    desk.reaches(lambda: held)
    desk.press("u", "0")
    desk.click(3.5, 20.5)
    held[0].continue_()
    desk.page.unroute("**/api/decide")
    desk.reaches(lambda: desk.state() == ["corrected", "not saved"])
    desk.press("ArrowRight")
    desk.drawn("b")
    assert len(desk.decisions()) == 2
    assert not (desk.labels("a") == 1).any()
    assert (desk.labels("a") == 2).sum() == (desk.own("a") == 2).sum()


def test_what_changes_while_the_next_image_is_awaited_is_saved_too(desk):
    desk.open("a")
    desk.press("g", "2")
    desk.click(3.5, 20.5)
    held = slowed(desk)
    desk.press("ArrowRight")
    desk.reaches(lambda: held)
    desk.press("0")
    desk.click(3.5, 20.5)
    held[0].continue_()
    desk.page.unroute("**/api/decide")
    desk.drawn("b")
    assert len(desk.decisions()) == 2
    assert not (desk.labels("a") == 1).any()
    assert (desk.labels("a") == 2).sum() == (desk.own("a") == 2).sum()


def test_leaving_the_page_warns(desk):
    desk.open("a")
    desk.press("g", "2")
    desk.click(3.5, 20.5)
    asked = []

    def stay(dialog):
        asked.append(dialog.type)
        dialog.dismiss()

    desk.page.once("dialog", stay)
    desk.page.evaluate("setTimeout(() => location.reload())")
    desk.reaches(lambda: asked == ["beforeunload"])
    assert desk.state() == ["not saved"]
    desk.save()
    desk.page.reload()
    desk.drawn("a")
    assert asked == ["beforeunload"]


def test_the_way_back_of_the_browser_saves(desk):
    desk.open("a")
    desk.press("g", "2")
    desk.click(3.5, 20.5)
    desk.page.go_back()
    desk.page.wait_for_selector("#grid-screen:not([hidden])")
    assert len(desk.decisions()) == 1


@pytest.mark.parametrize("choice", ["theirs", "mine", "keep"])
def test_two_windows(sit, server, choice):
    desk, other = sit(server, expect=FAILED_REQUEST), sit(server)
    for window, label in ((desk, "2"), (other, "0")):
        window.open("a")
        window.press("g", label)
        window.click(3.5, 20.5)
    other.page.fill("#by", "berta", force=True) if other.page.is_visible("#by") else other.page.evaluate(
        "document.getElementById('by').value = 'berta'"
    )
    other.save()
    desk.press("s")
    desk.page.wait_for_selector("#conflict[open]")
    assert "a: berta has changed it in the meantime (region cat → background)" in desk.page.inner_text("#conflict-line")
    if choice == "keep":
        desk.press("Escape")
        assert desk.state()[-1] == "not saved"
        desk.press("ArrowRight")  # asks again, and stays
        desk.page.wait_for_selector("#conflict[open]")
        assert desk.title == "a"
        assert len(desk.decisions()) == 1
    elif choice == "theirs":
        desk.page.click("#theirs")
        desk.drawn("a")
        desk.reaches(lambda: desk.state() == ["corrected"])
        assert not (desk.labels("a") == 1).any()
        assert len(desk.decisions()) == 1
    else:
        desk.page.click("#mine")
        desk.reaches(lambda: desk.state() == ["corrected"])
        assert (desk.labels("a") == 2).sum() > 500
        assert len(desk.decisions()) == 2


def rejected_by_berta(desk, id: str) -> None:
    with CorrectionLog(desk.run, ("background", "cat", "dog"), [(0, 0, 0)] * 256, "berta") as log:
        log.decide(id, revision=0, verdict="rejected", what="too dark")


def test_a_verdict_in_the_list_is_about_what_the_list_shows(sit, server):
    desk = sit(server, expect=FAILED_REQUEST)
    desk.page.locator("button.card[data-id=b]").focus()
    desk.page.route("**/api/changes*", lambda route: route.fulfill(json={"decisions": 0, "ids": [], "grown": False}))
    rejected_by_berta(desk, "b")
    desk.press("a")
    desk.reaches(lambda: "berta has changed it in the meantime" in desk.page.inner_text("#notice"))
    desk.reaches(lambda: "rejected" in desk.page.inner_text("button.card[data-id=b]"))
    desk.press("a")
    assert [verdict for _, verdict, _ in desk.decided(2)] == ["rejected", "accepted"]


def test_undoing_mine_brings_theirs_back(sit, server):
    desk = sit(server, expect=FAILED_REQUEST)
    desk.open("a")
    desk.page.route("**/api/changes*", lambda route: route.fulfill(json={"decisions": 0, "ids": [], "grown": False}))
    rejected_by_berta(desk, "a")
    desk.press("a")
    desk.page.wait_for_selector("#conflict[open]")
    desk.page.click("#mine")
    desk.decided(2)
    desk.reaches(lambda: desk.state() == ["accepted"])
    desk.press("u")
    assert [verdict for _, verdict, _ in desk.decided(3)] == ["rejected", "accepted", "rejected"]


def test_a_window_learns_what_others_decided(desk):
    desk.open("a")
    rejected_by_berta(desk, "a")
    desk.reaches(lambda: desk.state() == ["rejected"])
    assert "too dark berta" in desk.page.inner_text("#history").replace("\n", " ")


@BOTH
def test_history_restores_any_state(desk, by):
    desk.open("a")
    desk.press("g", "2")
    desk.click(3.5, 20.5)
    desk.save()
    first = desk.labels("a")
    desk.press("0")
    desk.click(3.5, 20.5)
    desk.save()
    entries = desk.page.locator("#history li")
    desk.reaches(lambda: entries.count() == 3)
    texts = ["region dog → background", "region cat → dog", "as generated restore"]
    assert [" ".join(entry.split(" anna")[0].split()) for entry in entries.all_inner_texts()] == texts
    assert entries.nth(0).locator("button").is_disabled()

    def restore(k):
        if by == "mouse":
            entries.nth(k).locator("button").click()
        else:
            entries.nth(k).locator("button").press("Enter")

    restore(1)
    desk.decided(3)
    assert np.array_equal(desk.labels("a"), first)
    desk.reaches(lambda: entries.count() == 4)
    desk.drawn("a")
    restore(3)
    desk.decided(4)
    assert np.array_equal(desk.labels("a"), desk.own("a"))


def test_a_mask_that_another_program_changed(desk):
    desk.open("a")
    desk.press("a")
    desk.drawn("b")
    path = desk.run / "SegmentationClass/a.png"
    Image.fromarray(np.full(desk.own("a").shape, 2, np.uint8)).save(path)
    desk.press("ArrowLeft")
    desk.drawn("a")
    assert desk.state() == ["outdated", "accepted"]
    assert "has changed since anna reviewed it" in desk.page.inner_text("#facts")
    desk.press("o")
    desk.decided(2)
    desk.reaches(lambda: "by another program since it was generated" in desk.page.inner_text("#facts"))


def test_what_cannot_be_read_is_a_line(sit, server, run):
    (run / "JPEGImages/a.jpg").write_bytes(b"no image")
    desk = sit(server, expect=FAILED_REQUEST)
    desk.reaches(lambda: "not an image" in desk.page.inner_text("button.card[data-id=a]"))
    desk.page.locator("button.card[data-id=a]").click()
    desk.reaches(lambda: "not an image" in desk.page.inner_text("#stage-line"))
    assert desk.page.is_disabled("#accept")
    desk.press("a", "b", "s", "ArrowRight")
    desk.drawn("b")
    assert desk.decisions() == []


def test_a_server_that_is_gone_costs_nothing(sit, start, run):
    server = start(run)
    desk = sit(server, expect=FAILED_REQUEST)
    desk.open("a")
    desk.press("g", "2")
    desk.click(3.5, 20.5)
    server.stop()
    desk.page.wait_for_timeout(300)
    desk.press("s")
    desk.reaches(lambda: "is not responding" in desk.page.inner_text("#notice"))
    assert desk.state() == ["not saved"]


# -- what is shown


@BOTH
def test_opacity_outlines_confidence_and_boxes(sit, start, toyland, tmp_path, by):
    server = start(shutil.copytree(toyland, tmp_path / "run"))
    desk = sit(server)
    desk.open(names(desk)[0])
    desk.press("h")
    seen = [desk.colours()]

    def act(id, key):
        if by == "mouse":
            desk.page.click(f"#{id}")
        else:
            desk.press(key)
        desk.page.wait_for_timeout(150)
        seen.append(desk.colours())
        assert (seen[-1] != seen[-2]).any(), id

    act("outlines", "l")
    act("boxes", "y")
    if by == "mouse":
        desk.page.locator("#opacity").fill("100")
    else:
        desk.press(*"....." * 2)
    desk.page.wait_for_timeout(150)
    seen.append(desk.colours())
    assert (seen[-1] != seen[-2]).any()
    act("confidence", "k")
    inner = desk.colours()[300:400, 300:600]
    assert (inner.max(-1) == inner.min(-1)).all()  # grey
    boxes = server.session.detail(desk.title)["boxes"]
    items = desk.page.locator("#box-list li").all_inner_texts()
    assert items == [
        f"{box['cls']} {box['final']:.2f} "
        + {"confident": "painted", "ambiguous": "ambiguous", "dropped": "dropped"}[box["role"]]
        + f": {box['why']}"
        for box in boxes
    ]
    assert any(box["role"] == "dropped" for box in boxes)


@BOTH
@pytest.mark.parametrize("turns", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3))])
def test_a_turned_view_changes_the_same_pixels(sit, server, by, turns):
    """The corner of the stored image at the top right, one pixel of 255, lies where the turn puts it."""
    desk = sit(server)
    desk.open("a")
    desk.press("b", "2", *["["] * 12)
    stage = desk.page.locator("#stage").bounding_box()
    for _ in range(turns):
        if by == "mouse":
            desk.page.click("#rotate")
        else:
            desk.press("r")
    desk.page.wait_for_timeout(150)
    height, width = desk.shape if turns == 2 else desk.shape[::-1]
    scale = min((stage["width"] - 16) / width, (stage["height"] - 16) / height)
    u, v = {1: (width - 0.5, height - 0.5), 2: (0.5, height - 0.5), 3: (0.5, 0.5)}[turns]
    if by == "mouse":
        x = stage["x"] + (stage["width"] - width * scale) / 2 + u * scale
        y = stage["y"] + (stage["height"] - height * scale) / 2 + v * scale
        desk.page.mouse.click(x, y)
    else:
        for key, count in (
            ("ArrowRight" if u > 1 else "ArrowLeft", width),
            ("ArrowDown" if v > 1 else "ArrowUp", height),
        ):
            for _ in range(count):
                desk.press(f"Control+Shift+{key}")
        desk.press(" ")
    desk.save()
    assert np.argwhere(desk.labels("a") != desk.own("a")).tolist() == [[0, 39]]
    seen = desk.colours()[int(v * scale + (stage["height"] - height * scale) / 2)]
    assert seen.std() > 0


def test_every_key_of_the_overlay_is_listed(desk):
    desk.press("?")
    desk.page.wait_for_selector("#help[open]")
    keys = desk.page.locator("#key-lists dt").all_inner_texts()
    assert {"a", "x", "Space", "Enter", "Shift+C", "PageUp, PageDown"} <= set(keys)
    desk.press("a")  # nothing is judged behind it
    desk.press("Escape")
    assert desk.decisions() == []
    desk.page.click(".help-button >> visible=true")
    desk.page.wait_for_selector("#help[open]")


def test_keys_in_fields_are_text(desk):
    desk.page.fill("#by", "")
    desk.page.locator("#by").press_sequentially("xa")
    assert desk.page.input_value("#by") == "xa"
    assert desk.decisions() == []
    desk.open("a")
    desk.press("a")
    desk.decided(1)
    assert next(read_log(desk.run)).by == "xa"


def test_classes_by_number_and_by_name(sit, start, toyland, tmp_path):
    server = start(shutil.copytree(toyland, tmp_path / "run"))
    desk = sit(server)
    desk.open(names(desk)[0])
    chosen = "document.querySelector('#classes [aria-pressed=true]').dataset.label"
    desk.press("1", "2")
    assert desk.page.evaluate(chosen) == "12"
    desk.page.wait_for_timeout(900)
    desk.press("3")
    assert desk.page.evaluate(chosen) == "3"
    desk.press("/")
    desk.page.keyboard.type("umb")
    desk.press("Enter")
    assert desk.page.evaluate(chosen) == "12"
    assert desk.page.evaluate("document.activeElement.id") == "stage"


@pytest.fixture
def wide(tmp_path) -> Path:
    """An image of 4000 x 3000 pixels."""
    labels = np.zeros((3000, 4000), np.uint8)
    labels[500:2500, 1000:3000] = 1
    image = np.kron(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8), np.ones((100, 100, 1), np.uint8))
    with RunFolder(tmp_path / "run", PETS, {"a": 1}) as run:
        seed = Seed(labels, np.ones(labels.shape, np.float32), (0,), {0: 0.9}, {}, ())
        run.save(Sample("wide"), image, seed, 0.0)
        run.finalize(["wide"])
    return tmp_path / "run"


@pytest.mark.slow
def test_an_image_of_twelve_megapixels(sit, start, wide):
    server = start(wide)
    desk = sit(server)
    desk.open("wide")
    desk.press("g", "2")
    desk.click(2000, 1500)
    desk.reaches(lambda: "not saved" in desk.state())
    desk.page.mouse.move(*desk.at(3500, 300))
    for _ in range(8):
        desk.page.mouse.wheel(0, -240)  # towards the pixel under the pointer, which stays
    desk.page.wait_for_timeout(200)
    desk.press("b", "[", "[", "[", "[", "[", "[", "[", "[", "[", "[")
    assert desk.page.inner_text("#size-value") == "1"
    desk.page.mouse.down()
    desk.page.mouse.up()
    desk.press("f")
    desk.save()
    got = desk.labels("wide")
    want = np.where(desk.own("wide") == 1, 2, 0)
    changed = np.argwhere(got != want)
    assert 1 <= len(changed) <= 2
    assert np.abs(changed - (300, 3500)).max() <= 5  # at first, a pixel of the screen is 4.7 of the image


# -- touch


def touch(desk, kind: str, *places: tuple[float, float]) -> None:
    desk.touches = desk.touches or desk.page.context.new_cdp_session(desk.page)
    points = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(places)]
    desk.touches.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})


def test_touch(sit, server):
    desk = sit(server, viewport={"width": 420, "height": 800}, has_touch=True, is_mobile=True)
    assert desk.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    desk.page.locator("button.card[data-id=a]").tap()
    desk.drawn("a")
    assert desk.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    desk.page.locator("[data-tool=brush]").tap()
    desk.press("2")
    start, middle = desk.at(5, 20), desk.at(15, 20)
    touch(desk, "Start", start)
    touch(desk, "Move", middle)
    touch(desk, "End")
    assert desk.state() == ["not saved"]
    before = desk.colours()
    touch(desk, "Start", start)  # two fingers enlarge and leave the mask as it is
    touch(desk, "Start", start, middle)
    touch(desk, "Move", (start[0] - 40, start[1] - 40), (middle[0] + 40, middle[1] + 40))
    touch(desk, "End")
    desk.page.wait_for_timeout(200)
    assert (desk.colours() != before).mean() > 0.1
    desk.page.locator("#fit").tap()
    desk.page.locator("[data-tool=region]").tap()
    desk.page.locator("#classes [data-label='0']").tap()
    desk.page.locator("#stage").scroll_into_view_if_needed()
    desk.page.touchscreen.tap(*desk.at(30, 10))
    desk.page.locator("#accept").tap()
    ((id, verdict, what),) = desk.decided(1)
    assert (id, verdict, what) == ("a", "accepted", "accepted: brush dog, region dog → background")
    changed = desk.labels("a")
    assert (changed[18:22, 6:15] == 2).all()
    assert (changed[5:15, 25:35] == 0).all()
    assert (changed[27:] != 2).all()
