"""Promises about what a loss does not depend on: orders, forms of the same input, the state around it."""

import random

import numpy as np
import torch

from segloss.testing.base import Loss, close, promise, value_and_grad
from segloss.testing.samples import Case, extra


@promise(of="both")
def image_order_is_free(loss: Loss, case: Case) -> None:
    """Swapping the images of a batch changes nothing."""
    close(loss(case.images([1, 0])), loss(case), "value with the images swapped")


@promise(of="both")
def axis_order_is_free(loss: Loss, case: Case) -> None:
    """Transposing the spatial axes changes nothing."""
    close(loss(case.transposed()), loss(case), "value with the spatial axes transposed")


@promise(of="both")
def class_order_is_free(loss: Loss, case: Case) -> None:
    """Renaming the foreground classes changes nothing; inputs for each class are renamed with them."""
    keywords = {
        name: extra(name, case)
        for name in ("weight", "label_distance")
        if loss.accepts(name) and name not in loss.params
    }
    first, *others = range(case.logits.shape[1])
    renamed = case.replace(extras={**case.extras, **keywords}).classes([first, *reversed(others)])
    close(loss(renamed), loss(case, **keywords), "value with the classes renamed")


@promise
def memory_layout_is_free(loss: Loss, case: Case) -> None:
    """Inputs whose memory is not contiguous give the same value and gradient."""
    expected, slope = value_and_grad(loss, case)
    scattered = case.replace(
        logits=case.logits.transpose(1, -1).contiguous().transpose(1, -1),
        target=case.target.transpose(0, -1).contiguous().transpose(0, -1),
    )
    layouts = {"not contiguous": scattered}
    if case.dims > 1:
        layout = torch.channels_last if case.dims == 2 else torch.channels_last_3d
        layouts["channels last"] = case.replace(logits=case.logits.contiguous(memory_format=layout))
    for name, other in layouts.items():
        value, gradient = value_and_grad(loss, other)
        close(value, expected, f"value of logits that are {name}")
        close(gradient, slope, f"gradient of logits that are {name}")


@promise(of="both")
def label_forms_agree(loss: Loss, case: Case) -> None:
    """Class indices may be of any integer type, and may have a channel axis."""
    if case.target.dtype == torch.bool:
        return
    expected = loss(case)
    for dtype in (torch.uint8, torch.int16, torch.int32):
        close(loss(case.replace(target=case.target.to(dtype))), expected, f"value of {dtype} labels")
    close(loss(case.replace(target=case.target.unsqueeze(1))), expected, "value of (B, 1, *S) labels")


@promise
def one_hot_equals_labels(loss: Loss, case: Case) -> None:
    """Where soft labels are claimed, ones and zeros mean what class indices mean, and halves are accepted."""
    if not loss.soft_labels:
        return
    expected, slope = value_and_grad(loss, case)
    for dtype in (torch.float64, torch.float32, torch.bool):
        value, gradient = value_and_grad(loss, case.replace(target=case.truth.to(dtype)))
        close(value, expected, f"value of {dtype} one-hot labels")
        close(gradient, slope, f"gradient of {dtype} one-hot labels")
    soft = loss(case.replace(target=0.8 * case.truth + 0.1))
    assert abs(soft - expected) > 1e-6, "soft labels should count as they are, not rounded"


@promise(keyword="activation")
def probabilities_equal_logits(loss: Loss, case: Case) -> None:
    """`activation="none"` on probabilities equals the activation named, and "auto" is the one of the task."""
    name = "softmax" if case.task == "multiclass" else "sigmoid"
    probabilities = case.logits.softmax(1) if name == "softmax" else case.logits.sigmoid()
    expected = loss(case, activation=name)
    close(loss(case.replace(logits=probabilities), activation="none"), expected, 'value with activation="none"')
    if case.task != "multilabel":
        close(loss(case, activation="auto"), expected, 'value with activation="auto"')


@promise(of="both")
def arguments_are_left_alone(loss: Loss, case: Case) -> None:
    """No input is written to, no global random number is drawn, the same call gives the same value."""
    keywords: dict[str, object] = {
        name: extra(name, case) for name in ("weight", "label_distance") if loss.accepts(name)
    }
    if loss.accepts("mask"):
        keywords["mask"] = torch.ones_like(case.logits[:, :1], dtype=torch.bool)
    inputs = {"logits": case.logits, "target": case.target, **case.extras, **keywords}
    inputs = {name: tensor.clone() for name, tensor in inputs.items() if isinstance(tensor, torch.Tensor)}
    before = {name: (tensor.clone(), tensor._version) for name, tensor in inputs.items()}
    logits, target = inputs.pop("logits").requires_grad_(not loss.measure), inputs.pop("target")
    states = random_states()

    example = case.replace(logits=logits, target=target)
    value = loss(example, **inputs)
    if not loss.measure:
        torch.autograd.grad(value, logits)
        assert logits.requires_grad, "the logits should keep requires_grad"
        assert logits.grad is None, "a call should not fill .grad"

    for name, tensor in {"logits": logits, "target": target, **inputs}.items():
        same = torch.equal(tensor.detach(), before[name][0]) and tensor._version == before[name][1]
        assert same, f"{name} should not be written to"
    assert random_states() == states, "no global random number should be drawn"
    close(loss(example, **inputs), value, "value of the same call again", rtol=0, atol=0)


@promise(of="both")
def works_without_gradient(loss: Loss, case: Case) -> None:
    """The value is the same under `torch.no_grad` and for logits that need no gradient, and holds no graph."""
    tracked = case.replace(logits=case.logits.detach().requires_grad_())
    with torch.no_grad():
        silent = loss(tracked)
    plain = loss(case)
    assert not silent.requires_grad, "the value should hold no graph under torch.no_grad()"
    assert not plain.requires_grad, "the value should hold no graph where the logits need no gradient"
    close(silent, loss(tracked).detach(), "value under torch.no_grad()")
    close(plain, silent, "value of logits that need no gradient")


def random_states() -> list[str]:
    """The states of the global generators."""
    return [str(torch.get_rng_state().tolist()), str(random.getstate()), str(np.random.get_state(legacy=False))]
