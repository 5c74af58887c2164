"""The process group of torch in which ``accelerate launch`` and ``torchrun`` join their processes."""

import atexit

import torch.distributed


def leave_at_exit() -> None:
    """Leave the process group before the interpreter ends, if this process has joined one.

    Threads of a group that still exists when the C++ libraries are unloaded can end the process with SIGABRT, after
    work that has succeeded.
    """
    atexit.register(_leave)


def _leave() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
