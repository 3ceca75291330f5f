"""ImageNet-100 as solo-learn trains it, and the authors' ImageNet."""

from kd_jax.methods.ssl.recipes.cifar import SOLO
from kd_jax.methods.ssl.recipes.parts import QUEUED, V1, Recipe, changed

# solo-learn's ImageNet-100, 400 epochs of 2 x 128: as many epochs of warm-up,
# of held prototypes and without a queue are larger parts.
IMAGENET100 = changed(
  SOLO,
  **{"*": {"warmup": 0.025}},
  simclr={
    "learning_rate": 0.3,
    "projector": "4096 bias relu, 512 bias",
  },
  swav={"freeze": 0.005, "queue_start": 0.125},
  **{name: {"queue": 65536} for name in ("moco_v1", *QUEUED)},
  moco_v3={"views": "asymmetric"},
  byol={
    "learning_rate": 0.5,
    "weight_decay": 1e-6,
    "predictor": "8192 bias bn relu, 256 bias",
    "views": "asymmetric",
  },
  dino={
    "teacher_warmup": 0.125,
    "freeze": 0.0025,
    "views": "asymmetric",
  },
  vicreg={"views": "vicreg"},
  barlow={"views": "asymmetric"},
  supervised={"views": "asymmetric"},
)

# The authors' own, ResNet-50, for 100 epochs; warm-ups of 10.
IMAGENET: Recipe = {
  "*": {"optimizer": "lars", "rate_batch": 256, "weight_decay": 1e-6},
  "simclr": {
    "learning_rate": 0.3,
    "warmup": 0.1,
    "temperature": 0.1,
    "projector": "r bn relu, r bn relu, 128 bn~",
  },
  "swav": {
    "learning_rate": 0.3,
    "warmup": 0.1,
    "final_rate": 0.001,
    "views": "swav",
    "projector": "2048 bias bn relu, 128 bias",
    "prototypes": 3000,
    "freeze": 0.01,
    # 1,024 rows cannot share 3,000 prototypes evenly. The authors' 4,096 can;
    # with 256 they keep 3,840 embeddings from epoch 15 on. [inferred]
    "queue": 3072,
    "queue_start": 0.15,
  },
  "moco_v1": {
    **V1,
    "optimizer": "sgd",
    "learning_rate": 0.03,
    "weight_decay": 1e-4,
    "queue": 65536,
    "ema": 0.999,
    "ema_end": 0.999,
  },
  **{
    name: {
      "optimizer": "sgd",
      "learning_rate": 0.03,
      "weight_decay": 1e-4,
      "projector": "r bias relu, 128 bias",
      "queue": 65536,
      "ema": 0.999,
      "ema_end": 0.999,
    }
    for name in QUEUED
  },
  "moco_v3": {
    "learning_rate": 0.6,
    "warmup": 0.1,
    "temperature": 1.0,
    "views": "asymmetric_large",
    "projector": "4096 bn relu, 256 bn-",
    "predictor": "4096 bn relu, 256",
  },
  "byol": {
    "learning_rate": 0.45,
    "warmup": 0.1,
    "projector": "4096 bias bn relu, 256",
    "predictor": "4096 bias bn relu, 256",
  },
  "dino": {
    "optimizer": "sgd",
    "learning_rate": 0.03,
    "weight_decay": 1e-4,
    "warmup": 0.1,
    "views": "dino",
    "projector": "2048 bias small gelu, 2048 bias small gelu, 256 bias small",
    "prototypes": 65536,
    "ema": 0.996,
    "freeze": 0.01,
    "clip": 3.0,
  },
  "simsiam": {
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "weight_decay": 1e-4,
    "projector": "r bn relu, r bn relu, 2048 bn-",
    "predictor": "512 bn relu, 2048 bias",
  },
  "vicreg": {
    "learning_rate": 0.3,
    "warmup": 0.1,
    "final_rate": 0.001,
    "projector": "8192 bias bn relu, 8192 bias bn relu, 8192",
  },
  "barlow": {
    "learning_rate": 0.2,
    "warmup": 0.1,
    "final_rate": 0.001,
    "bias_rate": 0.024,
    "projector": "8192 bn relu, 8192 bn relu, 8192",
  },
  "supervised": {
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "weight_decay": 1e-4,
  },
}
