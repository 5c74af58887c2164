"""Seed images from Python, without the command line.

python examples/from_python.py
"""

import wsss_seed as ws

seeder = ws.load(classes="toyland", models="tiny", mode="label_free")
world = ws.open_dataset("toyland", images=3)
for seed in seeder.stream(world.image(sample) for sample in world):
    print(seed.labels.shape, [f"{seeder.class_set.names[i.class_id]} {i.score:.2f}" for i in seed.instances])
