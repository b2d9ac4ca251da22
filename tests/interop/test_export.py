"""Exported folders: what is in them, what is refused, and that verification sees what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from vqkit import FSQ, RandomProjectionQuantizer, VectorQuantize
from vqkit.codebook import Fixed
from vqkit.data import ImageSpec
from vqkit.errors import ArgumentError, ArgumentTypeError, DataError, ExportError, MissingExtraError
from vqkit.interop import export_folder, export_onnx, export_program, verify_folder
from vqkit.interop.export import folder as folder_file
from vqkit.interop.export import load_onnx, onnx, read_manifest
from vqkit.interop.export.parts import Part
from vqkit.interop.export.ties import Ties, rounding_bound
from vqkit.interop.export.verify import compare
from vqkit.models import ConvVQVAE, ConvVQVAEConfig

PT2 = ["pt2"]


class Tuples(FSQ):
    """Returns what has no names."""

    def forward(self, x, **_):
        return tuple(super().forward(x))


def table(**options) -> VectorQuantize:
    torch.manual_seed(0)
    return VectorQuantize(6, 16, update=Fixed(), revive=None, **options).eval()


def rows(count: int = 50) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1))


def autoencoder() -> ConvVQVAE:
    torch.manual_seed(0)
    quantizer = {"type": "VectorQuantize", "dim": 4, "codebook_size": 16}
    spec = ImageSpec(channels=1, height=8, width=8)
    return ConvVQVAE(ConvVQVAEConfig(spec=spec, hidden=8, residual_hidden=4, quantizer=quantizer)).eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """The folder of an autoencoder, in both formats."""
    folder = tmp_path_factory.mktemp("exported") / "deep" / "model"
    export_folder(autoencoder(), folder, images())
    return folder


def images() -> list[Tensor]:
    return list(torch.rand(21, 1, 8, 8, generator=torch.Generator().manual_seed(2)).split(8))


# --- what is written --------------------------------------------------------------------------------------------------


def test_a_folder_holds_the_files_that_its_manifest_names(exported: Path):
    manifest = read_manifest(exported)
    files = {file for about in manifest["parts"].values() for file in about["files"].values()}
    assert files == {f"{part}.{form}" for part in ("encode", "decode", "forward") for form in ("onnx", "pt2")}
    assert {path.name for path in exported.iterdir()} == files | {"manifest.json"}
    assert list(exported.parent.iterdir()) == [exported]
    assert (manifest["module"], manifest["quantizer"], manifest["index_sizes"]) == ("ConvVQVAE", "VectorQuantize", [16])
    assert manifest["torch"] == torch.__version__


def test_the_manifest_says_what_goes_in_and_comes_out(exported: Path):
    parts = read_manifest(exported)["parts"]
    picture = {"name": "x", "shape": ["batch", 1, 8, 8], "dtype": "float32"}
    indices = {"name": "indices", "shape": ["batch", 2, 2], "dtype": "int64"}
    assert parts["encode"]["inputs"] == [picture]
    assert parts["encode"]["outputs"] == parts["decode"]["inputs"] == [indices]
    assert parts["decode"]["outputs"] == [picture | {"name": "reconstruction"}]
    assert [output["name"] for output in parts["forward"]["outputs"]] == ["reconstruction", "indices", "loss"]
    assert parts["forward"]["outputs"][2]["shape"] == []
    assert all(about["opset"] >= 18 for about in parts.values())


def test_the_manifest_says_what_was_verified(exported: Path):
    for name, about in read_manifest(exported)["parts"].items():
        for found in about["verified"].values():
            assert found["items"] == 21
            assert found["indices"] == (0 if name == "decode" else 21 * 4)
            assert found["differing"] == found["near_ties"] == 0
            assert found["largest_difference"] <= 1e-5 * max(found["largest_value"], 1e-9)


def test_programs_run_where_there_is_no_vqkit(exported: Path):
    code = "import sys, torch\nsys.modules['vqkit'] = None\n"
    code += f"run = torch.export.load({str(exported / 'forward.pt2')!r}).module()\n"
    code += "print(tuple(run(torch.rand(5, 1, 8, 8))[1].shape))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(5, 2, 2)"


def test_a_program_holds_what_its_part_reads(exported: Path):
    names = set(torch.export.load(exported / "encode.pt2").state_dict)
    assert not any("decoder" in name or "ema" in name for name in names)
    assert any("encoder" in name for name in names)


def test_one_call_writes_one_file(tmp_path: Path):
    fsq, x = FSQ([5, 4]).eval(), torch.randn(9, 2)
    run = load_onnx(export_onnx(fsq, x[:1], tmp_path / "fsq.onnx"))
    for got, want in zip(run(x), fsq(x), strict=True):
        assert torch.equal(got, want)


def test_an_example_of_one_item_leaves_the_batch_open():
    program = export_program(table(), rows(1), "encode").module()
    assert torch.equal(program(rows())[0], table().encode(rows()))


def test_masked_rows_are_exported_by_torch_alone(tmp_path: Path):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.quantizer = table()

        def forward(self, x, mask):
            return self.quantizer.encode(x, mask=mask)

    batch = torch.export.Dim("batch")
    mask = rows().sum(1) > 0
    program = torch.export.export(Masked(), (rows(), mask), dynamic_shapes=({0: batch}, {0: batch}))
    expected = table().encode(rows()[:7], mask=mask[:7])
    assert (expected == -1).any()
    assert torch.equal(program.module()(rows()[:7], mask[:7]), expected)
    with onnx.quiet():
        torch.onnx.export(program, input_names=["x", "mask"], verbose=False).save(tmp_path / "masked.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "masked.onnx")
    (found,) = session.run(None, {"x": rows()[:7].numpy(), "mask": mask[:7].numpy()})
    assert torch.equal(torch.from_numpy(found), expected)


def test_half_precision(tmp_path: Path):
    brief, x = table(codebook_dim=3).bfloat16(), rows().bfloat16()
    assert torch.equal(export_program(brief, x, "encode").module()(x)[0], brief.encode(x))
    half = table(codebook_dim=3).half()
    found = export_folder(half, tmp_path / "it", [rows().half()], formats=["onnx"], parts=["forward"])
    assert found["parts"]["forward"]["verified"]["onnx"]["items"] == 50
    with pytest.raises(ExportError, match=r"encode\.onnx: ONNX Runtime cannot load it"):
        export_folder(table().bfloat16(), tmp_path / "no", [rows().bfloat16()], formats=["onnx"], parts=["encode"])
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_indices_alone_have_no_decode(tmp_path: Path):
    quantizer = RandomProjectionQuantizer(6, 16, 4).eval()
    assert list(export_folder(quantizer, tmp_path / "it", [rows()], formats=PT2)["parts"]) == ["encode", "forward"]
    with pytest.raises(ArgumentError, match="part: expected encode or forward: RandomProjectionQuantizer gives"):
        export_program(quantizer, rows(), "decode")


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"module": nn.Linear(2, 2)}, "module: expected a quantizer or an autoencoder"),
        (
            {"module": Tuples([5, 5]).eval(), "batches": [torch.ones(3, 2)]},
            "module: expected one whose forward returns",
        ),
        ({"module": table().train()}, "module: expected one in eval mode, all its parts too"),
        (
            {"module": table().to("meta")},
            "module: expected one on the CPU, where files are verified, got it on meta",
        ),
        ({"batches": []}, "batches: expected at least one batch"),
        ({"batches": [rows(0)]}, "example: expected a batch of at least one item"),
        ({"formats": ["pb"]}, "formats: expected one of 'onnx', 'pt2', got 'pb'"),
        ({"formats": "onnx"}, "formats: expected a list of some of onnx, pt2"),
        ({"formats": []}, "formats: expected a list"),
        ({"parts": ["loss"]}, "parts: expected one of 'encode', 'decode', 'forward', got 'loss'"),
    ],
)
def test_bad_arguments_are_named_and_leave_nothing(arguments, says: str, tmp_path: Path):
    given = {"module": table(), "batches": [rows()], "formats": PT2} | arguments
    with pytest.raises((ArgumentError, ArgumentTypeError), match=says):
        export_folder(given.pop("module"), tmp_path / "it", given.pop("batches"), **given)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path):
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "note.txt").write_text("mine")
    for overwrite, says in ((False, "a new or empty folder"), (True, "an exported folder to overwrite")):
        with pytest.raises(ArgumentError, match=says):
            export_folder(table(), tmp_path / "it", [rows()], formats=PT2, overwrite=overwrite)
    assert (tmp_path / "it" / "note.txt").read_text() == "mine"


def test_an_export_is_overwritten_whole(tmp_path: Path):
    (tmp_path / "it").mkdir()  # empty: as good as none
    export_folder(table(), tmp_path / "it", [rows()], formats=PT2)
    export_folder(table(), tmp_path / "it", [rows()], formats=PT2, parts=["encode"], overwrite=True)
    assert {path.name for path in (tmp_path / "it").iterdir()} == {"encode.pt2", "manifest.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vqkit\[export\]'"):
        export_folder(table(), tmp_path / "it", [rows()])
    assert list(tmp_path.iterdir()) == []
    export_folder(table(), tmp_path / "it", [rows()], formats=PT2, parts=["encode"])


def test_a_translation_that_onnx_lacks_is_an_export_error(tmp_path: Path):
    class Odd(FSQ):
        def encode(self, x, **_):
            return super().encode(torch.special.bessel_j0(x))

    with pytest.raises(ExportError, match=r"Odd\.encode: there is no ONNX for it"):
        export_onnx(Odd([5, 5]).eval(), torch.randn(3, 2), tmp_path / "odd.onnx", "encode")


# --- what verification sees -------------------------------------------------------------------------------------------


def test_a_folder_can_be_verified_again(exported: Path):
    found = verify_folder(exported, autoencoder(), images())
    assert found["forward"]["onnx"].items == 21


def test_a_file_of_another_model_is_seen(exported: Path):
    other = autoencoder()
    other.quantizer.codebook = other.quantizer.codebook.roll(1, 0)
    with pytest.raises(ExportError, match=r"encode\.onnx: expected the module's indices, got others that no rounding"):
        verify_folder(exported, other, images())


def test_other_values_are_seen(tmp_path: Path):
    export_folder(table(), tmp_path / "it", [rows()], formats=PT2, parts=["decode"])
    other = table()
    other.codebook = other.codebook * 1.001
    with pytest.raises(ExportError, match=r"decode\.pt2: expected quantized within"):
        verify_folder(tmp_path / "it", other, [rows()])


@pytest.mark.parametrize("file", ["encode.onnx", "encode.pt2"])
def test_a_damaged_file_is_seen(exported: Path, tmp_path: Path, file: str):
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file).write_bytes(b"nothing of use")
    with pytest.raises(ExportError, match=rf"{file}: .* cannot load it"):
        verify_folder(tmp_path, autoencoder(), images())


@pytest.mark.parametrize("text", ["{", "[]", '{"parts": 3}', None])
def test_a_folder_without_a_manifest_is_named(tmp_path: Path, text: str | None):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json"):
        verify_folder(tmp_path, table(), [rows()])


def test_an_export_that_disagrees_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def tampered(program, file) -> None:
        program.state_dict["module.book.vectors"] = -program.state_dict["module.book.vectors"]
        save(program, file)

    save = torch.export.save
    monkeypatch.setattr(torch.export, "save", tampered)
    with pytest.raises(ExportError, match=r"encode\.pt2: expected the module's indices"):
        export_folder(table(), tmp_path / "it", [rows()], formats=PT2)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_overwrite_keeps_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    export_folder(table(), tmp_path / "it", [rows()], formats=PT2)
    before = (tmp_path / "it" / "manifest.json").read_text()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folder_file, "verify_folder", stop)
    with pytest.raises(KeyboardInterrupt):
        export_folder(table(), tmp_path / "it", [rows()], formats=PT2, overwrite=True)
    assert (tmp_path / "it" / "manifest.json").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_a_folder_that_cannot_be_renamed_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    words = {"formats": PT2, "parts": ["encode"]}
    export_folder(table(), tmp_path / "it", [rows()], **words)
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="no"):
        export_folder(table(), tmp_path / "it", [rows()], **words, overwrite=True)
    assert read_manifest(tmp_path / "it")["module"] == "VectorQuantize"
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_shapes_and_dtypes_are_compared():
    part = Part(table(), "encode", rows())
    for wrong in (lambda x: (table().encode(x).int(),), lambda x: (table().encode(x)[:3],)):
        with pytest.raises(ExportError, match="expected indices of"):
            compare(wrong, part, [rows()], "it")


def test_values_that_are_not_finite_are_seen():
    part = Part(table(), "decode", rows())
    with pytest.raises(ExportError, match="expected finite quantized where the module's is"):
        compare(lambda indices: (table().decode(indices) / 0,), part, [rows()], "it")


# --- near ties --------------------------------------------------------------------------------------------------------


def beside_a_tie(off: float) -> tuple[VectorQuantize, Tensor, Tensor]:
    """A quantizer, rows of which one lies halfway between codes 0 and 1 but for ``off``, and indices with code 1."""
    quantizer = table()
    quantizer.codebook = torch.cat([quantizer.codebook[:2], quantizer.codebook[2:] + 100])
    x = rows().double()
    x[3] = quantizer.codebook[:2].double().mean(0) + off * (quantizer.codebook[0] - quantizer.codebook[1])
    other = quantizer.encode(x).clone()
    assert other[3] == 0
    other[3] = 1
    return quantizer, x, other


def test_a_near_tie_is_counted():
    quantizer, x, other = beside_a_tie(1e-8)
    found = compare(lambda _: (other,), Part(quantizer, "encode", x), [x], "it")
    assert (found.differing, found.near_ties) == (1, 1)
    assert 0 < found.tie_width <= found.tie_bound == rounding_bound(quantizer)


def test_what_is_no_tie_is_an_error():
    quantizer, x, other = beside_a_tie(1e-3)
    with pytest.raises(ExportError, match=r"0 and 1 at 0, and moving the input by up to 4\.8e-07"):
        compare(lambda _: (other,), Part(quantizer, "encode", x), [x], "it")


def test_the_bound_grows_with_the_layers():
    assert rounding_bound(table()) == pytest.approx(8 * 2**-24)
    assert rounding_bound(table(codebook_dim=3)) == pytest.approx((8 + 6 + 1 + 3 + 1) * 2**-24, rel=1e-5)


def test_the_width_of_a_tie_is_what_it_takes():
    quantizer = FSQ([3], bound_hard_clamp=True, preserve_symmetry=True).eval()
    ties = Ties(quantizer)
    edge = torch.tensor([0.5])
    low, high = torch.tensor(1), torch.tensor(2)
    width = ties.width(edge, low, high)
    assert width is not None
    assert width < 1e-12
    assert ties.width(torch.tensor([0.4]), low, high) is None


def test_onnx_keeps_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    onnx.export_onnx(FSQ([5, 4]).eval(), torch.randn(9, 2), tmp_path / "fsq.onnx", "encode")
    assert "".join(capfd.readouterr()) == ""
