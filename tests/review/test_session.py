"""The list of images, and what people decided about them."""

import numpy as np
import pytest

from tests.review.running import PETS, pets
from wsss_seed.data.base import Sample
from wsss_seed.data.corrections import ConflictError
from wsss_seed.errors import RunFolderError, UsageError
from wsss_seed.output.run_folder import RunFolder
from wsss_seed.review.session import Query, Session, Standing
from wsss_seed.types import Seed


@pytest.fixture
def session(tmp_path):
    session = Session(pets(tmp_path / "run"), "anna")
    yield session
    session.close()


def decide(session, id, verdict="open", labels=None, mask=None):
    now = session.standing(id)
    return session.decide(
        id, revision=now.revision, base=session.digest(id), verdict=verdict, labels=labels, mask=mask, what="", by=None
    )


def test_states(session):
    labels, _ = session.labels("a", "own")
    changed = labels.copy()
    changed[0, 0] = 2
    decide(session, "a", "accepted")
    decide(session, "b", "rejected")
    decide(session, "c", labels=changed)
    ids = {
        state: session.listed(Query("id", state)) for state in ("open", "reviewed", "accepted", "rejected", "corrected")
    }
    assert ids == {"open": [], "reviewed": ["a", "b", "c"], "accepted": ["a"], "rejected": ["b"], "corrected": ["c"]}
    assert session.counts()["reviewed"] == 3
    assert session.summary() == "1 accepted, 1 rejected, 1 corrected, 0 open (decisions in this session: 3)"
    decide(session, "b")
    assert session.listed(Query(state="open")) == ["b"]


def test_a_verdict_on_a_mask_that_has_changed_since_does_not_count():
    stale = Standing(1, "rejected", None, True)
    assert [state for state in ("open", "reviewed", "rejected", "outdated") if stale.is_in(state)] == [
        "open",
        "outdated",
    ]
    assert Standing(1, "accepted", "ab", True).is_in("reviewed")


def test_decisions_name_the_mask_that_was_seen(session):
    with pytest.raises(ConflictError, match="changed by another program"):
        session.log.decide("a", revision=0, verdict="accepted", seen="0" * 64, what="")
    assert session.log.latest("a") is None
    assert session.log.decide("a", revision=0, verdict="accepted", seen=session.digest("a"), what="").revision == 1


def test_decisions_since(session):
    assert session.log.decided_since(0) == (0, frozenset())
    decide(session, "a", "accepted")
    decide(session, "b", "accepted")
    decide(session, "a", "rejected")
    assert session.log.decided_since(1) == (3, {"a", "b"})
    assert session.log.decided_since(3) == (3, frozenset())
    assert session.log.decided_since(9) == (3, {"a", "b"})  # an older log was put in its place


def test_no_run_and_no_masks(tmp_path):
    with pytest.raises(RunFolderError, match="no such folder"):
        Session(tmp_path / "none")
    (tmp_path / "plain").mkdir()
    with pytest.raises(RunFolderError, match="not a run folder"):
        Session(tmp_path / "plain")
    with RunFolder(tmp_path / "empty", PETS, {"a": 1}) as run:
        run.finalize([])
    with pytest.raises(RunFolderError, match="no finished masks; run generate or predict first"):
        Session(tmp_path / "empty")
    assert not (tmp_path / "empty/Corrections").exists()


def test_a_run_that_was_started_over(session):
    assert len(session.entries) == 3
    with RunFolder(session.run, PETS, {"a": 2}, overwrite=True) as run:
        labels = np.ones((30, 40), np.uint8)
        run.save(Sample("new"), np.zeros((30, 40, 3), np.uint8), Seed(labels, labels * 1.0, (0,), {}, {}, ()), 0.0)
        run.finalize(["new"])
    session.reload()
    assert list(session.entries) == ["new"]
    (session.run / "classes.txt").write_text("background\ncow\n", "utf-8")
    (session.run / "manifest.jsonl").touch()
    with pytest.raises(RunFolderError, match="its classes have changed; start the review again"):
        session.reload()


def test_another_run_needs_the_same_classes(tmp_path):
    run = pets(tmp_path / "run", ids=("a",))
    pets(tmp_path / "other", ids=("a",))
    (tmp_path / "other/classes.txt").write_text("background\ncat\ncow\n", "utf-8")
    with pytest.raises(UsageError, match="has other classes than"):
        Session(run, other=tmp_path / "other")
    with pytest.raises(RunFolderError, match="no such folder"):
        Session(run, other=tmp_path / "nothing")


def test_a_list_of_ten_thousand_images_reads_no_mask(tmp_path, monkeypatch):
    from tests.output.many_records import write
    from wsss_seed.output.run_folder import fingerprint
    from wsss_seed.review import session as module

    run = pets(tmp_path / "run", ids=("0000/image_00000000",))
    ids = [f"{i // 1000:04}/image_{i:08}" for i in range(10_000)]
    write(run / "manifest.jsonl", ids, fingerprint({"a": 1}))
    monkeypatch.setattr(module, "read_labels", None)
    session = Session(run)
    assert len(session.listed(Query())) == 10_000
    assert session.listed(Query(name="00009999")) == ["0009/image_00009999"]
    assert session.counts()["open"] == 10_000
    session.close()
