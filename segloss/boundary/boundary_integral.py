"""The boundary loss: probabilities summed up over signed distances to the true contour."""

from typing import Literal

from segloss.core import (
    Activation,
    ClassWeight,
    DistanceMap,
    HardLabels,
    Logits,
    Mask,
    Reduction,
    Spacing,
    Value,
    class_reducer,
    count,
    not_negative,
    one_of,
    prepare,
    priced_p,
    ratio,
    signed_distance,
)


def boundary_loss(
    logits: Logits,
    target: HardLabels,
    *,
    rim: float = 1.0,
    spacing: Spacing | None = None,
    distance: DistanceMap | None = None,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Mean of the probability times the signed distance to the true contour, negative inside.

    $$L_c = \frac{1}{N} \sum_i \phi_{ic}\, p_{ic}, \qquad
    \phi_{ic} = \begin{cases} D_{ic} & i \text{ outside of class } c \\ r - D_{ic} & i \text{ inside} \end{cases}$$

    $D_{ic}$ is the Euclidean distance from voxel $i$ to the nearest voxel of the other side, at least one step of the
    grid; $N$ is the number of voxels. The paper measures to the contour; the authors' code subtracts $r = 1$ inside, in
    whatever unit, so that the voxels at the rim have the distance 0. A class that is absent, or fills the image, has
    distance 0 throughout, and the loss says nothing about it. The distances carry no gradient: the loss is linear in
    $p$. It is least, and negative, for the truth.

    Args:
        rim: The distance $r$ that is subtracted inside.

    Returns:
        A scalar, negative for good predictions, in the units of `spacing`; or with `reduction="none"` one loss an image
        and class, (B, C).

    Raises:
        ValueError: If `rim` is negative, `spacing` does not have a positive number for each axis, `distance` has the
            wrong shape, or an input has the wrong shape, type or values.

    References:
        [kervadec2019boundary]

    Examples:
        >>> logits = torch.tensor([[[-20.0, -20.0, 20.0, 20.0, 20.0, 20.0]]])
        >>> target = torch.tensor([[0, 0, 0, 1, 1, 1]])
        >>> boundary_loss(logits, target, reduction="none")
        tensor([[-0.3333]])
    """
    not_negative(rim=rim)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    reduce = class_reducer(x, include_background, weight, reduction)

    distances = signed_distance(x, spacing, distance, background=include_background)
    return reduce(ratio(priced_p(x, distances, rim), count(x), empty=0.0))


def boundary_schedule(
    epoch: int, *, start: float = 0.01, step: float = 0.01, kind: Literal["rebalance", "increase"] = "rebalance"
) -> tuple[float, float]:
    r"""Weights of the regional loss and of the boundary loss in an epoch.

    $\alpha = \min(\alpha_0 + t\, \Delta, 1)$ grows with the epoch $t$; the boundary loss has the weight $\alpha$, the
    regional loss $1 - \alpha$.

    Args:
        epoch: The epoch $t$, from 0.
        start: The first weight $\alpha_0$ of the boundary loss.
        step: What it grows by each epoch, $\Delta$.
        kind: `"rebalance"`, or `"increase"`, which leaves the regional loss the weight 1.

    Returns:
        The two weights.

    Raises:
        ValueError: If `epoch`, `start` or `step` is negative, `start` is above 1, or `kind` is not known.

    References:
        [kervadec2019boundary]

    Examples:
        >>> boundary_schedule(24)
        (0.75, 0.25)
    """
    not_negative(epoch=epoch, start=start, step=step)
    if start > 1:
        raise ValueError(f"start must be at most 1, got {start}")
    one_of("kind", kind, ("rebalance", "increase"))
    alpha = min(start + epoch * step, 1.0)
    return (1 - alpha if kind == "rebalance" else 1.0), alpha
