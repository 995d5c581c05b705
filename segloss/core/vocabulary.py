"""What the keywords mean that every loss shares: one word, one meaning, across the library."""

COMMON: dict[str, str] = {
    "logits": "Raw scores, shape (B, C, \\*S) with one to three spatial axes.",
    "target": (
        "Class indices, integer (B, \\*S) or (B, 1, \\*S), as in `F.cross_entropy`; or, where the loss claims it, "
        "soft or overlapping labels, floating or boolean (B, C, \\*S)."
    ),
    "spacing": "Size of a voxel along each axis, in whose units distances are. None stands for 1.",
    "distance": (
        "Signed distances of the true classes, (B, C, \\*S), negative inside, from `precompute.signed_distance_map`. "
        "None computes them, with the same result."
    ),
    "activation": (
        '`"softmax"`, `"sigmoid"`, `"none"` (the input holds probabilities), or `"auto"`: '
        "sigmoid for C = 1 (foreground only), else softmax."
    ),
    "include_background": "Whether channel 0 takes part; it is dropped after the activation.",
    "weight": "Weight of each class, length C, background included. A weighted mean divides by the sum of the weights.",
    "absent": (
        'What a class without ground truth contributes. `"smooth"`: what the formula gives; `"skip"`: nothing, it is '
        'left out of the mean; `"penalise"`: the mean probability given to it.'
    ),
    "ignore_index": "Label of voxels that touch neither value nor gradient. Any integer; for integer targets only.",
    "mask": "Voxels that count: (B, 1, \\*S), boolean or zeros and ones. The others touch neither value nor gradient.",
    "batch": "Pool the statistics over the batch before the ratio, instead of one ratio an image.",
    "group": (
        "Process group of `torch.distributed` over whose ranks statistics and means are taken, exact in value and "
        "gradient under data-parallel averaging."
    ),
    "smooth": "The constant $s$ of the formula.",
    "reduction": '`"mean"`, `"sum"` or `"none"`.',
}
