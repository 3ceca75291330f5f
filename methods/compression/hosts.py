"""The networks that the papers compress.

LeNet-300-100 and LeNet-5 (Caffe's), AlexNet (with its groups), VGG-16 with its
dense layers, SqueezeNet v1.0; by name also those of `convolutional`, `mobile`,
`residual` and `kd_jax.backbones`. Each returns `Features`; `feature_map` and
`pooled` are what the classifier sees. The last layer is called "head".
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax import backbones
from kd_jax.backbones import Features
from kd_jax.methods.compression import convolutional, mobile, residual
from kd_jax.methods.compression.convolutional import convolution


def _vector(x, logits) -> Features:
  return Features(x[:, None, None, :], x, logits)


class MLP(nn.Module):
  """Dense layers with ReLU; (300, 100) is LeNet-300-100, 266,610 parameters.

  Attributes:
    num_classes: how many logits.
    widths: of the hidden layers.
    dropout: of each hidden layer, when training.
  """

  num_classes: int = 10
  widths: Sequence[int] = (300, 100)
  dropout: float = 0.0

  @nn.compact
  def __call__(
    self, x: Float[Array, "b *i"], *, train: bool, where: Any = None
  ) -> Features:
    """Applies the network."""
    x = x.reshape(x.shape[0], -1)
    for i, width in enumerate(self.widths):
      x = nn.relu(nn.Dense(width, name=f"fc_{i}")(x))
      if self.dropout:
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return _vector(x, nn.Dense(self.num_classes, name="head")(x))


class LeNet5(nn.Module):
  """Caffe's LeNet-5: 5x5 convolutions of 20 and 50, a hidden layer of 500.

  431,080 parameters for 28x28 images of one channel.

  Attributes:
    num_classes: how many logits.
    widths: of the convolutions and the hidden layer.
  """

  num_classes: int = 10
  widths: Sequence[int] = (20, 50, 500)

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w c"], *, train: bool, where: Any = None
  ) -> Features:
    """Applies the network."""
    for i, width in enumerate(self.widths[:2]):
      x = convolution(width, 5, name=f"conv_{i}")(x)
      x = nn.max_pool(x, (2, 2), (2, 2))
    x = x.reshape(x.shape[0], -1)
    x = nn.relu(nn.Dense(self.widths[2], name="fc_0")(x))
    return _vector(x, nn.Dense(self.num_classes, name="head")(x))


class AlexNet(nn.Module):
  """AlexNet with two groups in its second, fourth and fifth convolution.

  60,965,224 parameters for 227x227 images.

  Attributes:
    num_classes: how many logits.
  """

  num_classes: int = 1000

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w 3"], *, train: bool, where: Any = None
  ) -> Features:
    """Applies the network."""
    layers = (
      (96, 11, 4, 0, 1, True),
      (256, 5, 1, 2, 2, True),
      (384, 3, 1, 1, 1, False),
      (384, 3, 1, 1, 2, False),
      (256, 3, 1, 1, 2, True),
    )
    for i, (width, size, stride, pad, groups, pool) in enumerate(layers):
      x = nn.relu(
        convolution(width, size, stride, pad, groups, name=f"conv_{i}")(x)
      )
      if i < 2:
        x = local_response(x)
      x = nn.max_pool(x, (3, 3), (2, 2)) if pool else x
    x = x.reshape(x.shape[0], -1)
    for i in range(2):
      x = nn.relu(nn.Dense(4096, name=f"fc_{i}")(x))
      x = nn.Dropout(0.5, deterministic=not train)(x)
    return _vector(x, nn.Dense(self.num_classes, name="head")(x))


def local_response(
  x: Float[Array, "b h w c"], size: int = 5, alpha: float = 1e-4
) -> Float[Array, "b h w c"]:
  """Divides by (1 + alpha / n sum x^2)^(3/4) over n neighbouring channels.

  Args:
    x: activations.
    size: n.
    alpha: the strength.

  Returns:
    The activations.
  """
  squares = jax.lax.reduce_window(
    x * x, 0.0, jax.lax.add, (1, 1, 1, size), (1, 1, 1, 1), "SAME"
  )
  return x / (1 + alpha / size * squares) ** 0.75


class VGG16(nn.Module):
  """VGG-16 with its three dense layers; 138,357,544 parameters at 224x224.

  Attributes:
    num_classes: how many logits.
  """

  num_classes: int = 1000

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w 3"], *, train: bool, where: Any = None
  ) -> Features:
    """Applies the network."""
    blocks = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
    for i, (width, depth) in enumerate(blocks):
      for j in range(depth):
        x = nn.relu(convolution(width, 3, padding=1, name=f"conv_{i}_{j}")(x))
      x = nn.max_pool(x, (2, 2), (2, 2))
    x = x.reshape(x.shape[0], -1)
    for i in range(2):
      x = nn.relu(nn.Dense(4096, name=f"fc_{i}")(x))
      x = nn.Dropout(0.5, deterministic=not train)(x)
    return _vector(x, nn.Dense(self.num_classes, name="head")(x))


class Fire(nn.Module):
  """SqueezeNet's module: 1x1 to few channels, then 1x1 and 3x3 side by side.

  Attributes:
    squeeze: channels in between.
    one: of the 1x1 convolution.
    three: of the 3x3 convolution.
  """

  squeeze: int
  one: int
  three: int

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
    """Applies the module; one + three channels come out."""
    x = nn.relu(convolution(self.squeeze, 1, name="squeeze")(x))
    one = convolution(self.one, 1, name="one")(x)
    three = convolution(self.three, 3, padding=1, name="three")(x)
    return nn.relu(jnp.concatenate([one, three], -1))


class SqueezeNet(nn.Module):
  """SqueezeNet v1.0: convolutions alone, averaged over space; 1.25 M.

  Attributes:
    num_classes: how many logits.
  """

  num_classes: int = 1000

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w 3"], *, train: bool, where: Any = None
  ) -> Features:
    """Applies the network."""
    x = nn.relu(convolution(96, 7, 2, name="conv_0")(x))
    sizes = (16, 16, 32, 32, 48, 48, 64, 64)
    for i, s in enumerate(sizes, 2):
      if i in (2, 5, 9):
        x = nn.max_pool(x, (3, 3), (2, 2))
      x = Fire(s, 4 * s, 4 * s, name=f"fire_{i}")(x)
    x = nn.Dropout(0.5, deterministic=not train)(x)
    x = nn.relu(convolution(self.num_classes, 1, name="head")(x))
    logits = x.mean((1, 2), dtype=jnp.float32)
    return Features(x, logits, logits)


_BENCHMARK = functools.partial(residual.CifarResNet, projected=True)
_OWN = {
  "lenet_300_100": MLP,
  "lenet5": LeNet5,
  "alexnet": AlexNet,
  "vgg16_224": VGG16,
  "squeezenet": SqueezeNet,
  "xnor_cnn": convolutional.XnorCNN,
  "cnn": convolutional.CNN,
  "cnn_norms": functools.partial(convolutional.CNN, norms=True),
  **{
    f"resnet{n}": functools.partial(residual.CifarResNet, depth=n)
    for n in (20, 56, 110)
  },
  # The distillation benchmark's.
  **{
    f"resnet{n}_projected": functools.partial(_BENCHMARK, depth=n)
    for n in (20, 32, 56, 110)
  },
  **{
    f"resnet{n}x4": functools.partial(
      _BENCHMARK, depth=n, widths=(32, 64, 128, 256)
    )
    for n in (8, 32)
  },
  "mobilenet_v2_half": mobile.MobileNetV2,
}
NAMES = (*_OWN, *backbones.NAMES)


def create(name: str, num_classes: int, **fields: Any) -> nn.Module:
  """Makes a network.

  Args:
    name: one of NAMES.
    num_classes: how many logits.
    **fields: further fields of the module.

  Returns:
    The module.
  """
  if name in _OWN:
    return _OWN[name](num_classes=num_classes, **fields)
  return backbones.create(name, num_classes, **fields)
