"""Arrays out of a `.safetensors` file, and into one.

The format: eight bytes, the length of a JSON header (little-endian); the
header, {name: {"dtype", "shape", "data_offsets": [from, to]}}; the bytes of the
arrays. Nothing in it is ever executed, and nothing here trusts it: lengths and
offsets are checked against the file.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from kd_jax.errors import UsageError

_DTYPES = {
  "F64": np.float64,
  "F32": np.float32,
  "F16": np.float16,
  "BF16": jnp.bfloat16,
  "I64": np.int64,
  "I32": np.int32,
  "I16": np.int16,
  "I8": np.int8,
  "U8": np.uint8,
  "BOOL": np.bool_,
}
_LONGEST = 100_000_000  # What other readers take, too.


def load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """Reads all arrays of a file.

  Args:
    path: the file.

  Returns:
    Arrays by name, mapped from the file and read-only.

  Raises:
    UsageError: if it is not such a file, or is cut short; says what is wrong.
  """
  path = Path(path)
  try:
    with path.open("rb") as file:
      length = int.from_bytes(file.read(8), "little")
      size = path.stat().st_size
      if not 2 <= length <= min(size - 8, _LONGEST):
        raise UsageError(f"{path} is not a .safetensors file, or is cut short")
      header = json.loads(file.read(length))
    body = np.memmap(path, np.uint8, "r", offset=8 + length)[
      : size - 8 - length
    ]
  except (OSError, ValueError) as error:
    if isinstance(error, UsageError):
      raise
    why = " ".join(str(error).split())
    raise UsageError(f"cannot read {path}: {why}") from None
  header.pop("__metadata__", None)
  return {name: _array(path, body, name, header[name]) for name in header}


def save(
  path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]
) -> None:
  """Writes arrays into a file that `load`, and other libraries, read.

  Args:
    path: the file.
    arrays: by name.

  Raises:
    UsageError: for a dtype that the format has not.
  """
  names = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
  header, parts, start = {}, [], 0
  for name, value in arrays.items():
    array = np.ascontiguousarray(value)
    if array.dtype not in names:
      raise UsageError(f"{name!r} is {array.dtype}, which no such file holds")
    raw = array.tobytes()
    header[name] = {
      "dtype": names[array.dtype],
      "shape": list(np.shape(value)),
      "data_offsets": [start, start + len(raw)],
    }
    parts, start = [*parts, raw], start + len(raw)
  text = json.dumps(header).encode()
  text += b" " * (-len(text) % 8)  # Arrays begin at multiples of 8.
  Path(path).write_bytes(
    len(text).to_bytes(8, "little") + text + b"".join(parts)
  )


def _array(path: Path, body: np.ndarray, name: str, said) -> np.ndarray:
  try:
    dtype = np.dtype(_DTYPES[said["dtype"]])
    shape = tuple(map(int, said["shape"]))
    start, end = map(int, said["data_offsets"])
  except (KeyError, TypeError, ValueError):
    raise UsageError(f"{path} describes {name!r} as {said!r}") from None
  expected = math.prod(shape) * dtype.itemsize
  if min(shape, default=0) < 0 or not 0 <= start <= end <= len(body):
    raise UsageError(f"{path} is cut short, or damaged, at {name!r}")
  if end - start != expected:
    raise UsageError(
      f"{path} has {end - start:,} bytes for {name!r}, but {shape} of {dtype} "
      f"needs {expected:,}"
    )
  return body[start:end].view(dtype).reshape(shape)
