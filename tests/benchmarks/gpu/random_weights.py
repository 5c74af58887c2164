"""``wsss-seed`` with random weights and typical answers in place of models that have not been downloaded.

    python -m tests.benchmarks.gpu.random_weights generate ...

Worker processes import this module as their main one and so have the same weights.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch

from wsss_seed.models.typical import answer_typically
from wsss_seed.models.untrained import needs_random, untrained, without_download
from wsss_seed.models.zoo import ROLES, ModelSet


def _replace(role: str) -> None:
    load = vars(ModelSet)[role].func

    def loaded(models: ModelSet) -> Any:
        if not needs_random(models, role):
            return load(models)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = untrained(role, models.names[role], models.device, models.precision_of(role))
        answer_typically(role, model)
        return model

    replaced = cached_property(loaded)
    replaced.__set_name__(ModelSet, role)
    setattr(ModelSet, role, replaced)


# ``auto`` on a CPU would compare masks of SAM's own weights, which are missing here.
_choose = vars(ModelSet)["precision"].func
ModelSet.precision = property(lambda models: _choose(without_download(models)))

for _role in ROLES:
    _replace(_role)

if __name__ == "__main__":
    from wsss_seed.cli import main

    main()
