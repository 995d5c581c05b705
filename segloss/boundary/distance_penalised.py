"""Cross-entropy that costs more the closer a voxel is to the boundary of its structure."""

from jaxtyping import Float
from torch import Tensor

from segloss.core import (
    Activation,
    DistanceMap,
    HardLabels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Spacing,
    Value,
    check_reduction,
    log_likelihood,
    over_voxels,
    prepare,
    ratio,
    signed_distance,
    true_mask,
)
from segloss.core.blocks import kept

Map = Float[Tensor, "B K N"]


def distance_penalised_cross_entropy_loss(
    logits: Logits,
    target: HardLabels,
    *,
    normalise: bool = True,
    spacing: Spacing | None = None,
    distance: DistanceMap | None = None,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Cross-entropy of each voxel, raised by a penalty that is largest at the boundary of its structure.

    $$L_i = -(1 + \Phi_i) \log p_i, \qquad \Phi_i = \sum_c R_{ic}, \qquad
    R_{ic} = \big(\max_{j \in G_c} D_{jc} - D_{ic}\big)\,[i \in G_c]$$

    $G_c$ are the voxels of class $c$, the background too, and $D_{ic}$ is the distance of voxel $i$ of the class to the
    nearest voxel of another: the size of its signed distance. $R_c$ is 0 at the deepest voxel of the class, and
    everywhere if there is no other class, or if the class is as thin everywhere. $p_i$ is the probability of the truth:
    of its class under softmax, of each channel's own yes or no under sigmoid, which are the classes there. The mean is
    over voxels (and channels under sigmoid) and does not divide by the weights.

    Args:
        normalise: Whether each $R_c$ is divided by its largest value in the image, so that $\Phi$ is from 0 to 1.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss a voxel, (B, \*S); under sigmoid of several channels
        (B, C, \*S).

    Raises:
        ValueError: If `spacing` does not have a positive number for each axis, `distance` has the wrong shape, or an
            input has the wrong shape, type or values.

    References:
        [caliva2019distance]

    Examples:
        >>> logits = torch.zeros(1, 2, 7)
        >>> target = torch.tensor([[0, 0, 0, 1, 1, 1, 1]])
        >>> distance_penalised_cross_entropy_loss(logits, target, reduction="none")
        tensor([[0.6931, 1.0397, 1.3863, 1.3863, 1.1552, 0.9242, 0.6931]])
    """
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    D = signed_distance(x, spacing, distance).abs()
    log_p = log_likelihood(x)
    exclusive = log_p.shape[1] < logits.shape[1]
    c = kept(x.labels.long(), x.valid) if exclusive else true_mask(x).long()
    D = D.gather(1, c) if exclusive else D
    classes = logits.shape[1] if exclusive else 2

    def largest(of_voxels: Map) -> Map:
        """The largest value in the class of each voxel."""
        of_classes = of_voxels.new_zeros(*of_voxels.shape[:2], classes)
        return of_classes.scatter_reduce(2, c, of_voxels, "amax").gather(2, c)

    R = kept(largest(D) - D, x.valid)
    phi = ratio(R, largest(R), empty=0.0) if normalise else R
    return over_voxels(-(1 + phi) * log_p, x, reduction, group)
