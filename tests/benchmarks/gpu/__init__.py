"""What needs a GPU, in parts that run one after the other; see ``tests/benchmarks/gpu.sh``."""
