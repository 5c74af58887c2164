"""Seconds and memory of every stage and of both backends at full size, beside the libraries' own ways, in one run.

    python tests/benchmarks/bench_stages.py [--device cuda] [--precision auto] [--images 20] [--folder PHOTOS]

SAM (ViT-B, or ``--sam vit_h``), CLIP ViT-B/16 and Grounding DINO Swin-T have random weights, which cost what published
ones cost; what depends on their answers is set from them: as many boxes and masks pass as with published weights,
by thresholds at a quantile of the scores of the first image. All stages take turns image by image; the first image is
seen once before for warming up. Peak memory is what a stage takes beyond what was taken before it, on a GPU of torch's
allocator, else of the process (Linux only).

``SamAutomaticMaskGenerator`` and ``Grounded-SAM`` (groundingdino's forward, SamPredictor on its boxes) run the same
weights through the libraries' own code in float32.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from bench_proposals import as_published
from PIL import Image
from segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry
from torchvision.ops import nms

from wsss_seed.config import override
from wsss_seed.data.base import Sample
from wsss_seed.data.classes import load_class_set
from wsss_seed.data.images import read_rgb
from wsss_seed.data.toyland import draw
from wsss_seed.models import grounding_dino as detector_room
from wsss_seed.models.clip import Clip
from wsss_seed.models.detector import pixel_boxes
from wsss_seed.models.grounding_dino import GroundingDino, build_grounding_dino, build_tokenizer
from wsss_seed.models.precision import choose_precision
from wsss_seed.models.sam import Sam
from wsss_seed.proposals.generate import ProposalSettings, generate_proposals
from wsss_seed.seeding.clip_sams.cam import softmax_gradcam
from wsss_seed.seeding.clip_sams.seeder import ClipSams
from wsss_seed.seeding.clip_sams.settings import ClipSamsSettings
from wsss_seed.seeding.detection.classification import view_boxes
from wsss_seed.seeding.dino_sam.seeder import DinoSam
from wsss_seed.seeding.dino_sam.settings import Settings as DinoSamSettings
from wsss_seed.types import LoadedSample

BOXES, PASSING = 12, 0.15  # boxes an image; part of all candidate masks whose predicted IoU is high enough
LABELS = (7, 11, 14)  # cat, dog and person of VOC


def random_models(sam: str, device: str, precision: str) -> tuple[Sam, Clip, GroundingDino]:
    """The three at full size."""
    torch.manual_seed(0)
    words = [f"[unused{i}]" for i in range(30522)]
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    for place, word in special.items():
        words[place] = word
    names = sorted({word for phrases in load_class_set("voc").phrases for p in phrases for word in p.split()})
    words[2000 : 2000 + len(names)] = names
    config = json.loads((detector_room._CONFIGS / "grounding_dino_swint.json").read_text())
    detector = build_grounding_dino(config, build_tokenizer(words))
    name = "ViT-B-16-quickgelu"
    clip = open_clip.create_model(name)
    segmenter = sam_model_registry[sam](checkpoint=None)
    return (
        Sam(segmenter, sam, device, precision),
        Clip(clip, open_clip.get_tokenizer(name), name, device, precision),
        GroundingDino(detector, None, "swint", device, precision),
    )


class Meter:
    """Seconds and peak memory of what is run."""

    def __init__(self, device: torch.device):
        self.device = device

    def __call__(self, run: Callable[[], Any]) -> tuple[float, float]:
        """Seconds, and GiB beyond what was taken before."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before, begin = torch.cuda.memory_allocated(), time.perf_counter()
            run()
            torch.cuda.synchronize()
            return time.perf_counter() - begin, (torch.cuda.max_memory_allocated() - before) / 2**30
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before, begin = _resident("VmRSS"), time.process_time()
        run()
        return time.process_time() - begin, (_resident("VmHWM") - before) / 2**20


def _resident(name: str) -> int:
    """KiB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def stages(
    sam: Sam, clip: Clip, detector: GroundingDino, image: np.ndarray, points: int
) -> dict[str, Callable[[np.ndarray], Any]]:
    """What is measured, by name, each a function of an image."""
    class_set = load_class_set("voc")
    phrases = [class_set.phrases[c] for c in LABELS]
    names = [p for group in phrases for p in group]
    caption = " . ".join(names) + " ."
    found = detector.detect(image, phrases)
    first = np.sort(found.scores)[::-1]
    box_threshold = float(first[BOXES])
    boxes = found.boxes[np.argsort(-found.scores)[:BOXES]]
    embedding = sam.embed(image)
    grid = np.random.default_rng(0).uniform(0, 1, (64, 2)) * image.shape[1::-1]
    ious = torch.cat([a.iou for a in sam.decode_points(embedding, grid)])
    mask_threshold = float(ious.float().quantile(1 - PASSING))
    library = as_published(sam)
    predictor = SamPredictor(library)
    # With an offset of 0 every mask is stable: random logits are too low for any other.
    generator = SamAutomaticMaskGenerator(
        library,
        points_per_side=points,
        pred_iou_thresh=mask_threshold,
        stability_score_thresh=0.0,
        stability_score_offset=0.0,
        output_mode="coco_rle",
    )
    none = (0.0, 0.0, 0.0)
    lax: dict[str, Any] = {"stability_score_thresh": 0.0, "stability_score_offset": 0.0, "points_per_side": points}
    lax["pred_iou_thresh"], lax["score_thresh_offset"] = max(0.0, mask_threshold), none
    rules = ProposalSettings(
        **lax, crop_n_layers=0, score_nms_offset=none, min_mask_region_area=0, level_overlap_thresh=0.0
    )
    text = torch.nn.functional.normalize(torch.randn(45, 512, device=clip.device), dim=-1)
    present = torch.zeros(1, 20, dtype=torch.bool, device=clip.device)
    present[0, list(LABELS)] = True
    dino_settings = override(
        DinoSamSettings(),
        {
            "detector.box_threshold": box_threshold,
            "detector.ambiguous_threshold": box_threshold,
            "detector.rescue_threshold": 0.0,
        },
    )
    dino_sam = DinoSam(class_set, clip, sam, detector, dino_settings)
    published = ProposalSettings(**lax)
    clip_sams = ClipSams(class_set, clip, lambda x: generate_proposals(sam, x, published), None, ClipSamsSettings())

    def loaded(x: np.ndarray) -> list[LoadedSample]:
        return [LoadedSample(Sample("x", None, labels=LABELS), x, None)]

    def maps(x: np.ndarray) -> Any:
        return softmax_gradcam(clip, clip.encode_tokens(clip.prepare(x), 8), text, present, scale=clip.logit_scale)

    @torch.inference_mode()
    def library_embed(x: np.ndarray) -> None:
        predictor.set_image(x)

    @torch.inference_mode()
    def grounded_sam(x: np.ndarray) -> np.ndarray:
        h, w = x.shape[:2]
        detector._last = None
        out = detector.model(detector._samples(x), captions=[caption])
        scores = out["pred_logits"][0].sigmoid().amax(1)
        keep = torch.topk(scores, BOXES).indices
        xyxy = torch.from_numpy(pixel_boxes(out["pred_boxes"][0][keep].cpu().numpy(), h, w))
        xyxy = xyxy[nms(xyxy, scores[keep].cpu(), 0.8)]
        predictor.set_image(x)
        moved = predictor.transform.apply_boxes_torch(xyxy, (h, w)).to(detector.device)
        masks, _, _ = predictor.predict_torch(None, None, moved, multimask_output=False)
        return masks[:, 0].cpu().numpy()

    def fresh(x: np.ndarray) -> np.ndarray:
        """Another array, else the detector remembers the image."""
        return x.copy()

    return {
        "SAM: encode": sam.embed,
        "SAM: encode, segment_anything": library_embed,
        f"SAM: {BOXES} boxes": lambda x: sam.logits(embedding, sam.decode_boxes(embedding, boxes).low_res),
        f"SAM: proposals {points} x {points}": lambda x: generate_proposals(sam, x, rules),
        f"SAM: proposals {points} x {points}, SamAutomaticMaskGenerator": generator.generate,
        "CLIP: 14 views": lambda x: clip.encode_views(x, view_boxes(*x.shape[:2])),
        "CLIP: maps of 3 classes": maps,
        "Grounding DINO": lambda x: detector.detect(fresh(x), phrases),
        "dino-sam": lambda x: dino_sam.seed(loaded(fresh(x))),
        "Grounded-SAM, plain loop": grounded_sam,
        "clip-sams": lambda x: clip_sams.seed(loaded(x)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--sam", default="vit_b", choices=["vit_b", "vit_l", "vit_h"])
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="photographs instead of drawn scenes of 500 x 375 pixels")
    parser.add_argument("--points", type=int, help="a side; 32, on a CPU 8")
    parser.add_argument("--only", default="", help="stages whose name contains this")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    precision = choose_precision(given.precision, given.device)
    sam, clip, detector = random_models(given.sam, given.device, precision)
    if given.folder:
        images = [read_rgb(path) for path in sorted(given.folder.glob("*.jpg"))[: given.images]]
    else:
        drawn = (Image.fromarray(draw(i, "test").image) for i in range(given.images))
        images = [np.array(image.resize((500, 375), Image.Resampling.BICUBIC)) for image in drawn]
    device = torch.device(given.device)
    points = given.points or (32 if device.type == "cuda" else 8)
    meter = Meter(device)
    measured: dict[str, list[tuple[float, float]]] = {}
    runs = {n: run for n, run in stages(sam, clip, detector, images[0], points).items() if given.only in n}
    if device.type == "cuda":
        for run in runs.values():
            run(images[0])
    for image in images:
        for name, run in runs.items():
            measured.setdefault(name, []).append(meter(lambda: run(image)))  # noqa: B023
    about = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "precision": precision,
        "sam": given.sam,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "images": len(images),
    }
    figures = {
        name: {
            "seconds": statistics.median(seconds for seconds, _ in values),
            "images_per_second": 1 / statistics.median(seconds for seconds, _ in values),
            "peak_gib": max(peak for _, peak in values),
        }
        for name, values in measured.items()
    }
    if given.json:
        print(json.dumps({**about, "stages": figures}))
        return
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    for name, figure in figures.items():
        print(
            f"{name:55} {figure['seconds']:9.3f} s {figure['images_per_second']:8.2f} /s {figure['peak_gib']:7.2f} GiB"
        )


if __name__ == "__main__":
    main()
