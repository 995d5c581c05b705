"""Promises about what is refused: with a ValueError, before any computation, naming the argument."""

import torch

from segloss.testing.base import Loss, promise, refused
from segloss.testing.samples import CLASSES, SHAPES, Case


@promise(of="both")
def wrong_shapes_are_refused(loss: Loss, case: Case) -> None:
    """Nothing is broadcast: a target that does not fit the logits is refused, and logits without space."""
    logits, target = case.logits, case.target
    wrong = {
        "a target of fewer images": target[:1],
        "a target of one voxel along an axis": target[..., :1],
        "a target with a voxel too many": torch.cat([target, target[..., :1]], -1),
        "a target without the batch axis": target[0],
        "a target with an axis too many": target.unsqueeze(1).unsqueeze(1),
        "a target of too many channels": torch.stack([target] * (logits.shape[1] + 1), 1),
    }
    for what, other in wrong.items():
        refused("target", what, lambda other=other: loss(case.replace(target=other)))
    flat = case.replace(logits=logits.flatten(2)[..., 0], target=target.flatten(-case.dims)[..., 0])
    refused("logits", "logits without a spatial axis", lambda: loss(flat))


@promise(of="both")
def wrong_types_are_refused(loss: Loss, case: Case) -> None:
    """Logits that are not floating, indices that are, and anything but tensors are refused."""
    errors = ValueError, TypeError
    wrong = {"integers": case.logits.long(), "complex numbers": case.logits.to(torch.complex64), "a list": [[[0.0]]]}
    for what, logits in wrong.items():
        refused("logits", f"logits as {what}", lambda it=logits: loss(case.replace(logits=it)), errors)
    wrong = {"complex numbers": case.target.to(torch.complex64), "a list": case.target.tolist()}
    if case.target.ndim < case.logits.ndim:
        wrong["floating class indices"] = case.target.double()
    else:
        wrong["integers for every class"] = case.target.long()
    for what, target in wrong.items():
        refused("target", f"a target as {what}", lambda it=target: loss(case.replace(target=it)), errors)


@promise(of="both")
def labels_out_of_range_are_refused(loss: Loss, case: Case) -> None:
    """A label which no class has is refused, not clipped: on the CPU, where looking costs no synchronisation."""
    if case.target.dtype == torch.bool:
        return
    for label in (max(2, case.logits.shape[1]), -1, 255):
        target = case.target.clone()
        target[0, 0] = label
        refused("target", f"a label of {label}", lambda it=target: loss(case.replace(target=it)))
        if loss.accepts("ignore_index"):
            ignoring = f"a label of {label} beside ignore_index=77"
            refused("target", ignoring, lambda it=target: loss(case.replace(target=it), ignore_index=77))


@promise(of="both")
def unknown_words_are_refused(loss: Loss, case: Case) -> None:
    """A keyword that takes one of a few words refuses all others; a softmax over one channel is refused too."""
    for keyword in ("activation", "absent", "reduction"):
        if loss.accepts(keyword):
            for word in ("average", "Mean", "", None):
                refused(
                    keyword, f"{keyword}={word!r}", lambda it={keyword: word}: loss(case, **it), (ValueError, TypeError)
                )
    if loss.accepts("activation") and case.task == "binary":
        refused("activation", 'activation="softmax" of one channel', lambda: loss(case, activation="softmax"))


@promise(keyword="weight", of="both")
def wrong_weights_are_refused(loss: Loss, case: Case) -> None:
    """Weights are a tensor of length C, background included."""
    classes = case.logits.shape[1]
    for size in ((classes + 1,), (classes, 1), ()):
        weight = torch.ones(size, dtype=torch.float64)
        refused("weight", f"weight of shape {size}", lambda it=weight: loss(case, weight=it))
    if case.task != "binary":
        short = torch.ones(classes - 1, dtype=torch.float64)
        refused("weight", "weight without the background", lambda: loss(case, weight=short, include_background=False))


@promise(keyword="mask", of="both")
def wrong_masks_are_refused(loss: Loss, case: Case) -> None:
    """A mask has the shape (B, 1, *S) and holds ones and zeros."""
    mask = torch.ones_like(case.logits[:, :1])
    wrong = {
        "a mask of fewer images": mask[:1],
        "a mask of one voxel along an axis": mask[..., :1],
        "a mask of too many channels": torch.cat([mask] * (case.logits.shape[1] + 1), 1),
        "a mask of one half": mask / 2,
    }
    for what, other in wrong.items():
        refused("mask", what, lambda it=other: loss(case, mask=it))


@promise(of="both")
def unclaimed_inputs_are_refused(loss: Loss, case: Case) -> None:
    """Tasks, numbers of spatial axes and soft labels are either claimed or refused."""
    family = loss, *loss.others
    for dims in SHAPES:
        if not any(dims in it.dims for it in family):
            refused("logits", f"{dims} spatial axes", lambda it=dims: loss(loss.on(case.task, it)))
    for task in CLASSES:
        if not any(task in it.tasks for it in family):
            argument = "activation" if task == "multilabel" and loss.accepts("activation") else ""
            refused(argument, f"a {task} sample", lambda it=task: loss(loss.on(it, case.dims)))
    if not any(it.soft_labels for it in family):
        refused("target", "soft labels", lambda: loss(case.replace(target=0.8 * case.truth + 0.1)))
        refused("target", "a floating one-hot target", lambda: loss(case.replace(target=case.truth)))
