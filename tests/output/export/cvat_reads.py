"""Run in an environment with datumaro, the library of CVAT's formats: read an export as CVAT's importers do, and write
it as its exporter of "Segmentation mask 1.1" does.

Prints, as JSON, the version and for both formats label maps by file name, as lists; 255 is the label ``ignore``.
"""

import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset
from datumaro.version import __version__

export, work = map(Path, sys.argv[1:])


def label_maps(dataset: Dataset) -> dict[str, list[list[str]]]:
    """Names of labels by pixel, by item."""
    names = [item.name for item in dataset.categories()[AnnotationType.label].items]
    sizes = {i["file_name"].rpartition(".")[0]: (i["height"], i["width"]) for i in table["images"]}
    found = {}
    for item in dataset:
        out = np.full(sizes[item.id], "background", object)
        for annotation in item.annotations:
            if annotation.type == AnnotationType.mask:
                out[np.asarray(annotation.image, bool)] = names[annotation.label]
        found[item.id] = out.tolist()
    return found


table = json.loads((export / "coco.json").read_text())
with zipfile.ZipFile(export / "segmentation_mask.zip") as archive:
    archive.extractall(work / "voc")
voc = Dataset.import_from(str(work / "voc"), "voc_segmentation")
(work / "coco" / "annotations").mkdir(parents=True)
(work / "coco" / "annotations" / "instances_default.json").write_text(json.dumps(table))
shutil.copytree(export / "images", work / "coco" / "images" / "default")  # which CVAT's edition does not ask for
coco = Dataset.import_from(str(work / "coco"), "coco_instances")
found = {"version": __version__, "voc": label_maps(voc), "coco": label_maps(coco)}

# CVAT's exporter (dataset_manager/formats/mask.py), with the labels in the order of the labelmap.txt that was imported.
options = {"save_media": False, "apply_colormap": True, "label_map": str(work / "voc" / "labelmap.txt")}
voc.export(str(work / "out of voc"), "voc_segmentation", **options)
coco.export(str(work / "out of coco"), "coco_instances", save_media=False)
print(json.dumps(found))
