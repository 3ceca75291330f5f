"""Networks that two or more methods use, as flax.linen modules.

Each one's `__call__(x, *, train, where=None)` returns `Features`; `create`
makes one by name, `register` names one of your own, `load_resnet` makes one
with the weights of a file (`save_resnet` writes it); `tap` reads activations
out of any module.
"""

from kd_jax.backbones.cnn import SmallCNN
from kd_jax.backbones.conv import Conv
from kd_jax.backbones.features import Features, Head
from kd_jax.backbones.names import NAMES, channels, create, register
from kd_jax.backbones.norm import BatchNorm
from kd_jax.backbones.pretrained import load_resnet, resnet_like, save_resnet
from kd_jax.backbones.resnet import ResNet
from kd_jax.backbones.taps import tap
from kd_jax.backbones.vgg import VGG
from kd_jax.backbones.wide import WideResNet

__all__ = [
  "NAMES",
  "VGG",
  "BatchNorm",
  "Conv",
  "Features",
  "Head",
  "ResNet",
  "SmallCNN",
  "WideResNet",
  "channels",
  "create",
  "load_resnet",
  "register",
  "resnet_like",
  "save_resnet",
  "tap",
]
