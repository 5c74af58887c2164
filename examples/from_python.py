"""Seed images from Python, without the command line.

python examples/from_python.py
"""

from wsss_seed.data import open_dataset
from wsss_seed.models.zoo import ModelSet
from wsss_seed.seeding.backends import BackendRequest, build_seeder
from wsss_seed.types import LoadedSample

data = open_dataset("toyland", labels="none", images=3)
seeder = build_seeder("dino-sam", BackendRequest(data.class_set, ModelSet("tiny"), {"ignore.boundary": 0}))
for sample in data:
    (seed,) = seeder.seed([LoadedSample(sample, data.image(sample))])
    print(sample.id, seed.labels.shape, [data.class_set.names[c] for c in seed.present])
