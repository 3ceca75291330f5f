"""Ours, for small grey images on a CPU."""

from kd_jax.methods.ssl.recipes.parts import V1, Recipe, changed

# 4 convolutions, batches of 96. [inferred]
SMALL: Recipe = {
  "*": {
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "warmup": 0.05,
    "views": "digits",
    "projector": "r bn relu, 64 bias",
  },
  "swav": {"prototypes": 64, "freeze": 0.02},
  "moco_v1": {**V1, "queue": 960},
  "moco_v2": {"queue": 960},
  "moco_v2plus": {"queue": 960},
  "moco_notebook": {"queue": 960},
  "moco_v3": {"predictor": "128 bn relu, 64 bias"},
  "byol": {"predictor": "128 bn relu, 64 bias", "ema": 0.95},
  "dino": {
    "projector": "r bias gelu, 64 bias",
    "prototypes": 64,
    "freeze": 0.05,
    "clip": 3.0,
  },
  # Without a last norm, which would hide a collapse ("hidden-only" there).
  "simsiam": {"predictor": "32 bn relu, 64 bias"},
  "vicreg": {"projector": "r bn relu, 128"},
  "barlow": {"projector": "r bn relu, 128"},
}

# Of digits alone on their image less is cut off; the rest was chosen on
# validation images (README, "What was tried").
DIGITS = changed(
  SMALL,
  **{"*": {"views": "digits_weak"}},
  simclr={"learning_rate": 5e-3},
  swav={"temperature": 0.2},
  moco_v3={"ema": 0.95},
  byol={"projector": "r bn relu, 64 bn-"},
  # A last norm is a guard of its own: with it neither collapses.
  byol_no_stop={"projector": "r bn relu, 64 bias"},
  byol_no_predictor={"projector": "r bn relu, 64 bias"},
  simsiam={"learning_rate": 5e-3},
  vicreg={"learning_rate": 5e-3},
  barlow={"off_diagonal": 0.02},
)
