"""What every reader of weights may run into."""

import pickle
import zipfile

from safetensors import SafetensorError

# What reading a wrong or damaged file ends in, between json, zipfile, safetensors, torch and the models' libraries.
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    ImportError,
    AssertionError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    SafetensorError,
)
