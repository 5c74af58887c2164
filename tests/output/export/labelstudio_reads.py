"""Run in an environment with label-studio-sdk: check an export and decode its brush masks, as its converter does, and
write what Label Studio would export, encoded again by the converter.

Prints, as JSON, the version, what is wrong with the labelling interface and the tasks, and label maps by image name.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from label_studio_sdk.converter import brush
from label_studio_sdk.label_interface import LabelInterface

export, work = map(Path, sys.argv[1:])
interface = LabelInterface((export / "config.xml").read_text("utf-8"))
interface.validate()
labels = interface.get_control("label").labels
maps, faults, tasks = {}, [], json.loads((export / "tasks.json").read_text("utf-8"))
for number, task in enumerate(tasks, 1):
    (prediction,) = task["predictions"]
    faults += [] if interface.validate_task({"data": task["data"]}) else [f"task {number}"]
    faults += interface.validate_prediction(prediction, return_errors=True)
    sizes = ("type", "original_width", "original_height")
    regions = [result["value"] | {key: result[key] for key in sizes} for result in prediction["result"]]
    layers = brush.decode_from_annotation("label", regions)
    found = {}
    for name, alpha in layers.items():
        label = name.removeprefix("label-").rpartition("-")[0]
        assert label in labels
        found[label] = alpha.tolist()
        for result in prediction["result"]:
            if result["value"]["brushlabels"] == [label]:
                result["value"]["rle"] = brush.mask2rle(alpha)
    maps[task["data"]["wsss_seed"]] = found
    annotation = {"id": number, "completed_by": 1, "was_cancelled": False, "result": prediction["result"]}
    task |= {"id": number, "annotations": [annotation | {"updated_at": "2026-01-02T03:04:05.678901Z"}]}
(work / "project.json").write_text(json.dumps(tasks))
print(json.dumps({"version": version("label-studio-sdk"), "faults": faults, "labels": list(labels), "maps": maps}))
