"""The arms by name, presets, and how a method of one's own joins them."""

import dataclasses
from collections.abc import MutableMapping

from kd_jax.errors import UsageError
from kd_jax.methods.ssl.config import (
  Config,
  DataConfig,
  NetConfig,
  ProbeConfig,
)
from kd_jax.methods.ssl.learners import LEARNERS, Learner
from kd_jax.methods.ssl.recipes import COLLAPSES

METHODS = (
  "simclr",
  "swav",
  "moco_v2",
  "moco_v3",
  "byol",
  "dino",
  "simsiam",
  "vicreg",
  "barlow",
)
_WITHOUT = {
  "byol_no_stop": "byol, its target the online network, gradient and all, "
  "without a last norm",
  "byol_no_predictor": "byol without a predictor and without a last norm",
  "simsiam_no_stop": "simsiam without the stopped gradient",
  "simsiam_no_predictor": "simsiam without a predictor",
  "dino_no_centring": "dino, the centre always 0",
  "dino_no_sharpening": "dino, the teacher at temperature 1",
  "swav_no_sinkhorn": "swav, codes a softmax",
  "vicreg_no_variance": "vicreg without its variance term",
  "moco_no_momentum": "moco_v2, keys of the online encoder as it was",
}
ARMS: MutableMapping[str, str] = {
  **{name: learner.title for name, learner in LEARNERS.items()},
  **_WITHOUT,
}
_OURS = frozenset(ARMS)
assert set(_WITHOUT) == set(COLLAPSES)


def register(learner: Learner) -> None:
  """Makes a method of one's own an arm, as ours are.

  Args:
    learner: it; a name that is taken by another of one's own is replaced.

  Raises:
    UsageError: if the name is one of ours.
  """
  if learner.name in _OURS:
    raise UsageError(
      f"the arm {learner.name!r} is one of ours; take another name"
    )
  LEARNERS[learner.name] = learner
  ARMS[learner.name] = learner.title


_COLOUR = DataConfig(
  images="cifar10",
  val_images=5000,
  mean=(0.4914, 0.4822, 0.4465),
  std=(0.247, 0.2435, 0.2616),
  flip=True,
)
_CIFAR = Config(
  arms=("random", *METHODS, "supervised"),
  recipe="lightly",
  data=_COLOUR,
  net=NetConfig("resnet18"),
  probe=ProbeConfig(
    neighbours=200,
    temperature=0.1,
    steps=100 * 45_000 // 256,
    online_rate=0.001,
  ),
  # 200 epochs of 45,000 images.
  steps=200 * 45_000 // 512,
  batch_size=512,
  score_batch_size=1000,
  dtype="bfloat16",
  log_every=100,
  save_every=2000,
)
_LARGE = dataclasses.replace(
  _COLOUR,
  image_size=256,
  view_size=224,
  mean=(0.485, 0.456, 0.406),
  std=(0.229, 0.224, 0.225),
)

PRESETS = {
  # Seconds; what the tests run.
  "tiny": Config(
    arms=("random", "simclr", "byol"),
    data=DataConfig(images="digits", val_images=100, mean=(0.3,), std=(0.37,)),
    net=NetConfig(widths=(8, 16), strides=(1, 2)),
    probe=ProbeConfig(
      neighbours=5, penalties=3, iterations=10, steps=10, batch_size=64
    ),
    steps=20,
    batch_size=32,
    score_batch_size=100,
    log_every=10,
    save_every=0,
  ),
  # The claims, on real digits, in minutes; fifty labels a class are known.
  "small": Config(
    data=DataConfig(view_size=16),
    net=NetConfig(widths=(16, 32, 64, 128)),
    probe=ProbeConfig(labels=500, penalties=8, iterations=40),
    recipe="digits",
    steps=1200,
  ),
  # lightly's benchmark: 200 epochs, batch 512.
  "cifar10": dataclasses.replace(
    _CIFAR,
    net=NetConfig("resnet18_linear_stem"),
  ),
  # solo-learn's: 1000 epochs, batch 256.
  "cifar10_1000": dataclasses.replace(
    _CIFAR,
    recipe="solo",
    probe=dataclasses.replace(_CIFAR.probe, neighbours=20, temperature=0.07),
    steps=1000 * 45_000 // 256,
    batch_size=256,
  ),
  # A folder of the hundred classes: --data.images FOLDER.
  "imagenet100": dataclasses.replace(
    _CIFAR,
    recipe="imagenet100",
    data=dataclasses.replace(_LARGE, images="imagenet100"),
    net=NetConfig("resnet18_large"),
    probe=ProbeConfig(steps=100 * 121_689 // 256, online_rate=0.001),
    steps=400 * 121_689 // 256,
    batch_size=256,
  ),
  # The authors' settings for 100 epochs; one batch for all of them.
  "imagenet": dataclasses.replace(
    _CIFAR,
    recipe="imagenet",
    data=dataclasses.replace(_LARGE, images="imagenet2012", val_images=50_000),
    net=NetConfig("resnet50"),
    probe=ProbeConfig(steps=100 * 1_231_167 // 256, online_rate=0.001),
    steps=100 * 1_231_167 // 1024,
    batch_size=1024,
  ),
}
