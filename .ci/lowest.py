"""Print pip constraints for the lowest version of each library that pyproject.toml allows to users."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
extras = project["optional-dependencies"]
optional = (extras[name] for name in extras if name != "test")
for requirement in sorted({*project["dependencies"], *(one for some in optional for one in some)}):
    name, lowest = re.match(r"([\w-]+)>=([^,]+)", requirement).groups()
    print(f"{name}=={lowest}")
