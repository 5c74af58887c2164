"""Contact sheet of a run: image, ground truth, seed and confidence of the first images, as one PNG.

python examples/contact_sheet.py seeds sheet.png --dataset toyland --images 100 --columns 8
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from wsss_seed.data import open_dataset
from wsss_seed.data.images import read_labels, read_rgb
from wsss_seed.evaluation.evaluate import ground_truth
from wsss_seed.output.run_folder import confidence_path, image_path, mask_path, run_orientation

CELL = 160


def cell(pixels: np.ndarray) -> Image.Image:
    """An image scaled to fit into a white square of CELL pixels."""
    picture = Image.fromarray(pixels).convert("RGB")
    picture.thumbnail((CELL - 8, CELL - 8), Image.Resampling.LANCZOS)
    square = Image.new("RGB", (CELL, CELL), "white")
    square.paste(picture, ((CELL - picture.width) // 2, (CELL - picture.height) // 2))
    return square


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("out", type=Path, help="PNG to write")
    parser.add_argument("--dataset", default="toyland")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--classes", help="class set, as for generate")
    parser.add_argument("--images", type=int, help="number of toyland images in the run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--columns", type=int, default=8)
    args = parser.parse_args()
    data = open_dataset(args.dataset, args.root, args.split, args.classes, images=args.images, seed=args.seed)
    palette = np.array(data.class_set.palette, np.uint8)
    samples = [s for s in data if mask_path(args.run, s.id).exists()][: args.columns]
    truth_of, _ = ground_truth(data, run_orientation(args.run))
    columns = []
    for sample in samples:
        cells = [cell(read_rgb(image_path(args.run, sample.id)))]
        if data.has_masks:
            cells.append(cell(palette[truth_of(sample.id)]))
        cells.append(cell(palette[read_labels(mask_path(args.run, sample.id))]))
        cells.append(cell(read_rgb(confidence_path(args.run, sample.id))))
        columns.append(cells)
    sheet = Image.new("RGB", (CELL * len(columns), CELL * len(columns[0])), "white")
    for x, cells in enumerate(columns):
        for y, picture in enumerate(cells):
            sheet.paste(picture, (x * CELL, y * CELL))
    sheet.save(args.out, optimize=True)


if __name__ == "__main__":
    main()
