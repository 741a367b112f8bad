"""What stands in the bytes of an ``.onnx`` file, read before anything executes it.

ONNX Runtime resolves its own operator domains without asking and, given a model as
bytes, reads external tensors from the working folder. So both are looked for here. The
file is a protocol buffer (fields and their numbers: ``onnx.proto``, ONNX 1.18), walked
without the ``onnx`` package, which is needed for training only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DisallowedError", "check_model"]

_STANDARD_DOMAINS = (b"", b"ai.onnx")
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 64

# Which fields of a message hold which message: all ways to nodes and tensors.
_CHILDREN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse tensor",
        23: "sparse tensor",
    },
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_NODE_OPERATOR, _NODE_DOMAIN = 4, 7
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14


class DisallowedError(Exception):
    """The model uses something that an encoder must not; the message says what."""


def check_model(model: bytes) -> None:
    """Refuse operators outside the standard ONNX domain, and tensors in other files.

    Subgraphs and functions are searched, too.

    Args:
        model: the bytes of an ``.onnx`` file.

    Raises:
        DisallowedError: there is one.
        ValueError: the bytes are no protocol buffer.
    """
    _check(memoryview(model), "model", 0)


def _check(message: memoryview, kind: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    operator, domains = b"?", [b""]
    for number, value in _fields(message):
        if kind == "tensor" and (
            number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0)
        ):
            raise DisallowedError("tensors in another file")
        if isinstance(value, int):
            continue
        if kind == "node" and number == _NODE_OPERATOR:
            operator = bytes(value)
        elif kind == "node" and number == _NODE_DOMAIN:
            domains.append(bytes(value))
        elif child := _CHILDREN[kind].get(number):
            _check(value, child, depth + 1)
    for domain in domains:
        if domain not in _STANDARD_DOMAINS:
            raise DisallowedError(f"operator {_text(operator)} of domain {_text(domain)}")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Number and value of each field: an int for a varint, else the bytes."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        # A decoder may drop the bits past 32 and see another field than the one seen here.
        if tag >> 32:
            raise ValueError("a field number out of range")
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire == _BYTES:
            length, position = _varint(message, position)
        elif wire in {_FIXED32, _FIXED64}:
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"unknown wire type {wire}")
        if length > len(message) - position:
            raise ValueError("cut short")
        yield number, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Seven bits a byte, lowest first; the top bit says that more follow."""
    value = shift = 0
    while position < len(message) and shift < 70:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("cut short")


def _text(value: bytes) -> str:
    return ascii(value.decode(errors="replace"))
