"""Measurements, run by hand: each module says what it measures and how it is called.

``tests/benchmarks/gpu.sh`` runs everything that needs a GPU in one command of at most nine minutes, from a fresh copy
of the tree and without downloaded weights: models of full size have random ones. Its parts, in order of worth: the
machine; every model in fp32, bf16 and fp16; equality with a CPU; peak memory at 4000 x 3000 pixels; ``bench`` with
peers for the model sets base and large; proposals beside SamAutomaticMaskGenerator; learn-prompts and train-seg; two
processes on one device; ``generate --batch``. Each part has a time limit and ends in one line of JSON on standard
output, and in ``$OUT/gpu.jsonl`` if OUT is set; a part that fails has ``error`` there, and the next one starts. Without
a GPU, or with ``--small``, the same parts run the miniatures on a few images, which tests the script (``test_gpu.py``);
name parts to run only these: ``tests/benchmarks/gpu.sh smoke equality``.
"""
