"""CIFAR-10 with ResNet-18, as two libraries train it."""

from kd_jax.methods.ssl.recipes.parts import QUEUED, V1, Recipe

# lightly's CIFAR-10 benchmark, 200 epochs of 512. All parameters have one rate,
# SimSiam's predictor too; nothing is held or clipped; SwAV and DINO see two
# views, of their own crops. BYOL's loss there is a quarter of the paper's, and
# MoCo looks both ways, meaned, with one queue: with SGD the factor counts.
LIGHTLY: Recipe = {
  "*": {
    "learning_rate": 0.06,
    "rate_batch": 128,
    "weight_decay": 5e-4,
    "views": "symmetric_weak_32",
    "projector": "512 bn relu, 128 bias",
    "joint_statistics": False,
  },
  "simclr": {
    "projector": "512 bias relu, 128 bias",
    "temperature": 0.5,
  },
  "swav": {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "weight_decay": 1e-6,
    "prototypes": 512,
    "views": "swav_two_32",
  },
  **{
    name: {
      "projector": "512 bias relu, 128 bias",
      "temperature": 0.1,
      "queue": 8192,
    }
    for name in ("moco_v2", "moco_v2plus")
  },
  # The peer's own form.
  "moco_notebook": {
    "projector": "512 bias relu, 128 bias",
    "temperature": 0.1,
    "queue": 8192,
    "scale": 0.5,
  },
  "moco_v1": {**V1, "queue": 8192},
  "moco_v3": {
    "projector": "4096 bn relu, 256 bn-",
    "predictor": "4096 bn relu, 256",
  },
  "byol": {
    "projector": "1024 bn relu, 256 bias",
    "predictor": "1024 bn relu, 256 bias",
    "ema_end": 0.99,
    "scale": 0.25,
  },
  "dino": {
    "projector": "2048 bn gelu, 256 bias",
    "prototypes": 2048,
    "ema_end": 0.99,
    "views": "dino_two_32",
  },
  "simsiam": {
    "rate_batch": 0,
    "predictor_constant": False,
    "projector": "2048 bn relu, 2048 bn",
    "predictor": "512 bn relu, 2048 bias",
  },
  # lightly has none of it, and at the others' rate, without a warm-up, ours is
  # not finite after four steps, its own code after an epoch. Optimizer, warm-up
  # of ten epochs and the variance's weight are solo-learn's, views the others'.
  "vicreg": {
    "optimizer": "lars_clipped",
    "learning_rate": 0.3,
    "rate_batch": 256,
    "weight_decay": 1e-4,
    "warmup": 0.05,
    "projector": "2048 bn relu, 2048 bn relu, 2048",
    "variance": 50.0,
  },
  "barlow": {"projector": "2048 bn relu, 2048", "off_diagonal": 0.005},
}

# solo-learn's CIFAR settings, 1000 epochs of 256.
SOLO: Recipe = {
  "*": {
    "optimizer": "lars_clipped",
    "rate_batch": 256,
    "warmup": 0.01,
    "views": "asymmetric_32",
    "joint_statistics": False,
  },
  "simclr": {
    "learning_rate": 0.4,
    "weight_decay": 1e-4,
    "views": "symmetric",
    "projector": "2048 bias relu, 256 bias",
  },
  "swav": {
    "learning_rate": 0.6,
    "weight_decay": 1e-6,
    "views": "symmetric",
    "projector": "2048 bias bn relu, 128 bias",
    "prototypes": 3000,
    "queue": 3840,
    "queue_start": 0.05,
    "freeze": 0.002,
  },
  **{
    name: {
      "optimizer": "sgd",
      "learning_rate": 0.3,
      "weight_decay": 1e-4,
      "views": "symmetric_weak_small",
      "projector": "2048 bias relu, 256 bias",
      "queue": 32768,
      "ema_end": 0.999,
    }
    for name in QUEUED
  },
  "moco_v1": {
    **V1,
    "optimizer": "sgd",
    "learning_rate": 0.3,
    "weight_decay": 1e-4,
    "views": "symmetric_weak_small",
    "queue": 32768,
  },
  "moco_v3": {
    "learning_rate": 0.3,
    "weight_decay": 1e-6,
    "projector": "4096 bn relu, 256 bn-",
    "predictor": "4096 bn relu, 256",
  },
  "byol": {
    "learning_rate": 1.0,
    "weight_decay": 1e-5,
    "projector": "4096 bias bn relu, 256 bias",
    "predictor": "4096 bias bn relu, 256 bias",
  },
  "dino": {
    "learning_rate": 0.3,
    "weight_decay": 1e-6,
    "projector": "2048 bias small gelu, 2048 bias small gelu, 256 bias small",
    "prototypes": 4096,
    "teacher_temperature": 0.07,
    "ema": 0.9995,
    "freeze": 0.001,
  },
  "simsiam": {
    "optimizer": "sgd",
    "learning_rate": 0.5,
    "weight_decay": 1e-5,
    "views": "symmetric_weak_small",
    "projector": "2048 bn relu, 2048 bn relu, 2048 bn-",
    "predictor": "512 bn relu, 2048 bias",
  },
  "vicreg": {
    "learning_rate": 0.3,
    "weight_decay": 1e-4,
    "views": "vicreg_32",
    "projector": "2048 bias bn relu, 2048 bias bn relu, 2048",
    # It adds both views' variances where the paper halves them.
    "variance": 50.0,
  },
  "barlow": {
    "learning_rate": 0.3,
    "weight_decay": 1e-4,
    "projector": "2048 bn relu, 2048 bn relu, 2048",
    "scale": 0.1,
  },
  "supervised": {
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "weight_decay": 5e-4,
  },
}
