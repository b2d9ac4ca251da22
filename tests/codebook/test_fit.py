from __future__ import annotations

import pytest
import torch
from torch import nn

from vqkit import GumbelQuantize, VectorQuantize, codebook_warmup
from vqkit.codebook import KMeansInit
from vqkit.errors import ArgumentError
from vqkit.functional import kmeans, nearest


def loader(batches: int = 10, rows: int = 50):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, rows, 6, generator=generator) + 5 for _ in range(batches)]


@pytest.mark.parametrize("method", ["kmeans", "data"])
@pytest.mark.parametrize(
    "options", [{}, {"use_cosine_sim": True}, {"learnable_codebook": True}, {"codebook_dim": 4}], ids=str
)
def test_fit_places_codes_among_the_rows(method: str, options: dict):
    torch.manual_seed(0)
    quantizer = VectorQuantize(6, 16, **options)
    before = quantizer(torch.cat(loader(), 1), freeze_codebook=True).loss.item()
    assert quantizer.fit(loader(), method=method) is quantizer
    assert quantizer(torch.cat(loader(), 1), freeze_codebook=True).loss.item() < before
    assert quantizer.training


def test_fit_is_about_as_good_as_kmeans_on_everything():
    quantizer = VectorQuantize(6, 16).fit(loader())
    rows = torch.cat(loader(), 1)[0]
    best = kmeans(rows, 16, iters=10, restarts=3).distortion
    assert nearest(rows, quantizer.codebook, return_distances=True)[1].double().mean() < 1.1 * best


def test_fit_does_not_depend_on_how_rows_were_batched():
    first, second = VectorQuantize(6, 16).fit(loader()), VectorQuantize(6, 16).fit([torch.cat(loader(), 1)])
    assert torch.equal(first.codebook, second.codebook)


def test_fit_settles_a_pending_first_batch():
    quantizer = VectorQuantize(6, 16, init=KMeansInit()).fit(loader())
    placed = quantizer.codebook.clone()
    quantizer(torch.zeros(1, 1, 6))  # fewer rows than codes: would raise if k-means were still to come
    assert int((quantizer.codebook != placed).any(1).sum()) <= 2


def test_warm_up_changes_nothing_but_codes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5), VectorQuantize(4, 8))
    model[1].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    codebook_warmup(model, [(batch, torch.zeros(1)) for batch in loader()], warmup_method="data", num_batch=3)
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"2.book.vectors", "2.book.ema_sums"}
    assert (model.training, model[1].training) == (True, False)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda: codebook_warmup(nn.Linear(2, 2), []),
            "model: expected a module with a vqkit codebook in it, got Linear",
        ),
        (lambda: VectorQuantize(6, 16).fit([]), "expected at least 16 rows to place 16 codes, got none: .*is empty"),
        (lambda: GumbelQuantize(6, 16).fit(loader()), "got none: .*drawn by scores and never compared with rows"),
        (lambda: VectorQuantize(6, 16).fit([torch.zeros(1, 15, 6)]), "got 15"),
        (lambda: VectorQuantize(6, 16).fit(loader(), method="magic"), "warmup_method: expected one of"),
        (lambda: VectorQuantize(6, 16, vq_bridge=nn.Linear(6, 6)).fit(loader()), "bridge"),
        (lambda: codebook_warmup(VectorQuantize(6, 16), loader(), num_batch=-1), "num_batch"),
    ],
)
def test_bad_arguments(call, match):
    with pytest.raises(ArgumentError, match=match):
        call()


def test_a_failing_warm_up_leaves_every_codebook_as_it_was():
    model = nn.Sequential(VectorQuantize(6, 8), VectorQuantize(6, 800))
    before = model[0].codebook
    with pytest.raises(ArgumentError, match="expected at least 800 rows"):
        codebook_warmup(model, loader(), forward=lambda batch: [quantizer(batch) for quantizer in model])
    assert torch.equal(model[0].codebook, before)


def test_fit_forgets_statistics_of_before():
    quantizer = VectorQuantize(6, 16, revive=None)
    quantizer(torch.full((1, 50, 6), 100.0), accum_ema_update=True)
    quantizer.fit(loader())
    placed = quantizer.codebook
    quantizer(torch.cat(loader(), 1))
    assert (quantizer.codebook - placed).abs().max() < 5


def test_fit_reaches_through_an_affine_map():
    quantizer = VectorQuantize(6, 16, affine_param=True)
    for batch in loader():
        quantizer(batch)
    rows = torch.cat(loader(), 1)[0]
    quantizer.fit(loader())
    best = kmeans(rows, 16, iters=10, restarts=3).distortion
    assert nearest(rows, quantizer.codebook, return_distances=True)[1].double().mean() < 1.1 * best
