"""Run by the Python of an mmsegmentation environment: what its datasets make of an exported configuration, as JSON."""

import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])  # examples/mmsegmentation
from train import put_placeholder

put_placeholder()

import mmseg.datasets  # noqa: E402, F401
from mmengine import Config  # noqa: E402
from mmseg.registry import DATASETS  # noqa: E402

config = Config.fromfile(sys.argv[2])
out = {
    "heads": [config.model.decode_head.num_classes, config.model.get("auxiliary_head", {}).get("num_classes")],
    "parts": {},
}
for part in ("train", "val"):
    loader = config[f"{part}_dataloader"]
    if loader is None:
        continue
    table = loader.dataset.to_dict()
    table["pipeline"] = [step for step in table["pipeline"] if step["type"].startswith("Load")]
    dataset = DATASETS.build({**table, "_scope_": "mmseg"})
    rows = {}
    for row in dataset:
        name = Path(row["img_path"]).relative_to(Path(table["data_root"]) / "images" / part).as_posix()[: -len(".jpg")]
        image, labels = row["img"][:, :, ::-1], row["gt_seg_map"]
        rows[name] = [
            list(labels.shape),
            *(hashlib.sha256(a.astype("uint8").tobytes()).hexdigest() for a in (image, labels)),
        ]
    out["parts"][part] = {
        "classes": list(dataset.metainfo["classes"]),
        "palette": [list(colour) for colour in dataset.metainfo["palette"]],
        "ignore_index": dataset.ignore_index,
        "reduce_zero_label": dataset.reduce_zero_label,
        "rows": rows,
    }
print(json.dumps(out))
