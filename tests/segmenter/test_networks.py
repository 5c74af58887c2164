"""The networks of stage II as small random instances of the real classes."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from tests.rounding import FLIPPED, assert_same
from wsss_seed.errors import WsssError
from wsss_seed.segmenter import networks
from wsss_seed.segmenter.networks import NETWORKS, NetworkSettings, build, pixel_loss

CLASSES = 5
SMALL = {
    "deeplabv3plus": NetworkSettings("deeplabv3plus", "tu-test_resnet", decoder_channels=16),
    "upernet": NetworkSettings("upernet", "tu-test_resnet", decoder_channels=16),
    "segformer": NetworkSettings("segformer", "tu-test_resnet", decoder_channels=16),
    "hf-segformer": NetworkSettings("hf-segformer", "mit-b0", decoder_channels=16),
    "mask2former": NetworkSettings("mask2former", "swin-small-for-tests", decoder_channels=32, num_queries=8),
}


@pytest.fixture(autouse=True)
def small_swin(monkeypatch):
    size = {"embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2], "window_size": 4}
    monkeypatch.setitem(networks._SWIN_SIZES, "swin-small-for-tests", size)
    torch.manual_seed(0)


def test_every_network_is_tried_here():
    assert set(SMALL) == set(NETWORKS)


@pytest.mark.parametrize("name", SMALL)
def test_logits_have_the_size_of_the_image_and_their_softmax_is_probabilities(name):
    network = build(SMALL[name], CLASSES).eval()
    with torch.no_grad():
        logits = network(torch.randn(2, 3, 70, 45))
    assert logits.shape == (2, CLASSES, 70, 45)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", SMALL)
def test_a_few_steps_on_one_batch_lower_the_loss(name):
    network = build(SMALL[name], CLASSES)
    pixels, labels = torch.randn(2, 3, 64, 64), torch.zeros(2, 64, 64, dtype=torch.int64)
    labels[:, 16:48, 16:48], labels[:, :4] = 3, 255
    pixels[:, 0][labels == 3] += 3.0
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    assert any(name.startswith(network.backbone) for name, _ in network.named_parameters())
    values = []
    for _ in range(12):
        losses = network.loss(pixels, labels, None)
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(total.item())
    assert values[-1] < 0.95 * values[0], values  # the first weights, and so the way down, vary with torch


@pytest.mark.parametrize("name", SMALL)
def test_a_crop_that_is_255_throughout_teaches_nothing(name):
    network = build(SMALL[name], CLASSES)
    losses = network.loss(torch.randn(2, 3, 64, 64), torch.full((2, 64, 64), 255), None)
    sum(losses.values()).backward()
    assert all(loss.item() == 0 for loss in losses.values())
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


def test_pixel_loss_is_the_weighted_mean_over_labelled_pixels():
    logits = torch.tensor([[[[2.0, 0.0, 5.0]], [[0.0, 1.0, 1.0]]]])
    labels = torch.tensor([[[0, 0, 255]]])
    each = [-F.log_softmax(logits[0, :, 0, i], 0)[0].item() for i in range(2)]
    assert pixel_loss(logits, labels, None).item() == pytest.approx((each[0] + each[1]) / 2)
    weights = torch.tensor([[[0.25, 0.75, 1.0]]])
    assert pixel_loss(logits, labels, weights).item() == pytest.approx(0.25 * each[0] + 0.75 * each[1])


def test_auxiliary_head_adds_its_weighted_loss_and_is_not_used_for_inference():
    settings = NetworkSettings("deeplabv3plus", "tu-test_resnet", decoder_channels=16, aux_loss_weight=0.4)
    network = build(settings, CLASSES)
    pixels, labels = torch.randn(2, 3, 64, 64), torch.randint(0, CLASSES, (2, 64, 64))
    losses = network.loss(pixels, labels, None)
    network.weight = 0.8
    torch.manual_seed(1)
    twice = network.eval().loss(pixels, labels, None)["loss_auxiliary"].item()
    network.weight = 0.4
    assert twice == pytest.approx(2 * network.loss(pixels, labels, None)["loss_auxiliary"].item())
    assert set(losses) == {"loss", "loss_auxiliary"}
    before = network(pixels)
    torch.nn.init.zeros_(network.auxiliary[-1].weight)
    assert torch.equal(network(pixels), before)


def test_masks_of_mask2former_at_ignored_pixels_get_no_gradient():
    network = build(SMALL["mask2former"], CLASSES)
    kept = []
    network.model.register_forward_hook(
        lambda _, __, out: (kept.append(out.masks_queries_logits), out.masks_queries_logits.retain_grad())[0]
    )
    labels = torch.randint(0, 3, (2, 64, 64))
    labels[:, :32] = 255
    sum(network.loss(torch.randn(2, 3, 64, 64), labels, None).values()).backward()
    [masks] = kept
    half = masks.shape[-2] // 2
    assert not masks.grad[:, :, : half - 1].any()
    assert masks.grad[:, :, half:].abs().sum() > 0


def test_mask2former_decides_as_the_library_does():
    from transformers import Mask2FormerImageProcessor

    network = build(SMALL["mask2former"], CLASSES).eval()
    pixels = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        own, out = network(pixels), network.model(pixels)
    # The library enlarges masks to 384 x 384 first, as its own models were trained; here they are taken to the image.
    masks = F.interpolate(out.masks_queries_logits, (64, 96), mode="bilinear")
    scores = torch.einsum("bqc,bqhw->bchw", out.class_queries_logits.softmax(-1)[..., :-1], masks.sigmoid())
    assert (own.argmax(1) != scores.argmax(1)).float().mean() < FLIPPED
    assert_same(own.softmax(1), scores / scores.sum(1, keepdim=True))
    theirs = Mask2FormerImageProcessor().post_process_semantic_segmentation(out, target_sizes=[(64, 96)] * 2)
    assert (torch.stack(theirs) == own.argmax(1)).float().mean() > 0.9


def test_encoder_weights_from_a_file(tmp_path):
    settings = SMALL["deeplabv3plus"]
    encoder = build(settings, CLASSES).model.encoder
    save_file({k: v.contiguous() for k, v in encoder.state_dict().items()}, tmp_path / "encoder.safetensors")
    torch.save(encoder.state_dict(), tmp_path / "encoder.pth")
    for name in ("encoder.safetensors", "encoder.pth"):
        loaded = build(settings, CLASSES, str(tmp_path / name)).model.encoder.state_dict()
        assert all(torch.equal(value, loaded[key]) for key, value in encoder.state_dict().items())
    (tmp_path / "broken.pth").write_bytes((tmp_path / "encoder.pth").read_bytes()[:5000])
    other = build(NetworkSettings("deeplabv3plus", "tu-test_convnext"), 2).model.encoder
    torch.save(other.state_dict(), tmp_path / "other.pth")
    for name in ("broken.pth", "other.pth", "missing.pth"):
        with pytest.raises(WsssError, match=name) as error:
            build(settings, CLASSES, str(tmp_path / name))
        assert "\n" not in str(error.value)
        assert "`encoder_weights`" in str(error.value)


@pytest.mark.parametrize("kind", ["segformer", "mask2former"])
def test_encoder_weights_from_a_folder_of_transformers(tmp_path, kind):
    settings = SMALL["hf-segformer" if kind == "segformer" else kind]
    network = build(settings, CLASSES)
    inner = network.model.segformer if kind == "segformer" else network.model.model.pixel_level_module.encoder
    inner.save_pretrained(tmp_path / "encoder")
    loaded = build(settings, CLASSES, str(tmp_path / "encoder")).state_dict()
    state = {k: v for k, v in network.state_dict().items() if k.startswith(network.backbone)}
    assert state
    assert all(torch.equal(value, loaded[key]) for key, value in state.items())
    with pytest.raises(WsssError, match="`encoder_weights`"):
        build(settings, CLASSES, str(tmp_path / "nothing"))


def test_published_encoder_weights_that_are_missing_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WSSS_SEED_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WsssError, match=r"not in the cache, and offline .*; give `encoder_weights`"):
        build(NetworkSettings("hf-segformer", "mit-b0"), CLASSES, "imagenet")


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        (NetworkSettings("deeplab"), ["unknown network 'deeplab'", "mask2former", "Did you mean 'deeplabv3plus'"]),
        (NetworkSettings(encoder="resnet51"), ["unknown encoder 'resnet51'", "mit_b2", "Did you mean 'resnet50'"]),
        (NetworkSettings("mask2former", "swin"), ["unknown encoder 'swin'", "swin-large"]),
        (NetworkSettings("hf-segformer", "mit_b0"), ["unknown encoder 'mit_b0'", "Did you mean 'mit-b0'"]),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(settings, parts):
    with pytest.raises(WsssError) as error:
        build(settings, CLASSES)
    assert all(part in str(error.value) for part in parts), str(error.value)
