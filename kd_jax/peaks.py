"""What devices could do at most, for the model FLOPs utilisation.

Dense peaks in FLOP/s per JAX device, from the vendors' datasheets, each for the
precision in which the device multiplies by default: a float32 program of JAX
multiplies in TF32 on A100, H100, H200 and L4 and in single passes of bfloat16
on a TPU, not at the rate of the FP32 units; a T4, which has no TF32, does that.
A device that is not listed has no known peak, and its utilisation is null.
"""

import re
from typing import NamedTuple


class Peak(NamedTuple):
  """A device's best.

  Attributes:
    rate: FLOP/s, dense.
    precision: what it multiplies in at that rate.
  """

  rate: float
  precision: str


def _tpu(bfloat16: float) -> dict[str, Peak]:
  """Float32 programs multiply in one pass of bfloat16, by default."""
  peak = Peak(bfloat16, "bfloat16")
  return {"bfloat16": peak, "float32": peak}


def _gpu(bfloat16: float, float32: float, *, tf32: bool) -> dict[str, Peak]:
  return {
    "bfloat16": Peak(bfloat16, "bfloat16"),
    "float32": Peak(float32, "tf32" if tf32 else "float32"),
  }


# (words of jax.Device.device_kind): {dtype: peak}, the more special words
# first. TPU v2 and v3 show each of a chip's two cores as a device. A T4 has no
# bfloat16: what stands there is its float16.
PEAKS: dict[str, dict[str, Peak]] = {
  "TPU v2": _tpu(22.5e12),
  "TPU v3": _tpu(61.5e12),
  "TPU v4": _tpu(275e12),
  "TPU v5 lite": _tpu(197e12),
  "TPU v5e": _tpu(197e12),
  "TPU v5p": _tpu(459e12),
  "TPU v5": _tpu(459e12),
  "TPU v6 lite": _tpu(918e12),
  "TPU v6e": _tpu(918e12),
  "Tesla T4": {
    "bfloat16": Peak(65e12, "float16"),
    "float32": Peak(8.1e12, "float32"),
  },
  "NVIDIA L4": _gpu(121e12, 60e12, tf32=True),
  "A100": _gpu(312e12, 156e12, tf32=True),
  "H100 PCIe": _gpu(756e12, 378e12, tf32=True),
  "H100 NVL": _gpu(835e12, 418e12, tf32=True),
  "H100": _gpu(989e12, 494e12, tf32=True),
  "H200 NVL": _gpu(835e12, 418e12, tf32=True),
  "H200": _gpu(989e12, 494e12, tf32=True),
}


def peak(device_kind: str, dtype: str) -> Peak | None:
  """The dense peak of a device.

  Args:
    device_kind: `jax.Device.device_kind`.
    dtype: "float32" or "bfloat16".

  Returns:
    The peak, or None where it is not known.
  """
  for words, rates in PEAKS.items():
    # "L4" is not an L40, nor "v5" a "v5x".
    if re.search(rf"(?<!\w){words}(?!\w)", device_kind):
      return rates.get(dtype)
  return None
