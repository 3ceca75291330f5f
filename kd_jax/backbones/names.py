"""The networks by name, for configurations."""

import functools
from typing import Any

import flax.linen as nn

from kd_jax.backbones import cnn, resnet, vgg, wide

# The depths and widths that papers pair with each other.
_WIDE = ((16, 1), (16, 2), (28, 2), (28, 10), (40, 1), (40, 2))

NAMES = {
  "small_cnn": cnn.SmallCNN,
  "resnet_tiny": resnet.resnet_tiny,
  "resnet18": resnet.resnet18,
  "resnet18_half": resnet.resnet18_half,
  "resnet34": resnet.resnet34,
  **{f"vgg{n}": getattr(vgg, f"vgg{n}") for n in (8, 11, 13, 16, 19)},
  **{
    f"wrn_{d}_{k}": functools.partial(wide.WideResNet, depth=d, widen=k)
    for d, k in _WIDE
  },
}


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
