"""Int8 with fixed ranges: what a text gets does not depend on the texts beside it in the batch.

Dynamic quantisation takes each activation's range from the whole batch, so neighbours would change a reading. Here
the ranges are those seen on calibration texts, written into the graph; it costs neither accuracy nor time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import Tokenizer

Ranges = dict[str, tuple[float, float]]


def quantise(
    full: Path, small: Path, *, keep: Sequence[str], texts: Sequence[str], tokenizer: Tokenizer
) -> None:
    """Write the int8 form of `full` to `small`; nodes in `keep` stay float, `texts` set the activation ranges."""
    quantize_dynamic(
        str(full), str(small), weight_type=QuantType.QInt8, per_channel=True, nodes_to_exclude=list(keep)
    )
    model = onnx.load(str(small))
    dynamic = [node for node in model.graph.node if node.op_type == "DynamicQuantizeLinear"]
    ranges = _ranges(full, [node.input[0] for node in dynamic], texts, tokenizer)
    for node in dynamic:
        _freeze(model.graph, node, ranges[node.input[0]])
    onnx.save(model, str(small))


def _ranges(full: Path, names: Sequence[str], texts: Sequence[str], tokenizer: Tokenizer) -> Ranges:
    """Smallest and largest value of each named tensor over the texts; both sides of zero are included."""
    model = onnx.load(str(full))
    model.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    ranges: Ranges = dict.fromkeys(names, (0.0, 0.0))
    for text in texts:
        ids = np.array([tokenizer.encode(text).ids])
        values = session.run(list(names), {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        for name, value in zip(names, values, strict=True):
            low, high = ranges[name]
            ranges[name] = min(low, float(value.min())), max(high, float(value.max()))
    return ranges


def _freeze(graph: onnx.GraphProto, node: NodeProto, bounds: tuple[float, float]) -> None:
    """Put a QuantizeLinear with constant scale and zero point where a DynamicQuantizeLinear was."""
    quantised, scale, zero = node.output
    step = (bounds[1] - bounds[0]) / 255
    graph.initializer.append(numpy_helper.from_array(np.array(step, np.float32), scale))
    graph.initializer.append(numpy_helper.from_array(np.array(round(-bounds[0] / step), np.uint8), zero))
    place = list(graph.node).index(node)
    fixed = helper.make_node("QuantizeLinear", [node.input[0], scale, zero], [quantised], name=node.name)
    graph.node.remove(node)
    graph.node.insert(place, fixed)
