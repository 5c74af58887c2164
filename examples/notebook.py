"""A tour of the Python API in notebook cells, for Jupyter, VS Code or Spyder; also runs as a script.

jupytext --to ipynb examples/notebook.py
"""

# %% Load a backend once. The bundled miniature models were trained on toyland; for photographs, use models="base".
import tempfile
from pathlib import Path

import wsss_seed as ws

folder = Path(tempfile.mkdtemp())
seeder = ws.load("dino-sam", classes="toyland", models="tiny")

# %% Seed one image: a path, a PIL image or a uint8 array (H, W, 3). Here, an image of toyland.
world = ws.open_dataset("toyland", images=8)
image = world.image(world[0])
seed = seeder(image)
print(seed.labels.shape, f"{(seed.labels == 255).mean():.1%} ignored")
seed.plot()

# %% The objects found, with class, score, box and mask.
for instance in seed.instances:
    name = seeder.class_set.names[instance.class_id]
    box = ", ".join(f"{x:.0f}" for x in instance.xyxy)
    print(f"{name}: {instance.score:.2f}, box ({box}), {instance.mask.sum()} pixels")

# %% If the classes in an image are known, pass them, and only these are searched for.
known = seeder(image, labels=[world.class_set.names[c] for c in world[0].labels])
known.save(folder / "mask.png")
known.plot().save(folder / "overlay.png")

# %% Settings are passed in groups; `wsss-seed settings dino-sam` lists them.
strict = ws.load("dino-sam", classes="toyland", models="tiny", detector={"box_threshold": 0.6})
print("objects:", len(seed.instances), "- with a strict detector:", len(strict(image).instances))

# %% Seed a dataset into a run folder; an interrupted run resumes.
run = ws.generate("toyland", images=8, out=folder / "seeds", progress=False)
print(f"mIoU {run.evaluate().miou:.1%}")

# %% The run folder has VOC layout; export to mmsegmentation, Hugging Face datasets, COCO or YOLO, or write a report.
exported = run.export("coco", folder / "coco")
page = run.report()
print(exported.out, page.out)

# %% Draw a contact sheet, and see what decided about the boxes of an image.
print(run.sheet(limit=4).out)
why = run.explain(world[0].id)
print([f"{box.cls}: {reason}" for box, reason in zip(why.boxes, why.reasons, strict=True)])
why.picture().save(folder / "why.png")

# %% Open the run later or in another process.
again = ws.open_run(folder / "seeds")
print(len(again.records), "masks of", again.content.names)
