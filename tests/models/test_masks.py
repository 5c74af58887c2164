"""Every model of masks has the methods of the interface, with the arguments by which callers call them."""

import inspect

import pytest

from wsss_seed.models.hf_masks import HfMasks
from wsss_seed.models.masks import MaskModel
from wsss_seed.models.sam import Sam

METHODS = {name: method for name, method in vars(MaskModel).items() if inspect.isfunction(method) and name[0] != "_"}


@pytest.mark.parametrize("model", [Sam, HfMasks])
@pytest.mark.parametrize("name", METHODS)
def test_methods_take_the_arguments_of_the_interface(model, name):
    wanted, found = (inspect.signature(m).parameters for m in (METHODS[name], getattr(model, name)))
    for key, parameter in wanted.items():
        assert found[key].default == parameter.default, key
        assert found[key].kind == parameter.kind, key
    for key in found.keys() - wanted.keys():
        assert found[key].default is not inspect.Parameter.empty, key
