"""What is measured: every loss of the catalogue, and beside it the losses of other libraries that are installed."""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import segloss
from segloss import catalog
from segloss.catalog import Implementation
from segloss.testing import Loss
from segloss.testing.samples import CLASSES, Case, extra

Call = Callable[[], Tensor]
Made = tuple[Tensor, Call]
"""Logits with a gradient, and a call that gives a loss of them."""


@dataclass(frozen=True)
class On:
    """What a call is made for."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    device: str = "cpu"


@dataclass(frozen=True)
class Subject:
    """A loss: its name, and its call on logits; None where it takes no such logits."""

    name: str
    make: Callable[[On], Made | None]
    library: str = "segloss"
    function: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)


Group = tuple[Subject, ...]
"""A loss, and those that stand beside it."""


def sample(on: On) -> tuple[Tensor, Tensor]:
    """Random logits, and labels in blobs so that neighbours agree as they do in an image."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(on.shape, generator=generator).to(on.device, on.dtype).requires_grad_()
    labels = max(2, on.shape[1])
    coarse = torch.randint(0, labels, (on.shape[0], 1, *(max(1, n // 8) for n in on.shape[2:])), generator=generator)
    return logits, F.interpolate(coarse.float(), size=on.shape[2:]).long()[:, 0].to(on.device)


def cross_entropy(on: On) -> Made:
    """The yardstick; of one channel the binary one."""
    logits, target = sample(on)
    if on.shape[1] == 1:
        truth = target.unsqueeze(1).to(on.dtype)
        return logits, lambda: F.binary_cross_entropy_with_logits(logits, truth)
    return logits, lambda: F.cross_entropy(logits, target)


def catalogued(implementation: Implementation, on: On) -> Made | None:
    """A loss of the catalogue with the parameters of a paper, and samples of the inputs it needs."""
    classes, axes = on.shape[1], len(on.shape) - 2
    fits = [task for task in implementation.task if (CLASSES[task] == 1) == (classes == 1)]
    if not fits or axes not in implementation.dims:
        return None
    path, _, name = implementation.function.rpartition(".")
    function = getattr(importlib.import_module(path), name)
    logits, target = sample(on)
    if fits[0] == "multilabel":
        target = F.one_hot(target, classes).movedim(-1, 1).bool()
    case = Case(fits[0], logits, target)
    loss = Loss(function, implementation.params, (fits[0],))
    required = [n for n, p in list(loss.parameters.items())[2:] if p.default is p.empty and n not in loss.params]
    extras = {given: extra(given, case).to(on.device) for given in required}
    keywords = {**loss.keywords(case), **extras}
    return logits, lambda: function(logits, target, **keywords)


def usual(function: Callable[..., Tensor], on: On, **keywords: Any) -> Made | None:
    """A loss of several classes, with keywords of its own."""
    logits, target = sample(on)
    return None if on.shape[1] == 1 else (logits, lambda: function(logits, target, **keywords))


def given(function: Callable[..., Tensor], on: On) -> Made:
    """A loss whose distances are made beforehand."""
    logits, target = sample(on)
    distance = segloss.precompute.signed_distance_map(target, on.shape[1], batched=True)
    return logits, lambda: function(logits, target, distance=distance)


def by_scipy(function: Callable[..., Tensor], on: On) -> Made:
    """A loss whose distances scipy computes."""
    logits, target = sample(on)

    def call() -> Tensor:
        with segloss.distance_backend("scipy"):
            return function(logits, target)

    return logits, call


def of_peer(loss: Callable[[Tensor, Tensor], Tensor], axes: tuple[int, ...], channel: bool, on: On) -> Made | None:
    """A loss of another library, of several classes; `channel` says that labels have an axis for it."""
    if on.shape[1] == 1 or len(on.shape) - 2 not in axes:
        return None
    logits, target = sample(on)
    target = target.unsqueeze(1) if channel else target
    return logits, lambda: loss(logits, target)


def peers() -> Iterator[tuple[str, Subject]]:
    """The losses of other libraries, each with the name of ours that it stands beside."""
    for library, module, of in (
        ("MONAI", "monai.losses", _monai),
        ("kornia", "kornia.losses", _kornia),
        ("nnU-Net", "nnunetv2.training.loss", _nnunet),
        ("segmentation-models-pytorch", "segmentation_models_pytorch.losses", _smp),
    ):
        try:
            found = list(of(importlib.import_module(module)))
        except (ImportError, RuntimeError) as error:
            print(f"{library} is not measured: {error}", file=sys.stderr)
            continue
        for name, loss, axes, channel in found:
            call = getattr(loss, "__name__", type(loss).__name__)
            yield name, Subject(f"{library} {call}", partial(of_peer, loss, axes, channel), library)


Peer = tuple[str, Callable[..., Tensor], tuple[int, ...], bool]
ANY = (1, 2, 3)
COMMON = (
    "dice_loss",
    "generalised_dice_loss",
    "tversky_loss",
    "lovasz_softmax_loss",
    "focal_loss",
    "dice_ce_loss",
    "dice_focal_loss",
)
"""Losses that are measured with their defaults whether or not a peer is installed."""


def _monai(monai: ModuleType) -> Iterator[Peer]:
    labels = {"softmax": True, "to_onehot_y": True}
    yield "dice_loss", monai.DiceLoss(**labels), ANY, True
    yield "jaccard_loss", monai.DiceLoss(jaccard=True, **labels), ANY, True
    yield "generalised_dice_loss", monai.GeneralizedDiceLoss(**labels), ANY, True
    yield "tversky_loss", monai.TverskyLoss(alpha=0.3, beta=0.7, **labels), ANY, True
    yield "focal_loss", monai.FocalLoss(use_softmax=True, to_onehot_y=True), ANY, True
    yield "dice_ce_loss", monai.DiceCELoss(**labels), ANY, True
    yield "dice_focal_loss", monai.DiceFocalLoss(**labels), ANY, True
    yield "hausdorff_dt_loss", monai.HausdorffDTLoss(**labels), (2, 3), True
    yield "soft_cldice_loss, 3 iterations", monai.SoftclDiceLoss(iter_=3, **labels), (2, 3), True


def _kornia(kornia: ModuleType) -> Iterator[Peer]:
    def plane(loss: Callable[..., Tensor], **keywords: Any) -> Callable[[Tensor, Tensor], Tensor]:
        def call(x: Tensor, y: Tensor) -> Tensor:
            return loss(x.flatten(2)[..., None], y.flatten(1)[..., None], **keywords)

        call.__name__ = loss.__name__
        return call

    yield "dice_loss", plane(kornia.dice_loss, average="macro"), ANY, False
    yield "tversky_loss", plane(kornia.tversky_loss, alpha=0.3, beta=0.7), ANY, False
    yield "focal_loss", plane(kornia.focal_loss, alpha=0.25, reduction="mean"), ANY, False
    yield "lovasz_softmax_loss", plane(kornia.lovasz_softmax_loss), ANY, False
    yield "hausdorff_erosion_loss", kornia.HausdorffERLoss(), (2,), True
    yield "hausdorff_erosion_loss", kornia.HausdorffERLoss3D(), (3,), True


def _nnunet(nnunet: ModuleType) -> Iterator[Peer]:
    dice, compound, robust = (
        importlib.import_module(f"{nnunet.__name__}.{name}") for name in ("dice", "compound_losses", "robust_ce_loss")
    )

    def softmax(x: Tensor) -> Tensor:
        return torch.softmax(x, 1)

    lean = dice.MemoryEfficientSoftDiceLoss
    how = {"batch_dice": True, "do_bg": False, "smooth": 1e-5, "ddp": False}
    yield "dice_loss", lean(apply_nonlin=softmax, **{**how, "batch_dice": False, "do_bg": True}), ANY, True
    yield "dice_ce_loss", compound.DC_and_CE_loss(how, {}, dice_class=lean), ANY, True
    yield "dice_topk_loss", compound.DC_and_topk_loss(how, {"k": 10}), ANY, True
    yield "topk_cross_entropy_loss", robust.TopKLoss(k=10), ANY, True


def _smp(smp: ModuleType) -> Iterator[Peer]:
    yield "dice_loss", smp.DiceLoss("multiclass"), ANY, False
    yield "jaccard_loss", smp.JaccardLoss("multiclass"), ANY, False
    yield "tversky_loss", smp.TverskyLoss("multiclass", alpha=0.3, beta=0.7), ANY, False
    yield "focal_loss", smp.FocalLoss("multiclass"), ANY, False
    yield "lovasz_softmax_loss", smp.LovaszLoss("multiclass"), ANY, False


def subjects() -> Iterator[Subject]:
    """Every loss with every set of parameters once, and forms of some that are worth a look."""
    seen = set()
    for entry in catalog.entries().values():
        for it in entry.losses:
            name = it.function.rpartition(".")[2]
            call = f"{name}({', '.join(f'{key}={value!r}' for key, value in it.params.items())})"
            if call not in seen:
                seen.add(call)
                yield Subject(call, partial(catalogued, it), function=it.function, params=dict(it.params))
    for n in (3, 25):
        yield Subject(f"soft_cldice_loss, {n} iterations", partial(usual, segloss.soft_cldice_loss, iterations=n))
    yield Subject("boundary_loss, distance given", partial(given, segloss.boundary_loss))
    yield Subject("hausdorff_dt_loss, by scipy", partial(by_scipy, segloss.hausdorff_dt_loss))


def groups() -> list[Group]:
    """Every loss, and those that other libraries have too with their defaults and beside them."""
    beside: dict[str, list[Subject]] = {name: [] for name in COMMON}
    for name, subject in peers():
        beside.setdefault(name, []).append(subject)
    ours = {it.name: it for it in subjects()}
    for name in beside:
        if name not in ours:
            ours[name] = Subject(name, partial(usual, getattr(segloss, name)))
    return [(it, *beside.get(name, ())) for name, it in ours.items()]
