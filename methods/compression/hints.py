"""Hints: a network's inner features as what another one's shall become.

Source: Romero et al. 2015 (FitNets), arXiv 1412.6550, section 2.2
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from kd_jax.errors import UsageError
from kd_jax.methods.compression.model import Model

FIRST, LAST = 4.0, 1.0


class Hinted(NamedTuple):
  """What a pass of the first stage gives.

  Attributes:
    regressed: r(v), in the hint's shape.
    hint: u.
  """

  regressed: Float[Array, "b *m"]
  hint: Float[Array, "b *m"]


def middle(model: Model) -> str:
  """The kernel whose input is the hint: the middle one.

  Args:
    model: a network of at least two layers.

  Returns:
    Its path.
  """
  order = model.order(model.shapes())
  return order[len(order) // 2]


def below(model: Model) -> tuple[str, ...]:
  """The kernels that the guided features come from."""
  order = model.order(model.shapes())
  return order[: order.index(middle(model))]


def regressor_shape(
  guided: tuple[int, ...], hint: tuple[int, ...]
) -> tuple[int, ...]:
  """The shape of r's kernel.

  Args:
    guided: of one image's guided features, (h, w, c) or (c,).
    hint: of its hint.

  Returns:
    (kh, kw, c, d), or (c, d) for vectors.

  Raises:
    UsageError: where no convolution leads from one to the other.
  """
  if len(guided) == len(hint) == 1:
    return (*guided, *hint)
  if len(guided) != len(hint) or any(
    g < h for g, h in zip(guided[:2], hint[:2], strict=True)
  ):
    raise UsageError(
      f"kd_fitnet: guided features {guided} are smaller than the hint {hint}, "
      "or one of them is no map; take another pair of networks"
    )
  extents = [g - h + 1 for g, h in zip(guided[:2], hint[:2], strict=True)]
  return (*extents, guided[-1], hint[-1])


def regress(
  kernel: Float[Array, "*k"], v: Float[Array, "b *n"]
) -> Float[Array, "b *m"]:
  """r(v)."""
  if kernel.ndim == 2:
    return v @ kernel
  return jax.lax.conv_general_dilated(
    v, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def hint_terms(outputs: Hinted, batch: Any, *, axis_name=None):
  """1/2 sum (u - r(v))^2 of each image."""
  del batch, axis_name
  gap = jnp.square(outputs.hint - outputs.regressed)
  return {"hint": 0.5 * gap.reshape(len(gap), -1).sum(-1)}


def falling(steps: int):
  """Lambda by the step: on a line from 4 to 1."""
  return optax.linear_schedule(FIRST, LAST, max(1, steps - 1))
