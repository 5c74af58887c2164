"""An image folder read by Hugging Face datasets gives the label maps back."""

import json

import numpy as np

from tests.output.odd_run import CLASSES, NAMES, image_of, label_maps
from wsss_seed.data.voc import Voc
from wsss_seed.output.export import export

MAPS = label_maps()


def test_image_folder_read_by_datasets(run, tmp_path):
    import datasets

    export("hf", run, tmp_path / "out", validation=Voc(run, CLASSES))
    found = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert set(found) == {"train", "validation"}
    for split in found.values():
        assert list(split["id"]) == list(MAPS)
        for row in split:
            np.testing.assert_array_equal(np.asarray(row["label"]), MAPS[row["id"]])
            np.testing.assert_array_equal(np.asarray(row["image"].convert("RGB")), image_of(run, row["id"]))
    labels = json.loads((tmp_path / "out" / "id2label.json").read_text())
    assert labels == {str(i): name for i, name in enumerate(("background", *NAMES))}


def test_class_names_are_taken_as_they_are(run, tmp_path):
    export("hf", run, tmp_path / "out")
    assert list(json.loads((tmp_path / "out" / "id2label.json").read_text()).values()) == ["background", *NAMES]
