"""The networks by name, for configurations."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kd_jax.backbones import cnn, resnet, vgg, wide

# The depths and widths that papers pair with each other.
_WIDE = ((16, 1), (16, 2), (28, 2), (28, 10), (40, 1), (40, 2))

NAMES = {
  "small_cnn": cnn.SmallCNN,
  "resnet_tiny": resnet.resnet_tiny,
  "resnet18": resnet.resnet18,
  "resnet18_half": resnet.resnet18_half,
  "resnet18_linear_stem": functools.partial(resnet.resnet18, linear_stem=True),
  # With the stem for images of 224x224.
  "resnet18_large": functools.partial(resnet.resnet18, large=True),
  "resnet34": resnet.resnet34,
  "resnet50": resnet.resnet50,
  **{f"vgg{n}": getattr(vgg, f"vgg{n}") for n in (8, 11, 13, 16, 19)},
  **{
    f"wrn_{d}_{k}": functools.partial(wide.WideResNet, depth=d, widen=k)
    for d, k in _WIDE
  },
}

_OURS = frozenset(NAMES)


def create(name: str, num_classes: int, **fields: Any) -> nn.Module:
  """Makes a network.

  Args:
    name: one of NAMES.
    num_classes: how many logits.
    **fields: further fields of the module (dtype, axis_name, width ...).

  Returns:
    The module; it holds no parameters.

  Raises:
    ValueError: for an unknown name; lists those that there are.
  """
  if name not in NAMES:
    raise ValueError(f"no network {name!r}; there are {', '.join(NAMES)}")
  return NAMES[name](num_classes=num_classes, **fields)


def register(name: str, make: Callable[..., nn.Module]) -> None:
  """Makes a network of one's own known by a name, as ours are.

  Args:
    name: what configurations will call it; it may replace an earlier one of
      one's own, but none of ours.
    make: makes the module from `num_classes`, `axis_name` and `dtype`. Its
      `__call__(x, *, train, where=None)` returns `Features`, which a last layer
      `Head(num_classes, name="head")` gives.

  Raises:
    ValueError: if the name is one of ours.
  """
  if name in _OURS:
    raise ValueError(f"the network {name!r} is one of ours; take another name")
  NAMES[name] = make


def channels(name: str) -> int:
  """The channels of a network's last feature map.

  Args:
    name: one of NAMES.

  Returns:
    How many its classifier reads.
  """
  x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
  found = jax.eval_shape(
    lambda x: create(name, 1).init_with_output(
      jax.random.key(0), x, train=False
    )[0],
    x,
  )
  return found.pooled.shape[-1]
