"""Runs on object storage, a real S3 server on loopback: processes leave there what they leave in a folder."""

from __future__ import annotations

import io
import json
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from tests.io.object_storage import bucket, s3, s3_server  # noqa: F401
from tests.run import killed_runs as runs
from tests.run.painted import CLASSES, NearestColour, Painted, paint
from wsss_seed.data.base import Sample
from wsss_seed.data.images import read_rgb
from wsss_seed.data.lists import Listed
from wsss_seed.errors import DataError, RunFolderError
from wsss_seed.io.source import Source, location
from wsss_seed.output import leases
from wsss_seed.output.fetch import fetch
from wsss_seed.output.leases import Leases, Worker
from wsss_seed.output.manifest import Manifest
from wsss_seed.output.merge import merge
from wsss_seed.output.run_folder import existing_run, mask_path
from wsss_seed.output.status import status
from wsss_seed.output.verify import repair, verify
from wsss_seed.run.generate import generate

fsspec = pytest.importorskip("fsspec")

IMAGES = 12


def seed(out: Path | Source, images: int = IMAGES, broken: tuple[int, ...] = (), contest: float = 20.0, **options):
    seeder = NearestColour(contest)
    return generate(Painted(images, broken), seeder, out, settings=seeder.settings, **options)


def files(run: Source) -> dict[str, bytes]:
    """Contents of the masks, confidence maps, lists and names of a run."""
    return {name: (run / name).read_bytes() for name in run.files() if name.endswith((".png", ".txt"))}


def local_files(run: Path) -> dict[str, bytes]:
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.suffix in (".png", ".txt")
    }


def masks(run: Source) -> int:
    return sum(name.startswith("SegmentationClass/") for name in run.files())


@pytest.fixture
def run(bucket: str) -> Source:  # noqa: F811
    return Source(f"{bucket}/runs/first")


def test_a_run_is_as_in_a_folder(run, tmp_path):
    result = seed(run, broken=(3,))
    assert (result.made, len(result.failed), result.finalized, result.exit_status) == (IMAGES - 1, 1, True, 1)
    seed(tmp_path / "local", broken=(3,))
    assert files(run) == local_files(tmp_path / "local")
    with Manifest(run) as there, Manifest(tmp_path / "local") as here:
        assert [*there] == [*here]
        for id, record in there.items():
            assert (record.status, record.present, record.scores) == (
                here[id].status,
                here[id].present,
                here[id].scores,
            )
    assert not [name for name in run.files() if name.startswith(".work")]
    totals = [existing_run(place)["totals"] for place in (run, tmp_path / "local")]
    for total in totals:
        del total["seconds"]
    assert totals[0] == totals[1]
    again = seed(run)
    assert (again.skipped, again.made, again.failed) == (IMAGES - 1, 1, ())


def test_other_settings_are_refused_and_overwrite_starts_over(run):
    seed(run)
    before = files(run)
    with pytest.raises(RunFolderError, match=r"made with other settings: contest 20.0 -> 90.0") as error:
        seed(run, contest=90.0)
    assert str(error.value).startswith(f"{run}: ")
    assert files(run) == before
    result = seed(run, contest=90.0, overwrite=True)
    assert (result.made, result.skipped) == (IMAGES, 0)
    assert files(run) != before
    other = run.parent / "other"
    (other / "notes.txt").write_bytes(b"mine")
    with pytest.raises(RunFolderError, match="not empty and not a run folder"):
        seed(other)


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_seconds_not_masks(run, tmp_path):
    options = ("--images", "60", "--pause", "0.02")
    assert runs.finish(tmp_path / "local", *options)[0] == 0
    dice = random.Random(5)
    for _ in range(3):
        process = runs.start(run.place, *options)
        had = masks(run)
        runs.wait_for(lambda had=had: masks(run) > had + 3)
        time.sleep(dice.uniform(0, 0.5))
        process.kill()
        process.communicate()
        assert masks(run) < 60, "too late for a kill"
    status_now = status(run)
    assert (status_now.planned, status_now.workers + status_now.stale) == (60, 3)
    code, messages = runs.finish(run.place, *options)
    assert (code, messages) == (0, "")
    assert files(run) == local_files(tmp_path / "local")
    assert not [name for name in run.files() if name.startswith(".work")]
    assert status(run).complete


@pytest.mark.slow
def test_two_processes_share_a_run(run, tmp_path):
    options = ("--images", "40", "--pause", "0.05")
    assert runs.finish(tmp_path / "local", *options)[0] == 0
    processes = [runs.start(run.place, *options) for _ in range(2)]
    runs.wait_for(lambda: len([name for name in run.files() if name.endswith(".jsonl")]) == 2)
    for process in processes:
        _, messages = process.communicate()
        assert (process.returncode, messages) == (0, "")
    assert files(run) == local_files(tmp_path / "local")
    with Manifest(run) as manifest:
        assert len(manifest) == 40


@pytest.mark.slow
def test_an_image_that_kills_its_process_fails_alone(run):
    options = ("--images", "8", "--deadly", "5")
    for _ in range(3):
        assert runs.finish(run.place, *options)[0] < 0
    assert runs.finish(run.place, *options)[0] == 1
    with Manifest(run) as manifest:
        assert [id for id, record in manifest.items() if record.status != "ok"] == ["odd/0005"]
        assert len(manifest) == 8


def test_killed_runs_are_merged_verified_and_repaired(run):
    options = ("--images", "60", "--pause", "0.02")
    process = runs.start(run.place, *options)
    runs.wait_for(lambda: any(name.endswith(".done") for name in run.files()))
    process.kill()
    process.communicate()
    time.sleep(1.2)  # times there are in whole seconds
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases, "STALE", 0.05)
        merged = merge(run)
    assert merged.planned == 60
    assert 0 < merged.done < 60
    found = verify(run)
    assert (found.checked, found.wrong) == (merged.done, ())
    with Manifest(run) as manifest:
        first, second, third = [*manifest][:3]
    mask_path(run, first, "flat").unlink()
    mask_path(run, second, "flat").write_bytes(b"not a PNG")
    edited = mask_path(run, third, "flat").read_bytes()
    mask_path(run, third, "flat").write_bytes(edited + b"\0")  # behind the end of the PNG
    found = verify(run)
    assert [(id, what.partition(":")[0]) for id, what in found.wrong] == [
        (first, "its mask is missing"),
        (second, "its mask cannot be used"),
    ]
    assert found.edited == (third,)
    assert repair(found).queued == (first, second)
    result = seed(run, images=60)
    assert result.made == 60 - merged.done + 2
    assert verify(run).exit_status == 0


def test_a_copy_is_a_run_in_a_folder(run, tmp_path):
    seed(run, broken=(3,))
    copy = tmp_path / "copy"
    found = fetch(run, copy)
    assert (found.copied, found.skipped, found.failed, found.bare) == (IMAGES - 1, 0, 1, ())
    seed(tmp_path / "local", broken=(3,))
    assert local_files(copy) == local_files(tmp_path / "local")
    for path in (tmp_path / "local" / "JPEGImages").rglob("*.jpg"):
        assert (read_rgb(path) == read_rgb(copy / path.relative_to(tmp_path / "local"))).all()
    assert verify(copy).wrong == ()
    again = seed(copy)
    assert (again.skipped, again.made) == (IMAGES - 1, 1)


def test_an_interrupted_copy_resumes(run, tmp_path):
    seed(run)
    copy = tmp_path / "copy"
    fetch(run, copy)
    (copy / "manifest.jsonl").unlink()
    gone = mask_path(copy, "odd/0001", "flat")
    gone.unlink()
    mask_path(copy, "odd/0003", "flat").write_bytes(b"cut off")
    about = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(about | {"finished": None}))
    found = fetch(run, copy)
    assert (found.copied, found.skipped) == (2, IMAGES - 2)
    assert verify(copy).wrong == ()
    seed(tmp_path / "other", contest=50.0)
    with pytest.raises(RunFolderError, match=r"has a run with other settings: contest 50\.0 -> 20\.0"):
        fetch(run, tmp_path / "other")
    assert existing_run(tmp_path / "other")["finished"] is not None


def test_storage_without_conditional_writes_is_refused(run, monkeypatch):
    def overwrite(self: Source, data: bytes) -> bool:  # older servers pass over the condition
        self.write_bytes(data)
        return True

    monkeypatch.setattr(Source, "create", overwrite)
    with pytest.raises(RunFolderError, match="this object storage has no conditional writes"):
        seed(run)


def test_leases_are_taken_from_the_dead_only(run, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT", 0.2)
    monkeypatch.setattr(leases, "STALE", 3.0)
    monkeypatch.setattr(leases, "TRUST", 0.0)
    first, second = Worker(run / ".work"), Worker(run / ".work")
    mine, other = Leases(run / ".work", first), Leases(run / ".work", second)
    lease = mine.take("task")
    assert lease is not None
    time.sleep(3.5)
    assert other.take("task", [1]) is None  # it gives signs of life
    assert mine.held(lease)
    first._left.set()
    runs.wait_for(lambda: not second.alive(first.id))
    taken = other.take("task", [1])
    assert taken is not None
    assert (taken.number, [former.released for former in taken.former]) == (2, [False])
    assert not mine.held(lease)
    second.leave()


def test_no_bucket_and_images_inside_the_run_are_one_line(run, bucket):  # noqa: F811
    with pytest.raises(RunFolderError, match=r"no-such-bucket/run: cannot be written \(no such file, folder or bucket"):
        seed(Source("s3://no-such-bucket/run"))
    data = Painted(2)
    data.samples = [Sample(sample.id, source=location(f"{run.place}/x/{sample.id}.jpg")) for sample in data.samples]
    seeder = NearestColour()
    with pytest.raises(RunFolderError, match="the dataset's images lie in this folder"):
        generate(data, seeder, run, settings=seeder.settings)
    assert not run.exists()


class Expiring(BaseHTTPRequestHandler):
    """An S3 with the same image under every name, whose credentials expire after some requests."""

    image = b""
    left = 0

    def do_GET(self) -> None:
        cls = type(self)
        cls.left -= 1
        expired = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
        body = cls.image if cls.left >= 0 else expired
        self.send_response(200 if cls.left >= 0 else 400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.usefixtures("s3")
def test_credentials_that_expire_stop_the_run_and_it_resumes(tmp_path, monkeypatch):
    s3fs = pytest.importorskip("s3fs")
    buffer = io.BytesIO()
    Image.fromarray(paint(1)[0]).save(buffer, "JPEG")
    monkeypatch.setattr(Expiring, "image", buffer.getvalue())
    monkeypatch.setattr(Expiring, "left", 4)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Expiring)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    s3fs.S3FileSystem.clear_instance_cache()
    (tmp_path / "list.txt").write_text("".join(f"s3://bucket/{number}.jpg\n" for number in range(9)))
    data = Listed(tmp_path / "list.txt", None, CLASSES)
    seeder = NearestColour()
    with pytest.raises(DataError, match=r"^s3://bucket/.\.jpg: cannot be read \(access denied: .* expired"):
        generate(data, seeder, tmp_path / "run", settings=seeder.settings)
    with Manifest(tmp_path / "run") as manifest:
        assert {record.status for record in manifest.values()} <= {"ok"}  # none failed for it
        made = len(manifest)
    assert made <= 4
    monkeypatch.setattr(Expiring, "left", 1000)
    result = generate(data, seeder, tmp_path / "run", settings=seeder.settings)
    assert (result.made, result.skipped, result.failed) == (9 - made, made, ())
    server.shutdown()
    server.server_close()
    s3fs.S3FileSystem.clear_instance_cache()


def test_an_image_costs_few_requests(run, monkeypatch):
    s3fs = pytest.importorskip("s3fs")
    asked: Counter[str] = Counter()
    call = s3fs.S3FileSystem._call_s3

    async def counted(self, method, *args, **kwargs):
        asked[method] += 1
        return await call(self, method, *args, **kwargs)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    seed(run, images=8)
    first = asked.copy()
    asked.clear()
    seed(run.parent / "second", images=72)
    each = {method: (number - first[method]) / 64 for method, number in asked.items()}
    # Per image: looking for the mask, writing it with confidence and (drawn) image, its time; per shard of 8 some more.
    assert each["put_object"] < 4, each
    assert sum(each.values()) < 8, each
