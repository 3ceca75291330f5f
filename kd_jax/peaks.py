"""What devices could do at most, for the model FLOPs utilisation.

Dense peaks in FLOP/s per JAX device, from the vendors' datasheets. "float32"
is the rate of float32 programs at JAX's default precision: that is TF32 on
A100, H100 and H200 and bf16 passes on TPU, not the rate of the FP32 units. A
device that is not listed has no known peak, and its utilisation is null.
"""

# (words of jax.Device.device_kind): {dtype: FLOP/s}. TPU v2 and v3 show each
# of a chip's two cores as a device.
PEAKS: dict[str, dict[str, float]] = {
  "TPU v2": {"bfloat16": 22.5e12, "float32": 22.5e12},
  "TPU v3": {"bfloat16": 61.5e12, "float32": 61.5e12},
  "TPU v4": {"bfloat16": 275e12, "float32": 275e12},
  "TPU v5 lite": {"bfloat16": 197e12, "float32": 197e12},
  "TPU v5p": {"bfloat16": 459e12, "float32": 459e12},
  "TPU v6 lite": {"bfloat16": 918e12, "float32": 918e12},
  "Tesla T4": {"bfloat16": 65e12, "float32": 8.1e12},
  "NVIDIA L4": {"bfloat16": 121e12, "float32": 60e12},
  "A100": {"bfloat16": 312e12, "float32": 156e12},
  "H100": {"bfloat16": 989e12, "float32": 494e12},
  "H200": {"bfloat16": 989e12, "float32": 494e12},
}


def peak(device_kind: str, dtype: str) -> float | None:
  """The dense peak of a device.

  Args:
    device_kind: `jax.Device.device_kind`.
    dtype: "float32" or "bfloat16".

  Returns:
    FLOP/s, or None where it is not known.
  """
  for words, rates in PEAKS.items():
    if words in device_kind:
      return rates.get(dtype)
  return None
