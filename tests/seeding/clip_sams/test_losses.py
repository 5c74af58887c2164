"""The two losses of prompt learning on numbers one can follow by hand."""

from __future__ import annotations

import pytest
import torch

from wsss_seed.seeding.clip_sams.losses import cam_loss, contrastive_loss


def test_contrastive_loss_by_hand():
    """Pair losses 0.126928, 0.313262, 0.680270."""
    logits = torch.tensor([[2.0, 1, 0], [0, 0.5, 1]])
    labels = torch.tensor([[1, 1, 0], [0, 0, 1]])
    assert contrastive_loss(logits, labels).item() == pytest.approx(0.373486, abs=1e-6)
    assert contrastive_loss(logits[:1], labels[:1]).item() == pytest.approx((0.126928 + 0.313262) / 2, abs=1e-6)
    expected = ((0.126928 + 0.313262) / 2 + 0.680270) / 2
    assert contrastive_loss(logits, labels, reduce="images").item() == pytest.approx(expected, abs=1e-6)


def test_other_positives_take_no_part():
    """A positive is contrasted with the negatives of its own image only."""
    logits = torch.tensor([[2.0, 50.0, 0.0]], requires_grad=True)
    labels = torch.tensor([[1, 1, 0]])
    alone = torch.log1p(torch.exp(torch.tensor(-2.0)))
    assert contrastive_loss(logits, labels).item() == pytest.approx(alone.item() / 2, abs=1e-6)


def test_images_without_positives_or_negatives_are_dropped():
    logits = torch.tensor([[2.0, 1, 0], [9, 9, 9], [5, 6, 7]], requires_grad=True)
    labels = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 0, 0]])
    loss = contrastive_loss(logits, labels)
    assert loss.item() == pytest.approx((0.126928 + 0.313262) / 2, abs=1e-6)
    loss.backward()
    assert not logits.grad[1:].any()
    nothing = contrastive_loss(logits[1:], labels[1:])
    assert nothing.item() == 0
    assert nothing.requires_grad


def test_logits_of_any_size_and_precision():
    """Log-sum-exp in float32: CLIP's logits are cosines times 100."""
    logits = torch.tensor([[-300.0, 300.0, 299.0]], dtype=torch.float16, requires_grad=True)
    loss = contrastive_loss(logits, torch.tensor([[1, 0, 0]]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(600 + torch.log1p(torch.exp(torch.tensor(-1.0))).item(), rel=1e-5)
    loss.backward()
    assert torch.isfinite(logits.grad).all()


CAM = torch.tensor([[[3.0, 1.0], [-1.0, 2.0]]])
CLASS5 = torch.tensor([[0, 0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("seed", "inside", "outside"),
    [
        ([[5, 5], [0, 255]], 2 / 3, 0.0),  # N_all = 3
        ([[5, 5], [0, 7]], 0.5, 0.5),  # N_all = 4, another class counts as background
        ([[0, 0], [0, 0]], 0.0, 6 / 4),  # a class without a pixel has only background
        ([[255, 255], [255, 255]], 0.0, 0.0),
        ([[255, 255], [5, 255]], 1.0, 0.0),  # the maximum -1 inside is raised to 0
        ([[5, 5], [5, 5]], (0 + 2 + 4 + 1) / 4, 0.0),
    ],
)
def test_cam_loss_by_hand(seed, inside, outside):
    cams = CAM.clone().requires_grad_()
    losses = cam_loss(cams, CLASS5, torch.tensor([seed]))
    assert [x.item() for x in losses] == pytest.approx([inside, outside], abs=1e-6)
    sum(losses).backward()
    assert torch.isfinite(cams.grad).all()


def test_the_maximum_is_a_constant():
    cams = CAM.clone().requires_grad_()
    inside, _ = cam_loss(cams, CLASS5, torch.tensor([[[5, 5], [0, 255]]]))
    inside.backward()
    assert torch.allclose(cams.grad, torch.tensor([[[0, -1 / 3], [0, 0]]]))
    cams = CAM.clone().requires_grad_()
    inside, _ = cam_loss(cams, CLASS5, torch.tensor([[[5, 5], [0, 255]]]), detach_max=False)
    inside.backward()
    assert torch.allclose(cams.grad, torch.tensor([[[1 / 3, -1 / 3], [0, 0]]]))


def test_all_pairs_share_one_number_of_pixels():
    """Averages per image or per pair would give rare classes another weight."""
    labels = torch.tensor([[1, 0], [1, 1]])
    cams = torch.tensor([[[2.0, 0]], [[4.0, 2]], [[1.0, 1]]])
    seeds = torch.tensor([[[1, 1]], [[1, 255]]])
    inside, outside = cam_loss(cams, labels, seeds)
    # pairs: (0, 1): |2-2| + |2-0|; (1, 1): one pixel at its maximum; (1, 2): one pixel outside with 1
    assert (inside.item(), outside.item()) == pytest.approx((2 / 4, 1 / 4))
    inside, outside = cam_loss(cams, labels, seeds, balanced=True)
    assert (inside.item(), outside.item()) == pytest.approx((2 / 3 / 2, 1 / 1 / 2))
    inside, outside = cam_loss(cams, labels, seeds, squared=True)
    assert (inside.item(), outside.item()) == pytest.approx((4 / 2 / 4, 1 / 2 / 4))


def test_maps_are_enlarged_to_the_seed():
    """Bilinearly, half-pixel centres: 0, 1, 3, 4."""
    inside, outside = cam_loss(torch.tensor([[[0.0, 4.0]]]), torch.tensor([[1]]), torch.tensor([[[0, 0, 1, 1]]]))
    assert (inside.item(), outside.item()) == pytest.approx((1 / 4, 1 / 4))


def test_no_pair_gives_a_zero_of_the_graph():
    cams = torch.zeros(0, 2, 2, requires_grad=True)
    losses = cam_loss(cams, torch.zeros(1, 3), torch.zeros(1, 4, 4, dtype=torch.uint8))
    assert [x.item() for x in losses] == [0, 0]
    sum(losses).backward()
