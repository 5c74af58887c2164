"""mmsegmentation's own tools/train.py on top of mmcv-lite, for networks that need no compiled operator.

python train.py EXPORT/deeplabv3plus.py [arguments of tools/train.py]

mmcv's compiled operators do not build against current versions of PyTorch. mmsegmentation imports all of them, but most
of its networks never call one. This script replaces them by placeholders that raise an error when called.
"""

import runpy
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path


class Placeholder(types.ModuleType):
    """A module in which every name is a function that raises RuntimeError."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args, **kwargs):
            raise RuntimeError(f"this network needs the compiled operator {name} of mmcv, which is not installed")

        return missing


def put_placeholder() -> None:
    """Make mmcv's operators importable."""
    import mmcv

    # mmsegmentation rejects newer versions of mmcv; this is the latest that it accepts, without operators.
    assert mmcv.__version__ == "2.1.0", f"mmcv-lite 2.1.0 is needed, not {mmcv.__version__}"
    placeholder = Placeholder("mmcv._ext")
    placeholder.__spec__ = ModuleSpec("mmcv._ext", None)
    sys.modules["mmcv._ext"] = placeholder


def main() -> None:
    put_placeholder()
    import mmseg

    tool = Path(mmseg.__file__).parent / ".mim" / "tools" / "train.py"
    sys.argv[0] = str(tool)
    runpy.run_path(str(tool), run_name="__main__")


if __name__ == "__main__":
    main()
