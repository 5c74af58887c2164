"""Run in an environment with fiftyone, whose database is not needed for this: read an export with its own importer,
edit a mask, and write what its exporters would.

Takes an export and a folder to write to. Prints, as JSON, the version, the fields of a sample, and masks and the means
of confidence by name.
"""

import json
import os
import sys
from pathlib import Path

os.environ |= {"FIFTYONE_DATABASE_VALIDATION": "false", "FIFTYONE_DO_NOT_TRACK": "true", "HOME": sys.argv[2]}

import fiftyone as fo
import fiftyone.types as fot
import fiftyone.utils.data as foud
from fiftyone.core.odm import DatasetDocument

export, work = map(Path, sys.argv[1:])
importer, _ = foud.build_dataset_importer(fot.FiftyOneDataset, dataset_dir=str(export))
importer = foud.importers._handle_legacy_formats(importer)
masks, means, edited, arrays = {}, {}, [], []
with importer:
    info = importer.get_dataset_info()
    targets = DatasetDocument.default_mask_targets.to_python(info["default_mask_targets"])
    assert all(isinstance(value, int) for value in targets)
    for sample in importer:
        assert Path(sample.filepath).is_file()
        name = sample["wsss_seed"]
        mask = sample["mask"].get_mask()
        masks[name] = mask.tolist()
        means[name] = float(sample["confidence"].get_map().mean())
        if name.startswith("ring-"):
            mask = mask.copy()
            mask[:3, :5] = 255
            fields = {field: type(sample[field]).__name__ for field in sample.field_names}
        sample["mask"] = fo.Segmentation(mask=mask)
        arrays.append(sample.to_dict())  # with the array in it
        sample["mask"].export_mask(str(work / "fields" / "mask" / f"{name}.png"), update=True)
        sample["mask"].mask_path = f"fields/mask/{name}.png"
        edited.append(sample.to_dict())
(work / "samples.json").write_text(json.dumps({"samples": edited}))
(work / "arrays.json").write_text(json.dumps({"samples": arrays}))
found = {"version": fo.__version__, "importer": type(importer).__name__, "fields": fields, "masks": masks}
print(json.dumps(found | {"means": means, "targets": {str(key): value for key, value in targets.items()}}))
