"""The pages of ``docs/`` say what the code does: generated parts are current, examples run, named tests exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tools import quantizer_docs as page

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
TEXT = page.PAGE.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^### (\w+)$|^## (\w+)$|^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def examples() -> list[tuple[str, str]]:
    """Every example of the page with the heading above it."""
    heading, found = "", []
    for section, chapter, block in EXAMPLES:
        heading = section or chapter or heading
        if block:
            found.append((heading, block))
    return found


def test_what_is_generated_is_current():
    assert page.renewed(TEXT) == TEXT, "run python -m tools.quantizer_docs"


@pytest.mark.parametrize("name", page.EVERY)
def test_every_quantizer_has_its_place(name: str):
    assert f"<!-- generated: options {name} -->" in TEXT
    assert re.search(rf"^##+ {name}$", TEXT, re.MULTILINE)
    for sources in (page.SHAPES, page.GRADIENTS):
        assert any(source.startswith(f"{name}(") for source in sources)
    assert name in {heading for heading, _ in examples()}


def test_links_lead_to_headings_and_files():
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ ([\w ]+)$", TEXT, re.MULTILINE)}
    assert set(re.findall(r"\]\(#(.+?)\)", TEXT)) <= anchors
    for path in [*DOCS, ROOT / "README.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize(("heading", "block"), examples(), ids=lambda value: value if "\n" not in value else "")
def test_the_example_runs_as_printed(heading: str, block: str):
    torch.manual_seed(0)
    names: dict[str, object] = {"__name__": heading}
    exec(compile(block, f"{page.PAGE.name} ({heading})", "exec"), names)
    assert len(names) > 2


@pytest.mark.parametrize("source", page.SHAPES)
def test_every_forward_has_one_arity(source: str):
    """The same fields in training and in eval, in this order."""
    quantizer, x = page.made(source), torch.randn(page.SHAPES[source])
    trained, evaluated = quantizer.train()(x), quantizer.eval()(x)
    assert type(trained) is type(evaluated)
    if not isinstance(trained, torch.Tensor):
        order = ("quantized", "indices", "loss")
        assert trained._fields[:3] == order[: len(trained._fields)]


# Matrix products of a training step in units of rows·K·D, as the page says, less the search, which is an op of its own.
COSTS = {
    "VectorQuantize(D, K)": 0,
    "VectorQuantize(D, K, commitment_use_cross_entropy_loss=True)": 3,
    "VectorQuantize(D, K, codebook_diversity_loss_weight=0.1)": 3,
    "VectorQuantize(D, K, objectives=(Entropy(0.1),), update=Gradient())": 4,
    "VectorQuantize(D, K, straight_through=True, learnable_codebook=True)": 7,
    "IBQ(D, K)": 6,
    "IBQ(D, K, entropy_weight=0.1)": 10,
    "GumbelQuantize(D, K)": 11,
    "SQVAE(D, K)": 11,
    "SinkhornVQ(D, K, iters=4)": 4,
}


def _products(count: Callable[..., int], rows: int) -> Callable[..., int]:
    """The flops of an op that makes ``count(*arguments)`` products of its rows and its table, arguments ``rows`` on."""

    def flops(*arguments: Any, out_val: Any = None, **_: Any) -> int:
        (N, D), K = arguments[rows].shape, arguments[rows + 1].shape[0]
        return 2 * N * K * D * count(*arguments)

    flops._get_raw = True  # the counter's own mark of a formula that takes tensors, not their shapes
    return flops


# The scores, in backward again; the gradients of rows and of codes; of mixtures, the product with the codes besides.
SOFTMAX = {
    torch.ops.vqkit.likeliest: _products(lambda *_: 1, rows=0),
    torch.ops.vqkit.sinkhorn_log_masses: _products(lambda *_: 1, rows=0),
    torch.ops.vqkit.softmax_masses: _products(lambda *_: 1, rows=2),
    torch.ops.vqkit.softmax_masses_backward: _products(lambda *a: 1 + sum(a[5][:2]), rows=8),
    torch.ops.vqkit.softmax_cross_entropy: _products(lambda *_: 1, rows=1),
    torch.ops.vqkit.softmax_cross_entropy_backward: _products(lambda *a: 1 + sum(a[2][:2]), rows=4),
    torch.ops.vqkit.softmax_mixtures: _products(lambda *_: 2, rows=3),
    torch.ops.vqkit.softmax_mixtures_backward: _products(
        lambda *a: 1 + a[6] + (1 + sum(a[5][:2]) if any(a[5]) else 0), rows=10
    ),
}


@pytest.mark.parametrize("source", COSTS)
def test_a_step_costs_what_the_page_says(source: str):
    N, K, D = 1024, 512, 64
    quantizer = page.made(source.replace("(D, K", f"({D}, {K}"))
    x = torch.randn(N, D, requires_grad=True)
    with FlopCounterMode(display=False, custom_mapping=SOFTMAX) as counter:
        out = quantizer(x)
        (out.quantized.sum() + out.loss).backward()
    assert COSTS[source] <= counter.get_total_flops() / (2 * N * K * D) < COSTS[source] + 0.3


def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_named_tests_exist(path: Path):
    text = path.read_text(encoding="utf-8")
    for file, test in re.findall(r"`((?:\w+/)*test_\w+\.py)::(test_\w+)", text):
        assert test in functions_of(ROOT / "tests" / file), f"{file}::{test}"
    everywhere = {name for file in (ROOT / "tests").rglob("test_*.py") for name in functions_of(file)}
    assert set(re.findall(r"`(test_\w+)\b(?!\.py)", text)) <= everywhere


def test_the_differences_name_a_test_for_every_fault():
    text = (ROOT / "docs" / "differences.md").read_text(encoding="utf-8")
    numbered = re.findall(r"^\| (\d+) \|(.+)\|$", text, re.MULTILINE)
    assert [int(number) for number, _ in numbered] == list(range(1, len(numbered) + 1))
    assert len(numbered) >= 39
    assert all("::test_" in row for _, row in numbered)
