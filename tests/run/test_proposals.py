"""The loop over a dataset's mask proposals: resume, shards, bad images."""

from __future__ import annotations

import numpy as np
import pytest

from tests.run.painted import Painted
from wsss_seed.errors import WsssError
from wsss_seed.models.sam import load_sam
from wsss_seed.models.zoo import TINY
from wsss_seed.proposals.generate import ProposalSettings
from wsss_seed.run.proposals import propose

TINY_SAM = "tiny fp32"
SETTINGS = ProposalSettings(
    points_per_side=2, crop_n_layers=0, pred_iou_thresh=0.3, stability_score_thresh=0.3, stability_score_offset=0.2
)


@pytest.fixture(scope="module")
def sam():
    return load_sam(TINY)


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_it_resumes_where_it_stopped(sam, tmp_path):
    first = propose(Painted(6), lambda: sam, TINY_SAM, SETTINGS, tmp_path / "a", limit=2)
    assert (first.images, first.made, first.skipped, first.exit_status) == (2, 2, 0, 0)
    second = propose(Painted(6), lambda: sam, TINY_SAM, SETTINGS, tmp_path / "a")
    assert (second.made, second.skipped) == (4, 2)
    third = propose(Painted(6), lambda: sam, TINY_SAM, SETTINGS, tmp_path / "a")
    assert (third.made, third.skipped, third.masks) == (0, 6, second.masks)
    for shard in ((0, 2), (1, 2)):
        propose(Painted(6), lambda: sam, TINY_SAM, SETTINGS, tmp_path / "b", shard=shard)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert len(files(tmp_path / "a")) == 6
    again = propose(Painted(6), lambda: sam, TINY_SAM, SETTINGS, tmp_path / "a", overwrite=True)
    assert again.made == 6
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_bad_image_and_a_damaged_file_concern_nobody_else(sam, tmp_path):
    result = propose(Painted(6, broken=[3]), lambda: sam, TINY_SAM, SETTINGS, tmp_path)
    assert result.failed == (("odd/0003", "odd/0003: damaged image; copy it again"),)
    assert (result.made, result.exit_status) == (5, 1)
    before = files(tmp_path)
    next(p for p in tmp_path.rglob("*.gz")).write_bytes(b"\x1f\x8b")
    assert propose(Painted(6), lambda: sam, TINY_SAM, SETTINGS, tmp_path).made == 2
    assert files(tmp_path).items() >= before.items()


def test_an_image_without_masks_is_done_too(sam, tmp_path):
    strict = ProposalSettings(
        points_per_side=2, crop_n_layers=0, stability_score_thresh=1.0, stability_score_offset=1000.0
    )
    result = propose(Painted(2), lambda: sam, TINY_SAM, strict, tmp_path)
    assert (result.made, result.empty, result.masks, result.exit_status) == (2, 2, 0, 0)
    assert propose(Painted(2), lambda: sam, TINY_SAM, strict, tmp_path).skipped == 2


def test_an_interrupt_loses_nothing(sam, tmp_path):
    class Interrupted(Painted):
        def image(self, sample):
            if sample.id.endswith("0003"):
                raise KeyboardInterrupt
            return super().image(sample)

    result = propose(Interrupted(6), lambda: sam, TINY_SAM, SETTINGS, tmp_path)
    assert (result.interrupted, result.exit_status) == (True, 130)
    assert result.made == len(files(tmp_path)) == 3
    assert propose(Painted(6), lambda: sam, TINY_SAM, SETTINGS, tmp_path).skipped == 3


def test_a_folder_that_takes_nothing(sam, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WsssError, match=r"file.*cannot be written"):
        propose(Painted(2), lambda: sam, TINY_SAM, SETTINGS, tmp_path / "file")
    assert np.array_equal(list(files(tmp_path)), ["file"])


def test_sam_is_loaded_for_missing_proposals_only(sam, tmp_path):
    propose(Painted(2), lambda: sam, TINY_SAM, SETTINGS, tmp_path)

    def refuse():
        raise AssertionError("SAM was asked for")

    assert propose(Painted(2), refuse, TINY_SAM, SETTINGS, tmp_path).skipped == 2
    assert propose(Painted(2), lambda: sam, "another SAM", SETTINGS, tmp_path).made == 2
