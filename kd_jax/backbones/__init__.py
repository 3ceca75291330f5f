"""Networks that two or more methods use, as flax.linen modules.

Each one's `__call__(x, *, train, where=None)` returns `Features`; `create`
makes one by name, `tap` reads activations out of any module.
"""

from kd_jax.backbones.cnn import SmallCNN
from kd_jax.backbones.conv import Conv
from kd_jax.backbones.features import Features, Head
from kd_jax.backbones.names import NAMES, create
from kd_jax.backbones.norm import BatchNorm
from kd_jax.backbones.resnet import ResNet
from kd_jax.backbones.taps import tap

__all__ = [
  "NAMES",
  "BatchNorm",
  "Conv",
  "Features",
  "Head",
  "ResNet",
  "SmallCNN",
  "create",
  "tap",
]
