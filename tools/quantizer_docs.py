"""Write the generated parts of ``docs/quantizers.md``: ``python -m tools.quantizer_docs``.

Prose, formulas and examples are written by hand in that file. Between ``<!-- generated: NAME -->`` and ``<!-- end -->``
stands what the code itself says: options from the constructors and their docstrings, shapes and gradients from running.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import vqkit.codebook
import vqkit.quantizers
from vqkit import Codebook
from vqkit.quantizers import Quantizer
from vqkit.quantizers.flat import POLICY_OF

PAGE = Path(__file__).parents[1] / "docs" / "quantizers.md"
REGION = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
EVERY = sorted(
    name
    for name in vqkit.quantizers.__all__
    if isinstance(getattr(vqkit.quantizers, name), type)
    and issubclass(getattr(vqkit.quantizers, name), Quantizer)
    and name != "Quantizer"
)
"""The names of all public quantizers."""

ROWS, IMAGE = (2, 10, 16), (2, 16, 4, 4)
# Every quantizer once, and where an option changes the shape once more; with the shape of its input.
SHAPES = {
    "VectorQuantize(16, 32)": ROWS,
    "VectorQuantize(16, 32, heads=4, codebook_dim=4)": ROWS,
    "VectorQuantize(16, 32, accept_image_fmap=True)": IMAGE,
    "Residual([VectorQuantize(16, 32), VectorQuantize(16, 8)])": ROWS,
    "ResidualVQ(16, 3, 32)": ROWS,
    "ResidualVQ(16, 3, 32, accept_image_fmap=True)": IMAGE,
    "ResidualFSQ([5, 5, 5], 3, dim=16)": ROWS,
    "ResidualLFQ(3, 256, dim=16)": ROWS,
    "ResidualSimVQ(16, 3, 32)": ROWS,
    "Grouped([VectorQuantize(8, 32), VectorQuantize(8, 32)])": ROWS,
    "GroupedResidualVQ(16, groups=2, num_quantizers=3, codebook_size=32)": ROWS,
    "GroupedResidualFSQ(16, groups=2, num_quantizers=3, levels=[5, 5])": ROWS,
    "GroupedResidualLFQ(16, groups=2, num_quantizers=3, codebook_size=16)": ROWS,
    "SplitResidualVQ(16, 3, 32, codebook_dim=8)": ROWS,
    "ImplicitVQ(16, 32)": ROWS,
    "MultiScale(FSQ([3] * 16), scales=(1, 2, 4))": IMAGE,
    "MultiScaleVQ(16, 32, scales=(1, 2, 4))": IMAGE,
    "HierarchicalVQ(dim=16, codebook_size=32, scales=(1, 2, 4), accept_image_fmap=True, kmeans_init=False)": IMAGE,
    "FSQ([8, 5, 5, 5])": (2, 10, 4),
    "FSQ([8, 5, 5], dim=16, num_codebooks=2)": ROWS,
    "LFQ(codebook_size=256, dim=16)": ROWS,
    "LFQ(codebook_size=256, dim=16, num_codebooks=2)": ROWS,
    "BSQ(dim=16)": ROWS,
    "BSQ(dim=16, group_size=8, group_indices=True)": ROWS,
    "LatentQuantize([5, 5, 8], 16)": ROWS,
    "FSP([8, 5, 5], dim=16)": ROWS,
    "BinaryMapper(4)": (2, 10, 4),
    "SimVQ(16, 32)": ROWS,
    "RandomProjectionQuantizer(16, 32, 8, num_codebooks=4)": ROWS,
    "IBQ(16, 32)": ROWS,
    "GumbelQuantize(16, 32, groups=2)": ROWS,
    "SQVAE(16, 32)": ROWS,
    "SinkhornVQ(16, 32)": ROWS,
    "ProductQuantize(16, 4, 32)": ROWS,
}
GRADIENTS = {
    "VectorQuantize(16, 32)": ROWS,
    "VectorQuantize(16, 32, codebook_dim=8)": ROWS,
    "VectorQuantize(16, 32, rotation_trick=True)": ROWS,
    "VectorQuantize(16, 32, learnable_codebook=True)": ROWS,
    "VectorQuantize(16, 32, learnable_codebook=True, sync_update_v=0.5)": ROWS,
    "VectorQuantize(16, 32, ema_update=False)": ROWS,
    "VectorQuantize(16, 32, straight_through=True, learnable_codebook=True)": ROWS,
    "VectorQuantize(16, 32, directional_reparam=True)": ROWS,
    "VectorQuantize(16, 32, update=Gradient(), estimator=NoiseSubstitution())": ROWS,
    "VectorQuantize(16, 32, update=Gradient(), estimator=NoGradient())": ROWS,
    "Residual([VectorQuantize(16, 32), LFQ(dim=16)])": ROWS,
    "ResidualVQ(16, 3, 32)": ROWS,
    "ResidualVQ(16, 3, 32, codebook_dim=8)": ROWS,
    "ResidualVQ(16, 3, 32, diveq=True)": ROWS,
    "ResidualVQ(16, 3, 32, implicit_neural_codebook=True)": ROWS,
    "ResidualFSQ([5, 5, 5], 3, dim=16)": ROWS,
    "ResidualLFQ(3, 256, dim=16)": ROWS,
    "ResidualSimVQ(16, 3, 32)": ROWS,
    "SplitResidualVQ(16, 3, 32, codebook_dim=8)": ROWS,
    "ImplicitVQ(16, 32)": ROWS,
    "Grouped([VectorQuantize(8, 32), VectorQuantize(8, 32)])": ROWS,
    "GroupedResidualVQ(16, groups=2, num_quantizers=3, codebook_size=32)": ROWS,
    "GroupedResidualFSQ(16, groups=2, num_quantizers=3, levels=[5, 5])": ROWS,
    "GroupedResidualLFQ(16, groups=2, num_quantizers=3, codebook_size=16)": ROWS,
    "MultiScale(FSQ([3] * 16), scales=(1, 2, 4))": IMAGE,
    "MultiScaleVQ(16, 32, scales=(1, 2, 4))": IMAGE,
    "MultiScaleVQ(16, 32, scales=(1, 2, 4), learnable_codebook=True)": IMAGE,
    "HierarchicalVQ(dim=16, codebook_size=32, scales=(1, 2, 4), accept_image_fmap=True, kmeans_init=False)": IMAGE,
    "FSQ([8, 5, 5, 5])": (2, 10, 4),
    "FSQ([8, 5, 5, 5], bound_hard_clamp=True)": (2, 10, 4),
    "FSQ([8, 5, 5, 5], dim=16)": ROWS,
    "LFQ(dim=16)": ROWS,
    "LFQ(dim=16, codebook_size=256)": ROWS,
    "BSQ(dim=16)": ROWS,
    "LatentQuantize([5, 5, 8], 16)": ROWS,
    "FSP([8, 5, 5])": (2, 10, 3),
    "FSP([8, 5, 5], need_inv_act=True)": (2, 10, 3),
    "BinaryMapper(4)": (2, 10, 4),
    "SimVQ(16, 32)": ROWS,
    "IBQ(16, 32)": ROWS,
    "GumbelQuantize(16, 32)": ROWS,
    "SQVAE(16, 32)": ROWS,
    "SinkhornVQ(16, 32)": ROWS,
    "ProductQuantize(16, 4, 32, 'random')": ROWS,
    "RandomProjectionQuantizer(16, 32, 8)": ROWS,
}
# What to call a parameter that is no code, by a part of its name.
PARTS = {
    "project_in": "projections",
    "project_out": "projections",
    "bridge": "map f",
    "net": "network",
    "phis": "φ",
    "to_logits": "classifier",
    "log_precision": "precision",
}


def made(source: str) -> Any:
    """The quantizer that ``source`` writes down, the same at every call."""
    torch.manual_seed(0)
    return eval(source, {**vars(vqkit.codebook), **vars(vqkit.quantizers)})


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# --- options ---------------------------------------------------------------------------------------------------------


def documented(cls: type) -> dict[str, str]:
    """What a class' docstring says of each argument of its constructor."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    names = {p.name: ("**" if p.kind is p.VAR_KEYWORD else "") + p.name for p in parameters if p.name != "self"}
    text = re.search(r"Args:\n(.*?)(?=\n\n|\Z)", inspect.getdoc(cls) or "", re.DOTALL)
    known = "|".join(re.escape(name) for name in sorted(names.values(), key=len, reverse=True))
    parts = re.split(rf"(?:^|(?<=\s))((?:{known})(?:,\s+(?:{known}))*): ", text[1] if text else "")
    said = {}
    for group, words in zip(parts[1::2], parts[2::2], strict=True):
        for name in re.split(r",\s+", group):
            said[name] = " ".join(words.split()).replace("``", "`").rstrip(".")
    missing = [shown for shown in names.values() if shown not in said]
    if missing:
        raise ValueError(f"{cls.__name__}: expected a docstring that explains {', '.join(missing)}")
    return {shown: said[shown] for shown in names.values()}


def written(name: str, parameter: inspect.Parameter) -> str:
    """An argument as a reader writes it, with its default where it has one."""
    value = parameter.default
    if value is parameter.empty:
        return f"`{name}`"
    return f"`{name}={value:g}`" if isinstance(value, float) else f"`{name}={value!r}`"


def options(name: str) -> str:
    """The table of a quantizer's arguments, those explained together in one row, folded away."""
    cls = getattr(vqkit.quantizers, name)
    parameters = inspect.signature(cls.__init__).parameters
    together: dict[str, list[str]] = {}
    for shown, said in documented(cls).items():
        together.setdefault(said, []).append(written(shown, parameters[shown.strip("*")]))
    rows = [[", ".join(names), said] for said, names in together.items()]
    lines = ["<details><summary>Options</summary>", "", table(["argument", "what it is"], rows), "", "</details>"]
    return "\n".join(lines)


def flat_names() -> str:
    """Which flat names stand for which policy."""
    policies = dict.fromkeys(POLICY_OF.values())
    rows = [[f"`{p}`", ", ".join(f"`{flat}`" for flat, of in POLICY_OF.items() if of == p)] for p in policies]
    return table(["policy", "flat names"], rows)


# --- by running ------------------------------------------------------------------------------------------------------


def shapes() -> str:
    """What every quantizer returns."""
    rows = []
    for source, shape in SHAPES.items():
        out = made(source)(torch.randn(shape))
        fields = out._asdict() if hasattr(out, "_asdict") else {"indices": out}
        said = [f"{field} `{tuple(v.shape)}`" for field, v in fields.items() if isinstance(v, Tensor)]
        said += [field for field, value in fields.items() if not isinstance(value, Tensor)]
        rows.append([f"`{source}`", f"`{shape}`", ", ".join(said)])
    return table(["quantizer", "input", "returns"], rows)


def reached(source: str, shape: tuple[int, ...], field: str) -> dict[str, str]:
    """How the gradient of the output (or the loss) reaches the input, the codes, and every other learned part."""
    quantizer = made(source).train()
    x = torch.randn(shape, requires_grad=True)
    out = quantizer(x)
    targets = {"x": [x]} | parts_of(quantizer)
    if not hasattr(out, field):
        return dict.fromkeys(targets, "–") | {"x": f"no `{field}`"}
    weights = torch.randn(out.quantized.shape)
    value = (out.quantized * weights).sum() if field == "quantized" else out.loss.sum()
    if not value.requires_grad:
        return dict.fromkeys(targets, "–")
    flat = [t for group in targets.values() for t in group]
    found = iter(torch.autograd.grad(value, flat, allow_unused=True))
    said = {}
    for name, group in targets.items():
        grads = [g for g in (next(found) for _ in group) if g is not None and bool(g.any())]
        unchanged = field == "quantized" and name == "x" and grads and torch.equal(grads[0], weights)
        said[name] = "1×" if unchanged else "yes" if grads else "–"
    return said


def parts_of(quantizer: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Parameters by what they are: codes, or one of ``PARTS``."""
    codes = {id(book.vectors) for book in quantizer.modules() if isinstance(book, Codebook)}
    parts: dict[str, list[nn.Parameter]] = {}
    for name, parameter in quantizer.named_parameters():
        kind = "codes" if id(parameter) in codes else next((v for k, v in PARTS.items() if k in name), None)
        if kind is None:
            raise ValueError(f"{name} of {type(quantizer).__name__}: expected a name in PARTS")
        parts.setdefault(kind, []).append(parameter)
    return parts


def moved_by(source: str, shape: tuple[int, ...]) -> str:
    """Who moves the codes."""
    quantizer = made(source).train()
    books = [module for module in quantizer.modules() if isinstance(module, Codebook)]
    if not books:
        return "no table"
    if "codes" in parts_of(quantizer):
        return "the optimizer"
    before = [book.codes().detach().clone() for book in books]
    quantizer(torch.randn(shape))
    moved = any(not torch.equal(old, book.codes().detach()) for old, book in zip(before, books, strict=True))
    return "the forward" if moved else "the optimizer, by map f" if "map f" in parts_of(quantizer) else "nobody"


def gradients() -> str:
    """Who gets which gradient in training."""
    rows = []
    for source, shape in GRADIENTS.items():
        task, loss = reached(source, shape, "quantized"), reached(source, shape, "loss")
        others = [name for name in task if name not in ("x", "codes")]
        cells = [f"`{source}`", moved_by(source, shape)]
        for said in (task, loss):
            rest = ", ".join(name for name in others if said[name] != "–") or "–"
            cells += [said["x"], said.get("codes", "–"), rest]
        rows.append(cells)
    head = ["quantizer", "codes moved by", "task → x", "→ codes", "→ else", "loss → x", "→ codes", "→ else"]
    return table(head, rows)


# --- the page --------------------------------------------------------------------------------------------------------


def generated(name: str) -> str:
    """The part called ``name``."""
    kind, _, argument = name.partition(" ")
    parts = {"shapes": shapes, "gradients": gradients, "flat names": flat_names}
    return options(argument) if kind == "options" else parts[name]()


def renewed(page: str) -> str:
    """A page with its generated parts made anew."""
    return REGION.sub(lambda match: f"{match[1]}{generated(match[2])}\n{match[3]}", page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
