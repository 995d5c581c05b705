"""The pictures of a loss, drawn from what its implementation does; kept under the hash of what they follow from."""

import hashlib
import html
import io
import json
import multiprocessing
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.behaviour import AMPLITUDES, FACTORS, SIZES, Array, Behaviour, Subject, behaviour
from tools.drawing import compact, style
from tools.scene import SIDE, State, states, truth
from tools.writing import Content, write_all

FOLDER = "docs/pictures"
ZOOM = 4
RAISES, LOWERS, GROUND = (33, 102, 172), (178, 24, 43), (247, 247, 247)
TRUTH, PREDICTION = (20, 20, 20), (230, 140, 0)


@dataclass(frozen=True)
class Panel:
    """A picture of the gradient at one error, and what is to be seen in it."""

    file: str
    title: str
    text: str


@dataclass(frozen=True)
class Pictures:
    """Files of a loss, relative to the folder, with their texts."""

    panels: tuple[Panel, ...]
    scale: float
    curves: str
    text: str


def pictures(root: Path, subjects: Mapping[str, Subject], sources: Mapping[str, Iterable[Path]]) -> dict[str, Pictures]:
    """The pictures of each subject by its name; only those are drawn whose sources have changed.

    What no subject needs any more is removed.
    """
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    common = digest_of([*(root / "segloss" / "core").glob("*.py"), *map(root.joinpath, OWN)])
    keys = {name: key_of(subject, common, sources[name]) for name, subject in subjects.items()}
    missing = {key: subjects[name] for name, key in keys.items() if not (folder / f"{key}.json").is_file()}
    if missing:
        with multiprocessing.get_context("spawn").Pool(min(len(missing), os.cpu_count() or 1), single_thread) as pool:
            pool.starmap(draw, [(folder, key, subject) for key, subject in missing.items()], chunksize=1)
    kept = {key: json.loads((folder / f"{key}.json").read_text(encoding="utf-8")) for key in keys.values()}
    found = {name: read(kept[key]) for name, key in keys.items()}
    used = {f"{key}.json" for key in kept} | {file for each in found.values() for file in files_of(each)}
    for file in folder.iterdir():
        if file.name not in used:
            file.unlink()
    return found


OWN = ("tools/scene.py", "tools/behaviour.py", "tools/pictures.py", "tools/drawing.py")


def files_of(found: Pictures) -> list[str]:
    """The files of a loss."""
    return [*(panel.file for panel in found.panels), found.curves]


def read(fields: Mapping[str, Any]) -> Pictures:
    """What `draw` has kept."""
    return Pictures(**{**fields, "panels": tuple(Panel(**panel) for panel in fields["panels"])})


def key_of(subject: Subject, common: str, sources: Iterable[Path]) -> str:
    """What the pictures follow from, as the name of their files."""
    said = json.dumps([common, digest_of(sources), asdict(subject)], sort_keys=True, default=list)
    return f"{subject.function.rpartition('.')[2]}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"


def digest_of(files: Iterable[Path]) -> str:
    """Hash of the contents of files."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def single_thread() -> None:
    """The processes share the cores."""
    import torch

    torch.set_num_threads(1)


def draw(folder: Path, key: str, subject: Subject) -> None:
    """Compute and write the pictures of a loss; the texts come last, and say that all is there."""
    found = behaviour(subject)
    scale = max((float(np.abs(g).max()) for g in found.gradients.values()), default=0.0)
    panels, files = [], dict[str, Content]()
    for state in states():
        if state.name in found.gradients:
            gradient, file = found.gradients[state.name], f"{key}-{state.name.lower().replace(' ', '-')}.webp"
            files[file] = webp(panel(gradient, scale, state))
            panels.append(Panel(file, state.name, described(gradient, state)))
    files[f"{key}.svg"] = curves(found)
    texts = Pictures(tuple(panels), scale, f"{key}.svg", curves_described(found))
    files[f"{key}.json"] = json.dumps(asdict(texts), ensure_ascii=False)
    write_all(folder, files)


def panel(gradient: Array, scale: float, state: State) -> NDArray[np.uint8]:
    """The gradient in colours, with the contours of the truth and of the prediction."""
    strength = np.sqrt(np.abs(gradient) / scale)[..., None] if scale else np.zeros((*gradient.shape, 1))
    towards = np.where(gradient[..., None] < 0, RAISES, LOWERS)
    colours = np.rint(GROUND + strength * (towards - np.array(GROUND))).astype(np.uint8)
    colours = colours.repeat(ZOOM, 0).repeat(ZOOM, 1)
    for mask, colour in ((state.predicted, PREDICTION), (truth(), TRUTH)):
        colours[outline(mask)] = colour
    return colours


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the enlarged mask begins and ends."""
    large = mask.repeat(ZOOM, 0).repeat(ZOOM, 1)
    padded = np.pad(large, 1)
    around = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return large & ~around


def webp(colours: NDArray[np.uint8]) -> bytes:
    """Without loss, and the same for the same picture."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(colours).save(out, "WEBP", lossless=True, quality=100, method=4)
    return out.getvalue()


def described(gradient: Array, state: State) -> str:
    """What is to be seen: where the pull is, and which way."""
    pull, wrong = np.abs(gradient), state.predicted != truth()
    if not pull.any():
        return f"Prediction in which {state.wrong}: the gradient is zero everywhere."
    share = pull[wrong].sum() / pull.sum()
    right_way = (gradient < 0) == truth()
    against = pull[~right_way].sum() / pull.sum()
    text = f"Prediction in which {state.wrong}: {share:.0%} of the gradient falls on the voxels that are wrong"
    return f"{text}, {against:.0%} of it pushes away from the truth." if against > 0.005 else f"{text}."


def curves(found: Behaviour) -> str:
    """Value and gradient as the size goes wrong, and the value as the contour gets noisy."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(style()):
        plots = [("value", FACTORS, found.values, "predicted radius / true radius")]
        if found.pulls:
            plots.append(("size of the gradient", FACTORS, found.pulls, "predicted radius / true radius"))
        plots.append(("value", AMPLITUDES, {"scene": found.noise}, "noise of the contour (voxels)"))
        figure = Figure(figsize=(3.1 * len(plots), 2.3), layout="constrained")
        for axes, (label, x, lines, below) in zip(np.atleast_1d(figure.subplots(1, len(plots))), plots, strict=True):
            for (name, y), colour, dash in zip(lines.items(), ("#1f77b4", "#d95f02"), ("-", "--"), strict=False):
                axes.plot(x, y, dash, color=colour, label=f"{name} object" if name in SIZES else None, linewidth=1.6)
            axes.set(xlabel=below, ylabel=label)
            axes.spines[["top", "right"]].set_visible(False)
            if len(lines) > 1:
                axes.legend(frameon=False, fontsize=8)
        out = io.BytesIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return compact(out.getvalue().decode())


def curves_described(found: Behaviour) -> str:
    """What is to be seen in the curves."""
    parts = []
    for name, values in found.values.items():
        nothing, right, double = values[0], values[len(values) // 2], values[-1]
        parts.append(
            f"a {name} object: {nothing:.3g} when nothing is predicted, {right:.3g} at the true size, "
            f"{double:.3g} at twice the radius"
        )
    noise = f"Under noise of the contour the value goes from {found.noise[0]:.3g} to {found.noise[-1]:.3g}."
    return f"Value for {'; for '.join(parts)}. {noise}"


def gallery(found: Pictures) -> list[str]:
    """The pictures in Markdown, for a page in a folder beside theirs."""
    lines = []
    if found.panels:
        lines += ["**What its gradient does**", "", '<div class="panels">']
        for panel in found.panels:
            source, text = f"../../pictures/{panel.file}", html.escape(panel.text)
            size = SIDE * ZOOM
            lines += [
                f'<figure><img src="{source}" alt="{text}" width="{size}" height="{size}" loading="lazy">'
                f"<figcaption>{panel.title}</figcaption></figure>"
            ]
        lines += ["</div>", "", LEGEND.format(scale=f"{found.scale:.2g}"), ""]
    lines += ["**Its value as an error grows**", ""]
    lines += [
        f'<img class="curves" src="../../pictures/{found.curves}" alt="{html.escape(found.text)}" loading="lazy">'
    ]
    return [*lines, ""]


LEGEND = (
    '<p class="legend">Gradient with respect to the logits on a scene of 64 × 64 voxels: <b class="raises">blue</b> '
    'raises the foreground, <b class="lowers">red</b> lowers it; the strength of the colour is the square root of the '
    "size, on one scale for the five errors, up to {scale}. Contours: the truth in black, the prediction in "
    "orange.</p>"
)
