"""What the survey "Loss odyssey" published: the tables of its repository, and what they say of compounds."""

from collections.abc import Mapping, Sequence

from tools.render import escaped

KEY = "ma2021odyssey"
README = "https://github.com/JunMa11/SegLossOdyssey/blob/d562441a3bb9d0968f9dae67af705f2ca0872b02/README.md"
TRAINERS = (
    "https://github.com/JunMa11/SegLossOdyssey/blob/d562441a3bb9d0968f9dae67af705f2ca0872b02/test/nnUNetV2/README.md"
)

Scores = Mapping[str, Sequence[float]]

TASKS = ("liver", "liver tumour", "pancreas", "multi-organ")
FIRST: Scores = {
    "Asym": (0.9315, 0.6905, 0.6134, 0.4114, 0.8234, 0.6239, 0.7526, 0.6088),
    "CE": (0.9672, 0.7962, 0.5641, 0.3715, 0.8221, 0.6320, 0.8483, 0.7200),
    "Dice": (0.9547, 0.7598, 0.6208, 0.4326, 0.8270, 0.6428, 0.8449, 0.7138),
    "DiceCE": (0.9624, 0.7743, 0.6009, 0.4114, 0.8249, 0.6298, 0.8512, 0.7293),
    "DiceFocal": (0.9566, 0.7583, 0.5951, 0.4078, 0.8416, 0.6721, 0.8554, 0.7339),
    "DiceTopK": (0.9690, 0.8092, 0.6125, 0.4208, 0.8375, 0.6598, 0.8512, 0.7308),
    "ELL": (0.9347, 0.7254, 0.5903, 0.4047, 0.8344, 0.6508, 0.8375, 0.6689),
    "Focal": (0.9587, 0.7528, 0.4675, 0.2781, 0.8016, 0.6033, 0.8173, 0.6642),
    "FocalTversky": (0.9320, 0.6986, 0.6193, 0.4178, 0.8230, 0.6190, 0.7497, 0.6013),
    "GDice": (0.9474, 0.7337, 0.5486, 0.3501, 0.8285, 0.6478, 0.0132, 0.0018),
    "IoU": (0.9568, 0.7709, 0.6079, 0.4273, 0.8353, 0.6605, 0.8439, 0.7160),
    "pCE": (0.9655, 0.7852, 0.5876, 0.3829, 0.8358, 0.6579, 0.8349, 0.6967),
    "pGDice": (0.6433, 0.3401, 0.4526, 0.2879, 0.8156, 0.6203, 0.0595, 0.0209),
    "SS": (0.9591, 0.7571, 0.4527, 0.1941, 0.7799, 0.4781, 0.7589, 0.4958),
    "TopK": (0.6932, 0.1080, 0.5995, 0.4051, 0.8406, 0.6709, 0.8527, 0.7323),
    "Tversky": (0.9390, 0.6991, 0.6120, 0.4045, 0.8260, 0.6249, 0.8371, 0.6787),
    "WCE": (0.8284, 0.2665, 0.2697, 0.0314, 0.4744, 0.0496, 0.6911, 0.2326),
}
"""Dice and normalised surface Dice of each task in the trainer of nnU-Net's first version."""

SECOND: Scores = {
    "CE": (0.6415, 0.4698, 0.8338, 0.6566, 0.8570, 0.7368),
    "Dice": (0.6200, 0.4592, 0.8399, 0.6663, 0.8577, 0.7416),
    "DiceCE": (0.6281, 0.4678, 0.8410, 0.6691, 0.8626, 0.7488),
    "DiceFocal": (0.6303, 0.4705, 0.8401, 0.6691, 0.8631, 0.7501),
    "DiceTopK10": (0.6691, 0.5095, 0.8387, 0.6661, 0.8636, 0.7483),
    "TopK10": (0.6512, 0.4849, 0.8383, 0.6649, 0.8560, 0.7378),
}
"""The same without the liver, in the trainer of the second version, with deep supervision."""

COMPOUNDS = ("DiceCE", "DiceFocal", "DiceTopK")
CAVEATS = (
    "The text of the article was not at hand: the numbers are those of the tables in its repository, without the "
    "spread over runs.",
    "Some rows stand for other losses than the papers they name: pGDice puts the penalty on the loss and not on the "
    "coefficient, ELL takes the logarithm of the mean Dice, WCE has fixed weights of 0.2 and 0.8, and pCE may be "
    "plain cross-entropy.",
    "GDice gives organs that are absent an immense weight, the likely reason for its collapse on several organs.",
    "Four tasks in 3D and one architecture: on other data the order may be another.",
)


def places(scores: Scores) -> dict[str, int]:
    """The worst place that each loss takes in a column; equal scores share the better place."""
    columns = list(zip(*scores.values(), strict=True))
    return {
        name: max(1 + sum(other > value for other in column) for value, column in zip(row, columns, strict=True))
        for name, row in scores.items()
    }


def take_home() -> str:
    """The sentence for the head of the page, computed from the table."""
    worst = places(FIRST)
    least = min(worst.values())
    steady = [name for name, place in worst.items() if place == least]
    return (
        "No loss wins everywhere; sums of Dice with a second term (TopK, focal, Hausdorff or boundary) are the most "
        "robust, above all where classes are highly imbalanced: that is what the survey of "
        f"[Ma et al. 2021](papers/{KEY}.md) concludes. In its table of {len(FIRST)} losses in one trainer "
        f"{' and '.join(steady)} never falls below place {least}; [the numbers](#what-the-survey-measured)."
    )


def survey_section() -> list[str]:
    """Both tables with where they stand and what is to be said against them."""
    worst = places(FIRST)
    lines = ["## What the survey measured", ""]
    lines += [
        f"[Ma et al. 2021](papers/{KEY}.md): Dice / normalised surface Dice of each task, nnU-Net's first trainer, "
        f"[as published]({README}). Compounds in bold; the last column is ours: the worst place of the eight.",
        "",
        "| loss | " + " | ".join(TASKS) + " | worst place |",
        "| --- | " + " | ".join("---" for _ in TASKS) + " | --- |",
    ]
    for name in sorted(FIRST, key=lambda name: (worst[name], name.casefold())):
        lines.append(f"| {marked(name)} | {' | '.join(pairs(FIRST[name]))} | {worst[name]} |")
    lines += [
        "",
        f"Six losses in the trainer of the second version, with deep supervision, [as published]({TRAINERS}):",
        "",
    ]
    lines += ["| loss | " + " | ".join(TASKS[1:]) + " |", "| --- | " + " | ".join("---" for _ in TASKS[1:]) + " |"]
    lines += [f"| {marked(name)} | {' | '.join(pairs(row))} |" for name, row in SECOND.items()]
    return [*lines, "", *(f"- {caveat}" for caveat in CAVEATS), ""]


def marked(name: str) -> str:
    """The name of a row, bold for a compound."""
    return f"**{name}**" if name.startswith(COMPOUNDS) else escaped(name)


def pairs(row: Sequence[float]) -> list[str]:
    """Both scores of each task."""
    return [f"{row[at]:.4f} / {row[at + 1]:.4f}" for at in range(0, len(row), 2)]
