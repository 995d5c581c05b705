"""Mutual information of regions, by its lower bound for Gaussian windows, with cross-entropy."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from segloss.core import (
    HardLabels,
    Logits,
    Mask,
    Reduction,
    Value,
    check_reduction,
    count,
    log_likelihood,
    mean_over_images,
    not_negative,
    one_of,
    positive,
    prepare,
    ratio,
    soft_masks,
    spatial_sum,
    window_scatter,
)

Pooling = Literal["average", "max", "resize"]
Map = Float[Tensor, "B C *S"]

# Of the authors' code: added to the probabilities, or beside a softmax the least of them; and added to the diagonal.
LEAST, LEAST_ROOT = 1e-6, 1e-8


def region_mutual_information_loss(
    logits: Logits,
    target: HardLabels,
    *,
    window_size: int = 3,
    pooling: Pooling = "average",
    pool_size: int = 4,
    ce_weight: float = 0.5,
    rmi_weight: float = 0.5,
    cross_entropy: Literal["sigmoid", "softmax"] = "sigmoid",
    xi: float = 5e-4,
    smooth: float = 1.0,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Cross-entropy, minus a lower bound of the mutual information between the windows of truth and prediction.

    $$L = -\frac{\lambda_{CE}}{N + s} \sum_i \log p_i
    + \lambda_{RMI} \frac{1}{B} \sum_{b, c} \frac{1}{2d} \log\det(M_{bc} + \xi I), \qquad
    M_{bc} = \Sigma_Y - \mathrm{Cov}(Y, P)\,(\Sigma_P + \xi I)^{-1}\,\mathrm{Cov}(Y, P)^\top$$

    The maps of labels and probabilities are pooled; $Y$ and $P$ are the windows of $d = R^n$ voxels in the pooled maps
    of class $c$ in image $b$, and $\Sigma$ and $\mathrm{Cov}$ sums of centred products over all windows inside. Each
    class has a sigmoid of its own: $p_i$ is the probability of its yes or no at voxel $i$, and the sum runs over the
    classes too. $N$ is the number of voxels of the batch. Ignored voxels belong to no class and have probability 0. The
    paper is in 2D; 1D and 3D are an extension.

    Args:
        window_size: Side $R$ of the windows, in pooled voxels.
        pooling: `"average"` or `"max"`, with padding of half a pool; or `"resize"`: interpolation of the probabilities
            and nearest neighbours of the labels.
        pool_size: Voxels of a pool along each axis; 1 for none.
        ce_weight: Weight $\lambda_{CE}$ of cross-entropy.
        rmi_weight: Weight $\lambda_{RMI}$ of the mutual information.
        cross_entropy: `"softmax"` is the cross-entropy of exclusive classes; the mutual information keeps its sigmoids.
        xi: The constant $\xi$.
        smooth: The constant $s$.

    Returns:
        A scalar, which is negative where much is right, or with `reduction="none"` one loss an image, (B,).

    Raises:
        ValueError: If a weight or `smooth` is negative, `xi` is not positive, a size is less than 1, the image is
            smaller than a window, or an input has the wrong shape, type or values.

    References:
        [zhao2019rmi]

    Examples:
        >>> target = torch.zeros(1, 9, 9, dtype=torch.long)
        >>> target[:, 3:6, 2:7] = 1
        >>> logits = 9.0 * target.unsqueeze(1) - 4.5
        >>> region_mutual_information_loss(logits, target, pool_size=1)
        tensor(-1.7159)
    """
    not_negative(ce_weight=ce_weight, rmi_weight=rmi_weight, smooth=smooth)
    positive(xi=xi)
    one_of("pooling", pooling, ("average", "max", "resize"))
    one_of("cross_entropy", cross_entropy, ("sigmoid", "softmax"))
    check_reduction(reduction)
    x = prepare(logits, target, activation="sigmoid", ignore_index=ignore_index, mask=mask, soft=False)
    if cross_entropy == "softmax" and (logits.shape[1] == 1 or x.dense):
        raise ValueError(
            'cross_entropy must be "sigmoid" where classes do not exclude each other, got "softmax" with '
            f"{logits.shape[1]} channels and a target of shape {tuple(target.shape)}"
        )
    _check_sizes(logits.shape[2:], window_size, pool_size, pooling)

    n = count(x)[:, 0]
    scores = x if cross_entropy == "sigmoid" else replace(x, activation="softmax")
    log_p = spatial_sum(log_likelihood(scores)).sum(1)
    ce = -ratio((n > 0).sum() * log_p, n.sum() + smooth, empty=0.0)

    p, g = (x.spatial(y) for y in soft_masks(x))
    if cross_entropy == "softmax":
        p = p.clamp(min=LEAST)
    p, g = _pooled(p, pooling, pool_size), _pooled(g, pooling, pool_size, nearest=True)
    if cross_entropy == "sigmoid":
        p = p + LEAST * _pooled(p.new_ones(1, 1, *logits.shape[2:]), pooling, pool_size)
    scatter = window_scatter(p, g, window_size)
    d = scatter.shape[-1] // 2
    # M + ξI is the Schur complement of Σ_P + ξI in this matrix, whose factor ends in the factor of M + ξI.
    factor = torch.linalg.cholesky_ex(scatter + xi * torch.eye(2 * d, dtype=scatter.dtype, device=scatter.device)).L
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1)[..., d:].add(LEAST_ROOT).log().sum(-1)
    loss = ce_weight * ce + rmi_weight * log_det.sum(1) / (2 * d)
    return mean_over_images(torch.where(n > 0, loss, 0.0), n, reduction, logits.dtype)


def _check_sizes(shape: Sequence[int], window: int, pool: int, pooling: Pooling) -> None:
    """Refuse sizes that leave no window."""
    for name, size in (("window_size", window), ("pool_size", pool)):
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
    left = [n // pool if pool == 1 or pooling == "resize" else (n + 2 * (pool // 2) - pool) // pool + 1 for n in shape]
    if min(shape) < pool or min(left) < window:
        raise ValueError(
            f"logits must have a pool and leave a window of {window} along each axis; with pool_size={pool} those of "
            f"spatial shape {tuple(shape)} leave {tuple(left)}"
        )


def _pooled(y: Map, pooling: Pooling, size: int, *, nearest: bool = False) -> Map:
    """A map on a coarser grid."""
    axes = y.ndim - 3
    if size == 1:
        return y
    if pooling == "average":
        return (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[axes](y, size, size, size // 2)
    if pooling == "max":
        return (F.max_pool1d, F.max_pool2d, F.max_pool3d)[axes](y, size, size, size // 2)
    shape = [n // size for n in y.shape[2:]]
    if nearest:
        return F.interpolate(y, shape, mode="nearest")
    return F.interpolate(y, shape, mode=("linear", "bilinear", "trilinear")[axes], align_corners=True)
