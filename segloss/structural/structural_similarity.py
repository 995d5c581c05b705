"""Structural similarity of prediction and truth as the weight of cross-entropy."""

from segloss.core import (
    HardLabels,
    Logits,
    Mask,
    Reduction,
    Value,
    check_reduction,
    gaussian_window,
    log_likelihood,
    over_voxels,
    positive,
    prepare,
    ratio,
    spatial_sum,
    structural_difference,
    true_mask,
)
from segloss.core.blocks import kept, predicted


def structural_similarity_loss(
    logits: Logits,
    target: HardLabels,
    *,
    threshold: float = 0.1,
    window_size: int = 3,
    window_sigma: float = 1.5,
    smooth: float = 0.01,
    detach_weight: bool = False,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Binary cross-entropy where prediction and truth differ in local structure, weighted by that difference.

    $$L = -\frac{\sum_{ic} f_{ic}\, e_{ic} \log p^*_{ic}}{\sum_{ic} f_{ic}}, \qquad
    e_{ic} = \Big|\frac{g - \mu_g + s}{\sigma_g + s} - \frac{p - \mu_p + s}{\sigma_p + s}\Big|_{ic}, \qquad
    f_{ic} = [e_{ic} > \beta \max e]$$

    $p$ is the sigmoid of the logit, whether the classes overlap or not, and $p^*$ the probability of the truth;
    $\mu$ and $\sigma$ are mean and standard deviation in a Gaussian window around voxel $i$, in the map of class $c$,
    which is 0 outside of the image and where ignored. The maximum and both sums are over the batch. Which voxels are
    selected is not differentiated. The window, $\beta$ and the gradient of $e$ are our reading of the paper, for which
    no code was published.

    Args:
        threshold: The share $\beta$ of the largest difference that a voxel has to exceed.
        window_size: Side of the window in voxels, odd.
        window_sigma: Width of the Gaussian in voxels.
        smooth: The constant $s$.
        detach_weight: Whether $e$ is a weight without gradient.

    Returns:
        A scalar of at least 0, a mean or sum of the voxels and channels selected. With `reduction="none"` one loss a
        voxel and channel, (B, C, \*S), 0 where not selected; (B, \*S) where there is one channel.

    Raises:
        ValueError: If `threshold` is not from 0 to less than 1, `window_size` not odd and at least 3, `window_sigma` or
            `smooth` not positive, or an input has the wrong shape, type or values.

    References:
        [zhao2019ssl]

    Examples:
        >>> logits = torch.tensor([[[-9.0, -9.0, 9.0, 9.0, 0.0, -9.0, -9.0]]])
        >>> target = torch.tensor([[0, 0, 1, 1, 1, 0, 0]])
        >>> structural_similarity_loss(logits, target)
        tensor(0.2250)
    """
    positive(window_sigma=window_sigma, smooth=smooth)
    check_reduction(reduction)
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be at least 0 and below 1, got {threshold}")
    if window_size < 3 or window_size % 2 == 0:
        raise ValueError(f"window_size must be an odd number of voxels, at least 3, got {window_size}")
    x = prepare(logits, target, activation="sigmoid", ignore_index=ignore_index, mask=mask, soft=False)
    weights = gaussian_window(window_size, window_sigma)

    p, g = x.spatial(predicted(x.logits, x.valid, x.activation)), x.spatial(true_mask(x))
    e = structural_difference(p.detach() if detach_weight else p, g, weights, smooth)
    e = kept(e.flatten(2), x.valid)
    f = (~(e.detach() <= threshold * e.detach().amax())).to(e.dtype)  # NaN counts
    loss = f * e * -log_likelihood(x)
    if reduction == "none":
        return over_voxels(loss, x, "none")
    total, m = (spatial_sum(y).sum() for y in (loss, f))
    return (ratio(total, m, empty=0.0) if reduction == "mean" else total).to(logits.dtype)
