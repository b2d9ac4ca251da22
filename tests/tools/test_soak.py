"""A short soak of ``make soak``, and that it sees what it is there for."""

from __future__ import annotations

import warnings

import pytest
import torch

from tools import soak as tool

SHORT = ["VectorQuantize", "VectorQuantize, stochastic, stale", "ResidualVQ, dropout", "FSQ"]


def test_a_short_soak_on_ranks():
    for outcome in tool.soak_all(SHORT, 60, 2):
        assert outcome.restarts > 0
        assert outcome.bad > 0
        assert outcome.empty > 0


def test_a_difference_is_seen():
    straight, broken = (tool.Run("FSQ") for _ in range(2))
    with pytest.raises(tool.SoakError, match="of the resumed run differs after step 3"):
        tool.check(straight, broken, 3)
    with torch.no_grad():
        straight.model.encoder.weight[0, 0] = torch.nan
    with pytest.raises(tool.SoakError, match=r"encoder\.weight is not finite"):
        tool.check(straight, straight, 3)


def test_codes_out_of_use_are_seen(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(tool.REVIVING, "one code", lambda: tool.VectorQuantize(tool.LATENT, 64, revive=None))
    monkeypatch.setitem(tool.CASES, "one code", tool.REVIVING["one code"])
    monkeypatch.setattr(tool, "USED", 1.01)
    warnings.filterwarnings("ignore", message="[0-9]+ rows of")
    with pytest.raises(tool.SoakError, match="of the codes in use"):
        tool.soak("one code", 2, tmp_path)
