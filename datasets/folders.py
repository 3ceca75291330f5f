"""Where prepared data and fetched wheels are kept."""

import os
from pathlib import Path


def data_dir() -> Path:
  """The folder of prepared data sets.

  Returns:
    KD_JAX_DATA if it is set, else TFDS_DATA_DIR (a user of TFDS has their data
    there), else "kd_jax/data" in the user's cache (XDG_CACHE_HOME).
  """
  for name in ("KD_JAX_DATA", "TFDS_DATA_DIR"):
    if os.environ.get(name):
      return Path(os.environ[name]).expanduser()
  return _cache() / "data"


def wheels_dir() -> Path:
  """The folder of fetched wheels.

  Returns:
    "wheels" in KD_JAX_DATA if that is set, else "kd_jax/wheels" in the user's
    cache.
  """
  if os.environ.get("KD_JAX_DATA"):
    return Path(os.environ["KD_JAX_DATA"]).expanduser() / "wheels"
  return _cache() / "wheels"


def _cache() -> Path:
  home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  return Path(home).expanduser() / "kd_jax"
