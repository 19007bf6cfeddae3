"""An exported graph made cheaper for every runtime, its answers the same but for rounding.

A product that is cut into parts becomes a product for each part: cutting copies the whole, and what is cut is fused with nothing
after it. The scale of a normalization goes into the products that read it. It knows ONNX operators, not encoders; what it does
not recognize stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx_ir as ir


class Part(NamedTuple):
    """Some columns of a product."""

    columns: slice
    value: ir.Value
    """What they are called further on."""
    shape: list[int] | None
    """What they are reshaped to, 0 for what stays; None where they are not."""


def fold_scales(model: ir.Model) -> int:
    """Multiply, in place, the scale of each normalization into the weights of the products, if they alone read it; how many."""
    count = 0
    for node in model.graph:
        if node.op_type != "LayerNormalization" or any(node.inputs[2:]) or node.attributes.get_int("axis", -1) != -1:
            continue
        normal, scale = node.outputs[0], _constant(node.inputs[1])
        readers = {user: _weights(user) for user in normal.consumers() if user.inputs[0] is normal}
        apart = normal.is_graph_output() or len(readers) != len(normal.consumers())
        if scale is None or apart or not readers or any(weights is None for weights in readers.values()):
            continue
        for number, (user, weights) in enumerate(readers.items()):
            assert weights is not None
            user.replace_input_with(1, _made(node, scale[:, None] * weights, f"{normal.name}_weights_{number}"))
        node.replace_input_with(1, _made(node, np.ones_like(scale), f"{normal.name}_scale"))
        count += 1
    return count


def _weights(node: ir.Node) -> npt.NDArray[Any] | None:
    """The constant matrix that a product multiplies with; None for all else."""
    found = _constant(node.inputs[1]) if node.op_type == "MatMul" else None
    return found if found is not None and found.ndim == 2 else None


def _made(node: ir.Node, value: npt.NDArray[Any], name: str) -> ir.Value:
    """A new constant in a node's graph."""
    import onnx_ir as ir

    own = ir.Value(name=name, const_value=ir.tensor(np.ascontiguousarray(value), name=name))
    assert node.graph is not None
    node.graph.register_initializer(own)
    return own


def part_products(model: ir.Model) -> int:
    """Rewrite in place each product with constant weights that is only cut into columns; how many there were."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    count = 0
    for node in list(model.graph):
        if (weights := _weights(node)) is None:
            continue
        parts = list(_parts(node.outputs[0], weights.shape[1]))
        # What the graph itself gives must keep its name.
        if parts and not any(part.value.is_graph_output() for part in parts):
            _replace(node, weights, parts)
            count += 1
    RemoveUnusedNodesPass()(model)
    return count


def _replace(node: ir.Node, weights: npt.NDArray[Any], parts: list[Part]) -> None:
    import onnx_ir as ir

    graph, [given, whole] = node.graph, node.inputs
    assert graph is not None and whole is not None
    for number, part in enumerate(parts):
        name = f"{whole.name}_{number}"
        made = [ir.node("MatMul", [given, _made(node, weights[:, part.columns], name)])]
        if part.shape is not None:
            shape = _made(node, np.array(part.shape), f"{name}_shape")
            made.append(ir.node("Reshape", [made[0].outputs[0], shape]))
        graph.insert_before(node, made)
        ir.convenience.replace_all_uses_with(part.value, made[-1].outputs[0])


def _parts(product: ir.Value, width: int) -> Iterator[Part]:
    """The parts that a product is cut into along its last axis; none where it is used in any other way."""
    if product.is_graph_output() or len(users := product.consumers()) != 1 or product.shape is None:
        return
    [user] = users
    if user.op_type == "Split" and user.attributes.get_int("axis", 0) in (-1, len(product.shape) - 1):
        yield from _split(user, width)
    elif user.op_type == "Reshape":
        yield from _unbound(user, len(product.shape))


def _split(node: ir.Node, width: int) -> Iterator[Part]:
    count = len(node.outputs)
    given = _constant(node.inputs[1]) if len(node.inputs) > 1 else None
    size = -(-width // count)
    sizes = [min(size, width - size * place) for place in range(count)] if given is None else given.tolist()
    for value, (start, end) in zip(node.outputs, pairwise([0, *accumulate(sizes)]), strict=True):
        yield Part(slice(start, end), value, None)


def _unbound(node: ir.Node, rank: int) -> Iterator[Part]:
    """The parts of a product whose columns are seen as (parts, ...) and taken one by one."""
    view = node.outputs[0]
    inner = list(view.shape or [])[rank - 1 :]
    if view.is_graph_output() or len(inner) < 2 or not all(isinstance(size, int) for size in inner):
        return
    count, *rest = (int(size) for size in inner)
    width = int(np.prod(rest))
    found = []
    for user in view.consumers():
        taken = _taken(user, {rank - 1, -len(inner)})
        if taken is None:
            return
        place, value = taken
        found.append(Part(slice(place * width, (place + 1) * width), value, [0] * (rank - 1) + rest))
    yield from found if all(part.columns.stop <= count * width for part in found) else ()


def _taken(node: ir.Node, axis: set[int]) -> tuple[int, ir.Value] | None:
    """Which place along an axis, by either of its numbers, a node takes alone, and the value without that axis."""
    if node.op_type != "Slice" or len(node.inputs) != 4 or len(after := node.outputs[0].consumers()) != 1:
        return None
    start, end, axes = (_constant(value) for value in node.inputs[1:])
    squeezed = _constant(after[0].inputs[1]) if after[0].op_type == "Squeeze" and len(after[0].inputs) > 1 else None
    if start is None or end is None or axes is None or squeezed is None:
        return None
    if not {*axes.tolist()} | {*squeezed.tolist()} <= axis or not 0 <= start[0] == end[0] - 1:
        return None
    return int(start[0]), after[0].outputs[0]


def _constant(value: ir.Value | None) -> npt.NDArray[Any] | None:
    return None if value is None or value.const_value is None else value.const_value.numpy()
