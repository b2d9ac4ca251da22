"""Imports point down, every helper has one owner, and importing vqkit pulls in nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vqkit"
# Each room may import itself and what stands below it; rooms on one line do not import each other.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"interop"},
    {"viewer", "training"},
    {"models"},
    {"data", "tokens"},
    {"quantizers"},
    {"codebook"},
    {"functional"},
    {"kernels"},
    {"layout", "distributed"},
    {"shapes"},
    {"errors"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(parts: tuple[str, ...]) -> str | None:
    """``("codebook", "init.py")`` is in ``codebook``; the package's own ``__init__`` is in no room."""
    name = parts[0].removesuffix(".py")
    return None if name == "__init__" else name


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            rooms |= {a.name.split(".")[1] for a in node.names if a.name.startswith("vqkit.")}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            first, *rest = node.module.split(".")
            if first == "vqkit":
                rooms |= {rest[0]} if rest else {a.name for a in node.names}
    return rooms & FLOOR_OF.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path):
    room = room_of(path.relative_to(PACKAGE).parts)
    if room is None:
        return
    assert room in FLOOR_OF, f"{room} is no room of the design"
    upward = {other for other in imported_rooms(path) if other != room and FLOOR_OF[other] <= FLOOR_OF[room]}
    assert not upward, f"{path.name} of {room} imports {upward}, which stand above or beside it"


def test_every_helper_has_one_owner():
    owners = defaultdict(list)
    for path in FILES:
        parts = path.relative_to(PACKAGE).parts
        # Kernels share names by device on purpose; commands of the command line are named after what they call.
        if parts[0] in {"kernels", "cli"}:
            continue
        # Another library's vocabulary has names of its own: they may be vqkit's, but not twice its own.
        vocabulary = parts[1].removesuffix(".py") if parts[0] == "interop" else "vqkit"
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            overload = any("overload" in ast.dump(d) for d in getattr(node, "decorator_list", []))
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_") and not overload:
                owners[vocabulary, node.name].append("/".join(parts))
    shared = {name: paths for name, paths in owners.items() if len(paths) > 1}
    assert not shared


def test_files_stay_small():
    long = {
        str(p.relative_to(PACKAGE)): n for p in FILES if (n := len(p.read_text(encoding="utf-8").splitlines())) > 480
    }
    assert not long


def test_importing_vqkit_loads_no_extra():
    extras = ["PIL", "matplotlib", "sklearn", "accelerate", "tensorboard", "torchmetrics", "tqdm", "typer", "datasets"]
    extras += ["onnx", "onnxruntime", "onnxscript"]
    program = "import sys, torch; before = set(sys.modules); import vqkit; new = set(sys.modules) - before\n"
    program += f"print([m for m in {extras} if m in new], torch.cuda.is_initialized())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"
