"""A tour of the Python API in cells, for Jupyter, VS Code or Spyder; as a script it runs from top to bottom.

jupytext --to ipynb examples/notebook.py
"""

# %% Load a backend once. The bundled miniature models know toyland's drawings; for photographs take models="base".
import tempfile
from pathlib import Path

import wsss_seed as ws

folder = Path(tempfile.mkdtemp())
seeder = ws.load("dino-sam", classes="toyland", models="tiny")

# %% A drawn image stands for a photograph: a path, a PIL image or an array uint8 (H, W, 3) will do.
world = ws.open_dataset("toyland", images=8)
image = world.image(world[0])
seed = seeder(image)
print(seed.names, seed.labels.shape, f"{(seed.labels == 255).mean():.1%} ignored")
seed.plot()

# %% What was found: boxes, scores and masks, each with its class.
for instance in seed.instances:
    name = seeder.class_set.names[instance.class_id]
    print(f"{name}: {instance.score:.2f}, box {instance.xyxy}, {instance.mask.sum()} pixels")

# %% Where the classes of an image are known, give them: nothing else is looked for.
known = seeder(image, labels=[world.class_set.names[c] for c in world[0].labels])
known.save(folder / "mask.png")
known.plot().save(folder / "overlay.png")

# %% Settings have the names of `wsss-seed settings dino-sam`, in groups.
strict = ws.load("dino-sam", classes="toyland", models="tiny", detector={"box_threshold": 0.6})
print(len(seed.instances), "objects,", len(strict(image).instances), "with a strict detector")

# %% A whole dataset becomes a run folder, which resumes where it was interrupted.
run = ws.generate("toyland", images=8, out=folder / "seeds", progress=False)
print(f"mIoU {run.evaluate().miou:.1%}")

# %% Any tool reads the run folder; mmsegmentation, Hugging Face datasets, COCO and YOLO have formats of their own.
exported = run.export("coco", folder / "coco")
page = run.report()
print(exported.out, page.out)

# %% Later, or in another process.
again = ws.open_run(folder / "seeds")
print(len(again.records), "masks of", again.content.names)
