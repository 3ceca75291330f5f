"""Heads: layers on top of the representation, written as a line of text.

"2048 bias bn relu, 128" is a layer of 2048 with bias, batch norm and ReLU, and
one of 128 without any of them. "r" is the representation's length. Words:

  bias        a bias
  bn          batch norm; "bn-" without scale and bias, "bn~" without bias
  relu, gelu  the activation
  small       initial values of deviation .02, bias 0 (DINO)
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from kd_jax.backbones import BatchNorm
from kd_jax.backbones.conv import bias_uniform, kernel_uniform
from kd_jax.errors import UsageError

_WORDS = {"bias", "bn", "bn-", "bn~", "relu", "gelu", "small"}
_WIDEST = 2**20


class Layer(NamedTuple):
  """A layer.

  Attributes:
    width: outputs; 0 is the representation's length.
    words: what it has.
  """

  width: int
  words: frozenset[str]


def parse(text: str) -> tuple[Layer, ...]:
  """Reads a head.

  Args:
    text: as in the module's docstring; "" has no layer.

  Returns:
    Its layers.

  Raises:
    UsageError: naming the layer that makes no sense.
  """
  layers = []
  for part in filter(None, (p.strip() for p in text.split(","))):
    first, *words = part.split()
    width = 0 if first == "r" else int(first) if first.isdigit() else -1
    wrong = sorted(set(words) - _WORDS)
    if not 0 <= width <= _WIDEST or (first != "r" and not width) or wrong:
      raise UsageError(
        f"a head has the layer {part!r}; it is a width (or r) and words of "
        f"{', '.join(sorted(_WORDS))}"
      )
    layers.append(Layer(width, frozenset(words)))
  return tuple(layers)


def width(text: str, r: int) -> int:
  """The length of what a head gives.

  Args:
    text: the head.
    r: the representation's length, which "" gives.

  Returns:
    How many numbers.
  """
  layers = parse(text)
  return (layers[-1].width or r) if layers else r


class Head(nn.Module):
  """The layers of a line.

  Attributes:
    text: the line.
    r: what "r" stands for.
    dtype: of the activations; what comes out is float32.
    axis_name: the axis that batch statistics are gathered over, or None.
  """

  text: str
  r: int
  dtype: Any = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "b r"],
    *,
    train: bool,
    where: Bool[Array, "b"] | None = None,
  ) -> Float[Array, "b d"]:
    """Applies the layers.

    Args:
      x: representations, or projections.
      train: normalise by the batch's statistics.
      where: the rows that enter them.

    Returns:
      What the last layer gives, in float32.
    """
    norm = functools.partial(
      BatchNorm,
      use_running_average=not train,
      axis_name=self.axis_name,
      dtype=self.dtype,
    )
    for i, (width, words) in enumerate(parse(self.text)):
      x = self._dense(i, width or self.r, words, x.shape[-1])(x)
      for word in sorted(words & {"bn", "bn-", "bn~"}):
        x = norm(
          use_scale=word != "bn-", use_bias=word == "bn", name=f"norm_{i}"
        )(x, where)
      x = nn.relu(x) if "relu" in words else x
      x = nn.gelu(x, approximate=False) if "gelu" in words else x
    return x.astype(jnp.float32)

  def _dense(self, i, width, words, fan_in):
    small = "small" in words
    # The authors cut at 2, which is a hundred deviations.
    kernel = nn.initializers.normal(0.02) if small else kernel_uniform
    bias = nn.initializers.zeros if small else bias_uniform(fan_in)
    return nn.Dense(
      width,
      use_bias="bias" in words,
      dtype=self.dtype,
      kernel_init=kernel,
      bias_init=bias,
      name=f"dense_{i}",
    )
