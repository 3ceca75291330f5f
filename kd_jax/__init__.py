"""kd_jax: eleven papers as one functional JAX/Flax suite.

The verbs of the command are functions here: `kd_jax.train("kd3")`. Losses,
metrics, backbones, augmentation and lifting are modules of plain functions:
`kd_jax.losses`, `kd_jax.metrics`, `kd_jax.backbones`, `kd_jax.augment`,
`kd_jax.accel`.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Names that load on use: importing a loss must not import the whole shell.
_WHERE = {
  "train": "api",
  "evaluate": "api",
  "load": "api",
  "open_run": "api",
  "reproduce": "reproduction",
  "benchmark": "throughput",
}

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
  """Loads a verb when it is first used."""
  if name in _WHERE:
    return getattr(importlib.import_module(f"kd_jax.{_WHERE[name]}"), name)
  if name in ("accel", "augment", "backbones", "losses", "metrics"):
    return importlib.import_module(f"kd_jax.{name}")
  raise AttributeError(f"module 'kd_jax' has no attribute {name!r}")
