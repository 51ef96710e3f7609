"""Networks in whole numbers: an ONNX file whose weights and activations have eight bits, calibrated on examples."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

Inputs = Mapping[str, NDArray[Any]]
"""What a network is given, by the names of its inputs."""
OPERATIONS = ("Conv", "MatMul", "Gemm")
"""Where the work is. Norms, activations and interpolation stay in single precision."""


class Examples(CalibrationDataReader):  # type: ignore[misc]
    """Inputs, one after the other."""

    def __init__(self, inputs: Iterable[Inputs]) -> None:
        self.rest: Iterator[Inputs] = iter(inputs)

    def get_next(self) -> Inputs | None:
        """Return the next inputs, None after the last."""
        return next(self.rest, None)


def none(graph: onnx.GraphProto) -> list[str]:
    """Spare no operation of a graph."""
    return []


def to_int8(
    source: Path,
    target: Path,
    examples: Iterable[Inputs],
    operations: tuple[str, ...] | None = OPERATIONS,
    spare: Callable[[onnx.GraphProto], list[str]] = none,
) -> None:
    """Write a network, `source` in single precision, in 8 bits; ranges of activations are those met in `examples`.

    Weights have a scale per channel; values are signed and symmetric for weights, and lie around any zero otherwise.
    `operations` are those in 8 bits, None for all that can be; `spare` names nodes of the graph that are not.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain, made = Path(folder) / "plain.onnx", Path(folder) / "made.onnx"
        quant_pre_process(source, plain, skip_symbolic_shape=True)
        quantize_static(
            plain,
            made,
            Examples(examples),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=None if operations is None else list(operations),
            nodes_to_exclude=spare(onnx.load(plain).graph),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        onnx.save(onnx.load(made), target)
