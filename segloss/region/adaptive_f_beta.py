"""F-beta of squared soft counts, with prices that are given, or that adapt from batch to batch."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from segloss.core import (
    Absent,
    Activation,
    ClassWeight,
    Evidence,
    Labels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Term,
    Value,
    check_logits,
    evidence,
    not_negative,
    over_classes,
    positive,
    ratio,
    sum_dtype,
)
from segloss.core.sums import Sums

State = Float[Tensor, "3 C"]
LIMIT = 2.0**20
COUNTS = (
    Term(lambda p, g: (p * g) ** 2, lambda p, g: 2 * p * g**2),
    Term(lambda p, g: (p * (1 - g)) ** 2, lambda p, g: 2 * p * (1 - g) ** 2),
    Term(lambda p, g: ((1 - p) * g) ** 2, lambda p, g: 2 * (p - 1) * g**2),
)


def generalised_f_beta_loss(
    logits: Logits,
    target: Labels,
    *,
    alpha_p: float = 1.0,
    alpha_n: float = 1.0,
    beta: float = 1.0,
    smooth: float = 1e-10,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    absent: Absent = "smooth",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""One minus the $F_\beta$ score of squared soft counts, with prices on both kinds of error.

    $$L_c = 1 - \frac{(1 + \beta^2)\,\mathrm{TP}_c + s}{(1 + \beta^2)\,\mathrm{TP}_c + \alpha_p\,\mathrm{FP}_c
    + \beta^2 \alpha_n\,\mathrm{FN}_c + s}$$

    $$\mathrm{TP}_c = \sum_i (p_{ic}\,g_{ic})^2, \quad \mathrm{FP}_c = \sum_i (p_{ic} (1 - g_{ic}))^2, \quad
    \mathrm{FN}_c = \sum_i ((1 - p_{ic})\,g_{ic})^2$$

    Sums over the voxels $i$ of an image. The paper changes $\alpha_p$, $\alpha_n$ and $\beta^2$ from batch to batch:
    `adaptive_f_beta_step` does that, and the module `AdaptiveFBetaLoss`, which keeps them.

    Args:
        alpha_p: Price $\alpha_p$ of a false positive.
        alpha_n: Price $\alpha_n$ of a false negative.
        beta: Weight $\beta$ of recall against precision.
        smooth: The constant $s$.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image and class, (B, C); (1, C) with `batch`.

    Raises:
        ValueError: If a price, `beta` or `smooth` is negative, or an input has the wrong shape, type or values.

    References:
        [seo2021adaptive]

    Examples:
        >>> logits = torch.tensor([[[0.0, 0.0, 0.0, 0.0]]])
        >>> target = torch.tensor([[1, 0, 1, 0]])
        >>> generalised_f_beta_loss(logits, target)
        tensor(0.5000)
    """
    not_negative(alpha_p=alpha_p, alpha_n=alpha_n, beta=beta, smooth=smooth)
    how = activation, include_background, weight, absent, ignore_index, mask, batch, group, reduction
    e = evidence(logits, target, *how, terms=COUNTS)
    return over_classes(1 - _score(e, alpha_p, alpha_n, beta**2, smooth), e)


def adaptive_f_beta_step(
    state: State | None,
    logits: Logits,
    target: Labels,
    *,
    adapt: bool = True,
    smooth: float = 1e-10,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    group: ProcessGroup | None = None,
) -> tuple[Value, State]:
    r"""The loss of a batch under prices that adapt to it, and these prices for the next batch.

    $$\alpha_p \leftarrow \alpha_p\,k(\mathrm{TP}, \mathrm{FP}), \quad
    \alpha_n \leftarrow \alpha_n\,k(\mathrm{TP}, \mathrm{FN}), \quad
    \beta^2 \leftarrow \beta^2\,k(r, q)$$

    $$k(a, b) = \begin{cases} 0.5 & a < b / 15 \\ 0.75 & b / 15 \le a < b / 2 \\ 1 & b / 2 \le a \le 2 b \\
    1.25 & 2 b < a \le 15 b \\ 1.5 & 15 b < a \end{cases}$$

    $q$ and $r$ are precision and recall, $\mathrm{TP} / (\mathrm{TP} + \alpha_p \mathrm{FP})$ and
    $\mathrm{TP} / (\mathrm{TP} + \alpha_n \mathrm{FN})$, with the new prices. $\alpha_p$ stays where FP is below 5,
    $\alpha_n$ where FN is below 1. The counts are those of `generalised_f_beta_loss` over the whole batch; the prices
    are constants in the gradient, and stay between $2^{-20}$ and $2^{20}$.

    Args:
        state: $\alpha_p$, $\alpha_n$ and $\beta^2$ of each class, (3, C); None stands for ones.
        logits: As of every loss.
        target: As of every loss.
        adapt: Whether the prices adapt; otherwise the state is returned as it is given.
        smooth: The constant $s$ of the loss, which is added to both sides of $q$ and $r$ too.
        activation: As of every loss.
        ignore_index: As of every loss.
        mask: As of every loss.
        group: As of every loss; all ranks then get the same state.

    Returns:
        The mean loss over the classes, and the new state.

    Raises:
        ValueError: If `state` has another shape, `smooth` is not positive, or an input has the wrong shape, type or
            values.

    References:
        [seo2021adaptive]

    Examples:
        >>> logits, target = torch.ones(1, 1, 90), torch.tensor([[1] * 20 + [0] * 70])
        >>> loss, state = adaptive_f_beta_step(None, logits, target)
        >>> state
        tensor([[0.7500],
                [1.2500],
                [1.2500]])
    """
    positive(smooth=smooth)
    check_logits(logits)
    channels = logits.shape[1]
    if state is None:
        state = torch.ones(3, channels, device=logits.device)
    if state.shape != (3, channels):
        raise ValueError(f"state must have shape {(3, channels)}, got {tuple(state.shape)}")
    e = evidence(
        logits,
        target,
        activation,
        ignore_index=ignore_index,
        mask=mask,
        batch=True,
        group=group,
        terms=COUNTS,
    )
    prices = state.detach().to(sum_dtype(logits.device))
    new = _adapted(prices, e, smooth) if adapt else prices
    alpha_p, alpha_n, beta_squared = new
    return over_classes(1 - _score(e, alpha_p, alpha_n, beta_squared, smooth), e), new.to(state.dtype)


class AdaptiveFBetaLoss(nn.Module):
    """`generalised_f_beta_loss` with prices that adapt from batch to batch, as its paper trains with.

    In training mode every call is a step of `adaptive_f_beta_step` and keeps its state, a buffer; in evaluation mode
    the state stays as it is, and the loss is that of the batch under these prices.

    Args:
        channels: Channels of the logits, each of which has its own prices.
        smooth: The constant of the loss.
        activation: As of every loss.
        ignore_index: As of every loss.
        group: As of every loss; all ranks then keep the same state.

    Attributes:
        state: $\\alpha_p$, $\\alpha_n$ and $\\beta^2$ of each class, (3, C).

    Examples:
        >>> criterion = segloss.AdaptiveFBetaLoss()
        >>> criterion(torch.ones(1, 1, 90), torch.tensor([[1] * 20 + [0] * 70]))
        tensor(0.5576)
        >>> criterion.state.tolist()
        [[0.75], [1.25], [1.25]]
    """

    state: Tensor

    def __init__(
        self,
        channels: int = 1,
        *,
        smooth: float = 1e-10,
        activation: Activation = "auto",
        ignore_index: int | None = None,
        group: ProcessGroup | None = None,
    ) -> None:
        """Begin with prices of 1."""
        super().__init__()
        self.smooth = smooth
        self.activation: Activation = activation
        self.ignore_index = ignore_index
        self.group = group
        self.register_buffer("state", torch.ones(3, channels))

    def forward(self, logits: Logits, target: Labels, *, mask: Mask | None = None) -> Value:
        """The loss of a batch; in training mode after the prices have adapted to it."""
        loss, state = adaptive_f_beta_step(
            self.state,
            logits,
            target,
            adapt=self.training,
            smooth=self.smooth,
            activation=self.activation,
            ignore_index=self.ignore_index,
            mask=mask,
            group=self.group,
        )
        if self.training:
            self.state.copy_(state)
        return loss

    def extra_repr(self) -> str:
        """What was set."""
        return f"channels={self.state.shape[1]}, smooth={self.smooth}, activation={self.activation!r}"


Price = float | Float[Tensor, " C"]


def _score(e: Evidence, alpha_p: Price, alpha_n: Price, beta_squared: Price, smooth: float) -> Sums:
    tp, fp, fn = e.terms
    hit = (1 + beta_squared) * tp + smooth
    return ratio(hit, hit + alpha_p * fp + beta_squared * alpha_n * fn)


def _adapted(state: State, e: Evidence, smooth: float) -> State:
    """The state after a batch."""
    tp, fp, fn = (count[0].detach() for count in e.terms)
    alpha_p, alpha_n, beta_squared = state
    alpha_p = (alpha_p * torch.where(fp < 5, 1.0, _step(tp, fp))).clamp(1 / LIMIT, LIMIT)
    alpha_n = (alpha_n * torch.where(fn < 1, 1.0, _step(tp, fn))).clamp(1 / LIMIT, LIMIT)
    precision = (tp + smooth) / (tp + alpha_p * fp + smooth)
    recall = (tp + smooth) / (tp + alpha_n * fn + smooth)
    beta_squared = (beta_squared * _step(recall, precision)).clamp(1 / LIMIT, LIMIT)
    return torch.stack([alpha_p, alpha_n, beta_squared])


def _step(a: Tensor, b: Tensor) -> Tensor:
    """What a price is multiplied by, from the ratio of two numbers."""
    k = 0.5 + 0.25 * (a >= b / 15) + 0.25 * (a >= b / 2) + 0.25 * (a > 2 * b) + 0.25 * (a > 15 * b)
    return k.to(a.dtype)
