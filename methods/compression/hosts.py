"""The networks that the papers compress.

LeNet-300-100 and LeNet-5 (Caffe's), AlexNet (with its groups), VGG-16 with its
dense layers, SqueezeNet v1.0, and the residual networks of CIFAR. Each returns
`Features`; `feature_map` and `pooled` are what the classifier sees. The last
layer is called "head".
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax import backbones
from kd_jax.backbones import Conv, Features

# Glorot as flax's layers have it: the schemes' papers say nothing.
_INIT = nn.initializers.lecun_normal()
_ZERO = nn.initializers.zeros


def _conv(width, size, stride=1, padding: Any = "VALID", groups=1, **how):
  return Conv(
    width,
    (size, size),
    stride,
    padding,
    groups=groups,
    kernel_init=_INIT,
    bias_init=_ZERO,
    **how,
  )


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
      x = _conv(width, 5, name=f"conv_{i}")(x)
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
      x = nn.relu(_conv(width, size, stride, pad, groups, name=f"conv_{i}")(x))
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
        x = nn.relu(_conv(width, 3, padding=1, name=f"conv_{i}_{j}")(x))
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
    x = nn.relu(_conv(self.squeeze, 1, name="squeeze")(x))
    one = _conv(self.one, 1, name="one")(x)
    three = _conv(self.three, 3, padding=1, name="three")(x)
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
    x = nn.relu(_conv(96, 7, 2, name="conv_0")(x))
    sizes = (16, 16, 32, 32, 48, 48, 64, 64)
    for i, s in enumerate(sizes, 2):
      if i in (2, 5, 9):
        x = nn.max_pool(x, (3, 3), (2, 2))
      x = Fire(s, 4 * s, 4 * s, name=f"fire_{i}")(x)
    x = nn.Dropout(0.5, deterministic=not train)(x)
    x = nn.relu(_conv(self.num_classes, 1, name="head")(x))
    logits = x.mean((1, 2), dtype=jnp.float32)
    return Features(x, logits, logits)


class CifarResNet(nn.Module):
  """ResNet-20, 56, 110: 6 n + 2 layers, shortcuts without parameters.

  Where a stage begins the shortcut takes every second pixel and zeros for new
  channels (option A). 269,722, 853,018 and 1,727,962 parameters.

  Attributes:
    num_classes: how many logits.
    depth: 6 n + 2.
    axis_name: the axis that batch statistics are gathered over, or None.
  """

  num_classes: int = 10
  depth: int = 20
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w 3"], *, train: bool, where: Any = None
  ) -> Features:
    """Applies the network."""
    norm = functools.partial(
      backbones.BatchNorm, not train, axis_name=self.axis_name
    )

    def conv(width, stride, name):
      return _conv(width, 3, stride, 1, use_bias=False, name=name)

    x = nn.relu(norm(name="norm")(conv(16, 1, "conv")(x), where))
    for i, width in enumerate((16, 32, 64)):
      for j in range((self.depth - 2) // 6):
        stride, name = 2 if i and not j else 1, f"block_{i}_{j}"
        y = conv(width, stride, f"{name}_conv_0")(x)
        y = nn.relu(norm(name=f"{name}_norm_0")(y, where))
        y = norm(name=f"{name}_norm_1")(
          conv(width, 1, f"{name}_conv_1")(y), where
        )
        if stride == 2:
          side = width // 4
          # A slice by name: JAX 0.7 indexes by a gather, which ties nothing.
          x = jax.lax.slice(x, (0,) * 4, x.shape, (1, 2, 2, 1))
          x = jnp.pad(x, ((0, 0),) * 3 + ((side, side),))
        x = nn.relu(x + y)
    return backbones.Head(self.num_classes, name="head")(x)


class XnorCNN(nn.Module):
  """Blocks in XNOR-Net's order: norm, signs, convolution, pooling.

  The step `xnor` makes the signs; after a norm inputs have both. The first
  convolution and the classifier stay float. As it stands it is the float
  network that `xnor` is compared with.

  Attributes:
    num_classes: how many logits.
    widths: channels of each convolution.
    axis_name: the axis that batch statistics are gathered over, or None.
  """

  num_classes: int = 10
  widths: Sequence[int] = (32, 64, 64)
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w c"], *, train: bool, where: Any = None
  ) -> Features:
    """Applies the network."""
    norm = functools.partial(
      backbones.BatchNorm, not train, axis_name=self.axis_name
    )
    x = _conv(self.widths[0], 3, padding=1, use_bias=False, name="conv_0")(x)
    x = nn.relu(norm(name="norm_0")(x, where))
    for i, width in enumerate(self.widths[1:], 1):
      x = norm(name=f"norm_{i}")(x, where)
      x = _conv(width, 3, padding=1, use_bias=False, name=f"conv_{i}")(x)
      x = nn.max_pool(x, (2, 2), (2, 2))
    x = nn.relu(norm(name="norm_last")(x, where))
    return backbones.Head(self.num_classes, name="head")(x)


_OWN = {
  "lenet_300_100": MLP,
  "lenet5": LeNet5,
  "alexnet": AlexNet,
  "vgg16_224": VGG16,
  "squeezenet": SqueezeNet,
  "xnor_cnn": XnorCNN,
  **{
    f"resnet{n}": functools.partial(CifarResNet, depth=n) for n in (20, 56, 110)
  },
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
