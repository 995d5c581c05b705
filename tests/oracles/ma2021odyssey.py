"""The compounds of the survey's benchmark, transcribed class by class: Dice of the foreground, pooled over the batch.

The Dice part stands as minus the coefficient, as in the released code.
"""

import torch

SMOOTH = 1e-5


def cases():
    """Two and three spatial axes, and a class that is absent."""
    shapes = {"2d": (2, 4, 14, 12), "3d": (1, 3, 6, 8, 7), "2d_absent": (2, 4, 9, 8)}
    for seed, (name, shape) in enumerate(shapes.items()):
        generator = torch.Generator().manual_seed(seed)
        logits = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
        labels = shape[1] - name.endswith("absent")
        target = torch.randint(0, labels, (shape[0], *shape[2:]), generator=generator)
        for loss, params in (
            ("odyssey_dice_ce", {}),
            ("odyssey_dice_topk", {"k_percent": 10}),
            ("odyssey_dice_focal", {"alpha": 0.5, "gamma": 2.0}),
        ):
            yield {
                "case": f"{name}_{loss.removeprefix('odyssey_')}",
                "loss": loss,
                "activation": "softmax",
                "params": params,
                "logits": logits,
                "target": target,
                "reduction": "minus the Dice of each foreground class, pooled over the batch, plus a mean over voxels",
            }


def value(logits, target, *, loss, k_percent=10, alpha=0.5, gamma=2.0, **_):
    """The value of one case."""
    classes = logits.shape[1]
    p = torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True)
    dice = 0.0
    for c in range(1, classes):
        g = (target == c).to(p.dtype)
        dice = dice + (2 * (p[:, c] * g).sum() + SMOOTH) / (p[:, c].sum() + g.sum() + SMOOTH)
    of_truth = torch.cat([p[:, c][target == c] for c in range(classes)])
    entropy = -of_truth.log()
    if loss == "odyssey_dice_ce":
        second = entropy.mean()
    elif loss == "odyssey_dice_topk":
        second = entropy.sort(descending=True).values[: int(target.numel() * k_percent / 100)].mean()
    else:
        second = (alpha * (1 - of_truth) ** gamma * entropy).mean()
    return second - dice / (classes - 1)
