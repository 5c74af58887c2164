"""Run in an environment with labelme: load an export with its own class, paint it, edit it, and save it again.

Takes an export and a folder to write to. Prints, as JSON, the version and label maps by file name, before and after.
"""

import json
import sys
from pathlib import Path

import numpy as np
from labelme import LabelFile, __version__, utils

export, work = map(Path, sys.argv[1:])
values = {name: value for value, name in enumerate((export / "labels.txt").read_text("utf-8").splitlines(), -1)}
found = {"version": __version__, "before": {}, "after": {}}
for path in sorted((export / "images").glob("*.json")):
    file = LabelFile(str(path))
    width, height = utils.img_data_to_pil(file.image_data).size
    found["before"][path.name] = utils.shapes_to_label((height, width), file.shapes, values)[0].tolist()
    if path.name.startswith("ring-"):
        empty = {"group_id": None, "description": "", "flags": {}, "mask": None}
        mask = np.random.default_rng(0).random((5, 7)) < 0.5
        file.shapes += [
            {"label": "__ignore__", "points": [[30.2, 20.7], [33.1, 25.4]], "shape_type": "circle", **empty},
            {"label": "cat", "points": [[50.6, 30.2], [44.4, 36.9]], "shape_type": "rectangle", **empty},
            {"label": "cat", "points": [[2.0, 3.0], [8.0, 7.0]], "shape_type": "mask", **empty, "mask": mask},
            {
                "label": "_background_",
                "points": [[6.5, 6.5], [20.3, 9.1], [11, 22.8]],
                "shape_type": "polygon",
                **empty,
            },
        ]
    found["after"][path.name] = utils.shapes_to_label((height, width), file.shapes, values)[0].tolist()
    shapes = [dict(shape) for shape in file.shapes]
    for shape in shapes:
        shape.pop("other_data", None)
        if shape["mask"] is not None:
            shape["mask"] = utils.img_arr_to_b64(shape["mask"].astype(np.uint8))
    file.save(
        filename=str(work / path.name),
        shapes=shapes,
        image_path=f"../{file.image_path}",
        image_data=None,
        image_height=height,
        image_width=width,
        other_data={},
        flags={},
    )
print(json.dumps(found))
