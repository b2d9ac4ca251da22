"""Contract, item 13: exported to ``torch.export`` and to ONNX, a quantizer in eval gives the same indices and values.

Not every case: one of each kind of graph. A forward in ONNX holds every operation that an encode has.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.contracts.cases import CASES, DIM, INDICES_ALONE, SIZE, Case
from vqkit import FSQ, BinaryMapper, ResidualVQ, VectorQuantize
from vqkit.codebook import Fixed
from vqkit.errors import ExportError
from vqkit.functional import kmeans
from vqkit.interop.export.onnx import load_onnx, write_onnx
from vqkit.interop.export.parts import Part
from vqkit.interop.export.program import trace
from vqkit.interop.export.verify import Agreement, compare
from vqkit.quantizers import Quantizer

REAL = Path(__file__).parents[3] / "shared" / "data" / "mnist"
BEAM = Case("ResidualVQ-beam_of_two", partial(ResidualVQ, DIM, num_quantizers=2, codebook_size=SIZE, beam_size=2))
BY_NAME = {case.name: case for case in [*CASES, *INDICES_ALONE, BEAM]}

# Kinds of graph in the order of the families: search, metric, codes, layout, maps around, loss; stages; scales.
PROGRAMS = [
    "VectorQuantize-cosine_lengths-heads",
    "VectorQuantize-cross_entropy-projected",
    "VectorQuantize-bridge-rows",
    "GroupedResidualVQ-projected-image",
    "ResidualVQ-implicit",
    "Grouped-of-lookup-free",
    "MultiScaleVQ-volume",
    "FSP-plain-rows",
    "BSQ-group_indices-image",
    "BinaryMapper-deterministic_on_eval",
    "LatentQuantize-plain-image_auto",
    "SinkhornVQ-heads_apart",
    "ProductQuantize-random",
    "SimVQ-mlp",
    "RandomProjectionQuantizer-several",
]
FILES = [
    "VectorQuantize-plain-channel_first",
    "VectorQuantize-affine_running-heads_apart",
    "VectorQuantize-dot-image_heads_projected",
    "VectorQuantize-diversity-volume",
    BEAM.name,
    "ResidualFSQ-rotated",
    "MultiScaleVQ-in_order",
    "FSQ-plain-2^62_codes",
    "LFQ-spherical_rotated-image_codebooks_projected",
    "IBQ-entropy",
    "GumbelQuantize-groups",
    "SQVAE-vmf",
]
# Where the batch is not the first axis, indices have an axis of their own, or vectors are made of them by arithmetic.
DECODES = [
    "VectorQuantize-plain-heads_apart",
    "GroupedResidualVQ-projected-image",
    "ResidualVQ-plain-image",
    "MultiScaleVQ-plain",
    "FSQ-plain-projected",
    "LFQ-plain-codebooks",
]


def made(name: str) -> tuple[Quantizer, Case]:
    case = BY_NAME[name]
    return (case.trained() if case.returns_vectors else case.build()).eval(), case


def batches(case: Case) -> list[Tensor]:
    """One item, as many as the example, and many; a row of NaN among the last."""
    many = torch.cat([case.x(seed) for seed in range(10, 25)])
    many[3].flatten()[0] = torch.nan
    return [case.x()[:1], case.x(), many]


def as_program(part: Part, example: Tensor, given: list[Tensor]) -> Agreement:
    return compare(trace(part, example).module(), part, given, part.name)


def as_both(part: Part, example: Tensor, given: list[Tensor], file: Path) -> list[Agreement]:
    """As a program, and as a file that ONNX Runtime runs."""
    program = trace(part, example)
    found = compare(program.module(), part, given, part.name)
    write_onnx(program, part, file)
    return [found, compare(load_onnx(file), part, given, file.name)]


@pytest.mark.parametrize("name", PROGRAMS)
@torch.no_grad()
def test_a_program_gives_what_the_forward_gives(name: str):
    quantizer, case = made(name)
    found = as_program(Part(quantizer, "forward", case.x()), case.x(), batches(case))
    assert (found.items, found.differing) == (16 * case.shape[0] + 1, 0)


@pytest.mark.parametrize("name", FILES)
@torch.no_grad()
def test_so_does_onnx_runtime(name: str, tmp_path: Path):
    quantizer, case = made(name)
    for found in as_both(Part(quantizer, "forward", case.x()), case.x(), batches(case), tmp_path / "forward.onnx"):
        assert found.indices > 0
        assert found.differing == 0


@pytest.mark.parametrize("name", DECODES)
@torch.no_grad()
def test_a_program_decodes_as_the_module_does(name: str):
    quantizer, case = made(name)
    part = Part(quantizer, "decode", case.x())
    found = as_program(part, case.x(), [case.x()[:1], case.x(), torch.cat([case.x(1), case.x(2)])])
    assert found.largest_value > 0
    assert found.largest_difference <= 1e-6 * found.largest_value


def test_skipped_stages_and_rows_decode_to_nothing():
    quantizer, case = made("ResidualVQ-plain")
    indices = quantizer.encode(case.x())
    indices[0, 0], indices[1, 2, 1:] = -1, -1
    decode = trace(Part(quantizer, "decode", case.x()), case.x()).module()
    assert torch.equal(decode(indices)[0], quantizer.decode(indices))
    assert not decode(indices)[0][0, 0].any()


# --- ties -----------------------------------------------------------------------------------------------------------


def tied() -> tuple[VectorQuantize, Tensor]:
    """Codes that repeat, codes with rows halfway between them, and a code so far away that it moves their mean."""
    quantizer = VectorQuantize(4, 40, update=Fixed(), revive=None).eval()
    codes = torch.randn(40, 4).round()
    codes[20:30], codes[39] = codes[:10], 1e20
    quantizer.codebook = codes
    return quantizer, torch.cat([codes[:39], (codes[:38] + codes[1:39]) / 2, torch.zeros(1, 4)])


@torch.no_grad()
def test_the_lowest_of_equal_codes_wins_everywhere(tmp_path: Path):
    quantizer, x = tied()
    part = Part(quantizer, "encode", x)
    assert [found.differing for found in as_both(part, x, [x], tmp_path / "encode.onnx")] == [0, 0]
    assert not ((quantizer.encode(x) >= 20) & (quantizer.encode(x) < 30)).any()


# --- many rows --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def agree_on(rows: Tensor, tmp_path: Path) -> list[Agreement]:
    quantizer = VectorQuantize(rows.shape[1], 256, update=Fixed(), revive=None).eval()
    quantizer.codebook = kmeans(rows[:2048], 256, iters=3).centroids
    part = Part(quantizer, "encode", rows)
    return as_both(part, rows[:64], list(rows.split(4096)), tmp_path / "encode.onnx")


def test_ten_thousand_random_rows(tmp_path: Path):
    for found in agree_on(torch.randn(10_000, 16, generator=torch.Generator().manual_seed(0)), tmp_path):
        assert (found.indices, found.differing) == (10_000, 0)


@pytest.mark.data
@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real data set in {REAL}")
def test_ten_thousand_patches_of_mnist(tmp_path: Path):
    from vqkit.data import load_images

    images = load_images(REAL, "test").batch(range(700))[:, 0]
    patches = images.unfold(1, 4, 4).unfold(2, 4, 4).reshape(-1, 16)
    rows = patches[patches.any(1)][:10_000]
    for found in agree_on(rows, tmp_path):
        assert (found.indices, found.differing) == (10_000, 0)


# --- what cannot be exported ------------------------------------------------------------------------------------------


def test_what_draws_in_eval_is_refused():
    mapper, x = BinaryMapper(4).eval(), torch.randn(3, 4)
    with pytest.raises(ExportError, match=r"BinaryMapper\.forward: expected the same output .*, got aten"):
        trace(Part(mapper, "forward", x), x)


def test_what_torch_cannot_trace_is_named():
    class Reads(FSQ):
        def encode(self, x, **_):
            return super().encode(x) + int(x.sum() > 0)

    reads, x = Reads([5, 5]).eval(), torch.randn(3, 2)
    with pytest.raises(ExportError, match=r"Reads\.encode: torch\.export cannot trace it"):
        trace(Part(reads, "encode", x), x)
