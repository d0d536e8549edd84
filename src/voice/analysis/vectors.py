"""Vectors as they are kept: unit length, half precision, little endian."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def pack(vector: NDArray[np.float32]) -> bytes:
    """A vector (d,) as 2·d bytes."""
    return vector.astype("<f2").tobytes()


def unpack(packed: Sequence[bytes]) -> NDArray[np.float32]:
    """n packed vectors as one (n, d) float32 matrix of unit rows."""
    if not packed:
        return np.zeros((0, 0), dtype=np.float32)
    matrix = np.frombuffer(b"".join(packed), dtype="<f2").reshape(len(packed), -1).astype(np.float32)
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.maximum(norms, 1e-12), dtype=np.float32)
