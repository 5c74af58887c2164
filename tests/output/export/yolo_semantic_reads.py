"""Run in an environment with ultralytics: read an export with its own data set, and train for one epoch on a CPU.

Takes the export and a folder for the training. Prints, as JSON, the version, names, label maps by file name, the
figures of the epoch, and how many pixels have no gradient, or one although they are ignored.
"""

import json
import os
import sys
from pathlib import Path

export, work = Path(sys.argv[1]), Path(sys.argv[2])
os.environ["YOLO_CONFIG_DIR"] = str(work)  # before the import; nothing is written elsewhere
os.environ["YOLO_OFFLINE"] = "true"

import torch  # noqa: E402
from ultralytics import YOLO, __version__  # noqa: E402
from ultralytics.cfg import get_cfg  # noqa: E402
from ultralytics.data.build import build_yolo_dataset  # noqa: E402
from ultralytics.data.utils import check_det_dataset  # noqa: E402
from ultralytics.utils.loss import SemanticSegmentationLoss  # noqa: E402

data = check_det_dataset(str(export / "data.yaml"), autodownload=False)
cfg = get_cfg(overrides={"task": "semantic", "imgsz": 64, "cache": False})
dataset = build_yolo_dataset(cfg, data["train"], 2, data, mode="val")
maps = {Path(dataset.im_files[i]).stem: dataset.load_mask(i).tolist() for i in range(len(dataset))}

model = YOLO("yolo26n-sem.yaml", task="semantic")
settings = {"epochs": 1, "imgsz": 64, "batch": 4, "device": "cpu", "workers": 0, "plots": False, "amp": False}
model.train(data=str(export / "data.yaml"), project=str(work), name="run", **settings)
columns, values = (work / "run" / "results.csv").read_text().splitlines()[:2]
losses = {key.strip(): float(value) for key, value in zip(columns.split(","), values.split(","), strict=True)}

# What the loss makes of a mask as it is read: the gradient of each pixel.
number = next(i for i in range(len(dataset)) if {0, 255} <= set(dataset.load_mask(i).ravel().tolist()))
mask = torch.from_numpy(dataset.load_mask(number))[None].int()
logits = torch.randn(1, len(data["names"]), *mask.shape[1:], requires_grad=True)
criterion = SemanticSegmentationLoss(model.trainer.model)
criterion(logits, {"semantic_mask": mask})[0].backward()
touched = logits.grad.abs().sum(1)[0] > 0
print(
    json.dumps(
        {
            "version": __version__,
            "type": type(dataset).__name__,
            "names": data["names"],
            "maps": maps,
            "losses": losses,
            "ignored_with_gradient": int(touched[mask[0] == 255].sum()),
            "others_without_gradient": int((~touched)[mask[0] != 255].sum()),
        }
    )
)
