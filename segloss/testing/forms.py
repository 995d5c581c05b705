"""Promises about the module form of a loss."""

import copy
import inspect
import pickle

import torch

from segloss.testing.base import Loss, close, promise
from segloss.testing.samples import Case, extra


def built(loss: Loss, case: Case, **keywords: object) -> torch.nn.Module:
    """The module with the parameters of the loss, and with the inputs that do not change with the batch."""
    assert loss.module is not None
    kept = {name: value for name, value in case.extras.items() if name not in given(loss, case)}
    activation = {"activation": "sigmoid"} if case.task == "multilabel" and loss.accepts("activation") else {}
    return loss.module(**{**activation, **loss.params, **kept, **keywords})


def given(loss: Loss, case: Case) -> dict[str, torch.Tensor]:
    """The inputs that the module is called with: those it does not keep."""
    assert loss.module is not None
    kept = inspect.signature(loss.module).parameters
    return {name: value for name, value in case.extras.items() if name not in kept}


@promise(of="both")
def module_equals_function(loss: Loss, case: Case) -> None:
    """The module form has the keywords and defaults of the function and gives the same value."""
    if loss.module is None:
        return
    for keywords in ({}, {"reduction": "none"}) if loss.accepts("reduction") else ({},):
        value = built(loss, case, **keywords)(case.logits, case.target, **given(loss, case))
        close(value, loss(case, **keywords), f"value of the module with {keywords}")
    if loss.accepts("mask"):
        mask = case.logits[:, :1] > -1
        value = built(loss, case)(case.logits, case.target, **given(loss, case), mask=mask)
        close(value, loss(case, mask=mask), "value of the module called with a mask")


@promise(of="both")
def module_can_be_copied(loss: Loss, case: Case) -> None:
    """The module survives pickling and copying, and takes its tensors along to another type."""
    if loss.module is None:
        return
    keywords = {"weight": extra("weight", case).float()} if loss.accepts("weight") else {}
    module = built(loss, case, **keywords)
    expected = loss(case, **keywords)
    for name, copied in {"pickled": pickle.loads(pickle.dumps(module)), "copied": copy.deepcopy(module)}.items():
        close(copied(case.logits, case.target, **given(loss, case)), expected, f"value of the {name} module")
    moved = copy.deepcopy(module).to(torch.float64)
    close(moved(case.logits, case.target, **given(loss, case)), expected, "value of the module moved to float64")
    assert all(buffer.dtype == torch.float64 for buffer in moved.buffers()), "buffers should move with the module"
    assert len(list(moved.buffers())) >= len(keywords), "tensors should be buffers of the module"


@promise(of="both")
def module_says_what_it_is(loss: Loss, case: Case) -> None:
    """The text of the module names the parameters that differ from their defaults, and no others."""
    if loss.module is None:
        return
    keywords = {"reduction": "sum"} if loss.accepts("reduction") else {}
    text = repr(built(loss, case, **keywords))
    assert text.startswith(loss.module.__name__), f"the text should begin with the class name, it is {text}"
    defaults = {name: parameter.default for name, parameter in loss.parameters.items()}
    for name, value in {**loss.params, **keywords}.items():
        said = f"{name}={value!r}" in text
        assert said == (value != defaults[name]), f"the text should name {name} only if not the default, it is {text}"
