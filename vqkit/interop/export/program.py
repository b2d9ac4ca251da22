"""Parts of a module as programs of ``torch.export``, in plain operations that run without vqkit."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from vqkit.errors import ExportError
from vqkit.interop.export.parts import Part, check_example


def export_program(module: nn.Module, example: Tensor, part: str = "forward") -> ExportedProgram:
    """``encode``, ``decode`` or the forward of a quantizer or an autoencoder as a program of ``torch.export``.

    The batch axis may have any size. The program holds plain aten operations, so it runs, and loads from a file, where
    there is no vqkit. Searches measure in float64, as eager code does: indices are the same.

    Args:
        module: in eval mode.
        example: an input of the module's ``encode``, a batch of at least one item; also for ``part="decode"``.
        part: ``"encode"``, ``"decode"`` or ``"forward"``.

    Returns:
        The program, from one tensor to a tuple of tensors, those of the forward in the order of its fields.

    Raises:
        ArgumentError, ArgumentTypeError: a module in training mode, or one without such a part.
        ExportError: it cannot be traced, draws at random, or needs operations that only vqkit has.

    Example:
        >>> import torch
        >>> from vqkit import FSQ
        >>> fsq = FSQ([8, 5, 5]).eval()
        >>> program = export_program(fsq, torch.zeros(2, 7, 3), "encode")
        >>> x = torch.randn(5, 7, 3)
        >>> bool((program.module()(x)[0] == fsq.encode(x)).all())
        True
    """
    example = check_example(example)
    return trace(Part(module, part, example), example)


@torch.no_grad()
def trace(part: Part, example: Tensor) -> ExportedProgram:
    """``export_program`` of a part at hand."""
    named = f"{type(part.module).__name__}.{part.name}"
    if not hasattr(torch.compiler, "is_exporting"):
        raise ExportError(
            f"{named}: expected a torch that says when it exports (2.7 or later), got {torch.__version__}"
        )
    shapes = ({part.batch_axis: Dim("batch", min=1)},)
    try:
        program = torch.export.export(part, (part.example(example),), dynamic_shapes=shapes)
    except Exception as error:  # of many kinds, and torch names no base of them
        raise ExportError(f"{named}: torch.export cannot trace it: {error}") from error
    _check_operations(program, named)
    return _without_idle_state(program)


def _without_idle_state(program: ExportedProgram) -> ExportedProgram:
    """Without the tensors that this part does not read: the averages of training, the layers of the other parts."""
    graph, signature = program.graph_module.graph, program.graph_signature
    idle = {node.name: node for node in graph.nodes if node.op == "placeholder" and not node.users}
    for spec in list(signature.input_specs):
        if spec.target is None or spec.arg.name not in idle:
            continue
        graph.erase_node(idle[spec.arg.name])
        signature.input_specs.remove(spec)
        program.state_dict.pop(spec.target, None)
        program.constants.pop(spec.target, None)
    program.graph_module.recompile()
    return program


def _check_operations(program: ExportedProgram, named: str) -> None:
    """Raise for what no file could repeat elsewhere."""
    for module in program.graph_module.modules():
        for node in getattr(module, "graph", torch.fx.Graph()).nodes:
            target = node.target
            if not isinstance(target, torch._ops.OpOverload):
                continue
            if target.namespace == "vqkit":
                raise ExportError(f"{named}: expected plain operations, got {target}, which only vqkit has")
            if torch.Tag.nondeterministic_seeded in target.tags:
                raise ExportError(f"{named}: expected the same output for the same input, got {target}, which draws")
