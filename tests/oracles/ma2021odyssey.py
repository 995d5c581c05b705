"""The compounds of the survey's benchmark, transcribed class by class: Dice of the foreground, pooled over the batch.

The Dice part stands as minus the coefficient, as in the released code; beside the Hausdorff part as one minus it. The
distances are those inside of a mask, pair by pair.
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
        for loss, params, dice in (
            ("odyssey_dice_ce", {}, "minus the"),
            ("odyssey_dice_topk", {"k_percent": 10}, "minus the"),
            ("odyssey_dice_focal", {"alpha": 0.5, "gamma": 2.0}, "minus the"),
            ("odyssey_dice_hd", {"exponent": 2.0}, "weighted, one minus the"),
        ):
            yield {
                "case": f"{name}_{loss.removeprefix('odyssey_')}",
                "loss": loss,
                "activation": "softmax",
                "params": params,
                "logits": logits,
                "target": target,
                "reduction": f"{dice} Dice of each foreground class, pooled over the batch, plus a mean over voxels",
            }


def depths(mask):
    """The distance of each voxel of a mask to the nearest that is not of it, 0 elsewhere."""
    inside, outside = mask.nonzero().double(), (~mask).nonzero().double()
    found = torch.zeros(mask.shape, dtype=torch.float64)
    if len(inside) and len(outside):
        found[mask] = (inside[:, None] - outside[None]).square().sum(-1).sqrt().amin(1)
    return found


def hausdorff(p, target, exponent):
    """The mean over images, foreground classes and voxels."""
    total, classes = 0.0, p.shape[1]
    for q, labels in zip(p, target, strict=True):
        for c in range(1, classes):
            g = labels == c
            price = depths(g) ** exponent + depths(q[c] > 0.5) ** exponent
            total = total + ((q[c] - g.to(p.dtype)) ** 2 * price).mean()
    return total / (len(p) * (classes - 1))


def value(logits, target, *, loss, k_percent=10, alpha=0.5, gamma=2.0, exponent=2.0, **_):
    """The value of one case."""
    classes = logits.shape[1]
    p = torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True)
    dice = 0.0
    for c in range(1, classes):
        g = (target == c).to(p.dtype)
        dice = dice + (2 * (p[:, c] * g).sum() + SMOOTH) / (p[:, c].sum() + g.sum() + SMOOTH)
    if loss == "odyssey_dice_hd":
        part, second = 1 - dice / (classes - 1), hausdorff(p, target, exponent)
        return (second / (part + 1e-5)).detach() * part + second
    of_truth = torch.cat([p[:, c][target == c] for c in range(classes)])
    entropy = -of_truth.log()
    if loss == "odyssey_dice_ce":
        second = entropy.mean()
    elif loss == "odyssey_dice_topk":
        second = entropy.sort(descending=True).values[: int(target.numel() * k_percent / 100)].mean()
    else:
        second = (alpha * (1 - of_truth) ** gamma * entropy).mean()
    return second - dice / (classes - 1)
