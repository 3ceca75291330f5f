"""Hyperparameters: which there are, their ranges, and what a network is told.

lambda is a vector of positive numbers: L2 coefficients (of the whole data set:
divided by N in the loss), dropout rates, label smoothing. What is not tuned has
a fixed value.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from kd_jax.methods.hyper_ensembles.networks import Given

Lambda = Float[Array, "*k h"]


def spans(low: float, high: float) -> bool:
  """Whether a range has a length, and ends, on a logarithmic scale in float32.

  Args:
    low: the lower end.
    high: the upper end.

  Returns:
    Whether it can be drawn from.
  """
  tiny, huge = (
    float(getattr(np.finfo(np.float32), k)) for k in ("tiny", "max")
  )
  if not tiny <= low < high <= huge:
    return False
  return bool(np.log(np.float32(low)) < np.log(np.float32(high)))


class Space(NamedTuple):
  """A box of hyperparameters, searched uniformly in their logarithms.

  Attributes:
    names: "l2_I" of group I, "dropout_I" before layer I, "smoothing"; or any
      names, for a `train` of one's own.
    low: the lower ends.
    high: the upper ends.
  """

  names: tuple[str, ...]
  low: tuple[float, ...]
  high: tuple[float, ...]

  @property
  def log_low(self) -> Float[np.ndarray, "h"]:
    """Logarithms of the lower ends."""
    return np.log(np.asarray(self.low, np.float32))

  @property
  def log_high(self) -> Float[np.ndarray, "h"]:
    """Logarithms of the upper ends."""
    return np.log(np.asarray(self.high, np.float32))

  def check(self) -> None:
    """Checks the box.

    Raises:
      ValueError: without hyperparameters, or naming the first one whose range
        is empty, not positive or endless.
    """
    counts = [np.size(part) for part in self]
    if any(isinstance(part, str) or np.ndim(part) != 1 for part in self):
      raise ValueError(
        "names, low and high of a space are tuples of one length"
      )
    if min(counts) != max(counts) or not counts[0]:
      raise ValueError(
        f"the space has {counts[0]} names, {counts[1]} lower and {counts[2]} "
        "upper ends; there must be as many of each, one at least"
      )
    for name, low, high in zip(*self, strict=True):
      if not spans(low, high):
        raise ValueError(
          f"the range of {name} is [{low:g}, {high:g}]; it must begin above 0 "
          "and end above that, also as float32"
        )

  def draw(self, key: Key[Array, ""], n: int) -> Float[Array, "n h"]:
    """Draws vectors, log-uniform.

    Args:
      key: the key.
      n: how many.

    Returns:
      The vectors.
    """
    u = jax.random.uniform(key, (n, len(self.names)))
    span = (self.log_high - self.log_low)[None]
    return jnp.exp(self.log_low[None] + u * span)


class Fixed(NamedTuple):
  """What a network has, and the values of what is not tuned.

  Attributes:
    groups: of L2.
    rates: layers with dropout before them; 0 leaves it out.
    l2: of the whole data set.
    dropout: rate.
    smoothing: of the labels.
    symmetric: whether the networks see lambda in [-1, 1] or in [0, 1].
  """

  groups: int
  rates: int
  l2: float = 0.0
  dropout: float = 0.0
  smoothing: float = 0.0
  symmetric: bool = True


def transformed(
  space: Space, lam: Float[Array, "k b h"], symmetric: bool
) -> Float[Array, "k b h"]:
  """Lambda as the embeddings see it: its logarithm, brought to a fixed range.

  Args:
    space: the box.
    lam: the vectors.
    symmetric: [-1, 1] or [0, 1] (the published one).

  Returns:
    z.
  """
  low = jnp.asarray(space.log_low)[None, None]
  span = jnp.asarray(space.log_high)[None, None] - low
  z = (jnp.log(lam) - low) / span
  return 2 * z - 1 if symmetric else z


def given(space: Space, fixed: Fixed, lam: Float[Array, "k b h"]) -> Given:
  """What a network is told in training, but for the key and the rows.

  Args:
    space: the box; `names` say what each number is.
    fixed: what is not tuned.
    lam: a vector of each member and example; either axis may be 1.

  Returns:
    The transformed vector, L2 of each group, rates before each layer.
  """
  # Without dropout there is nothing to draw.
  drops = fixed.dropout > 0 or any(n.startswith("dropout") for n in space.names)
  return Given(
    z=transformed(space, lam, fixed.symmetric),
    nu=_columns(space, lam, "l2", fixed.groups, fixed.l2),
    rates=_columns(space, lam, "dropout", fixed.rates, fixed.dropout)
    if drops and fixed.rates
    else None,
  )


def smoothing(
  space: Space, fixed: Fixed, lam: Float[Array, "k b h"]
) -> Float[Array, "k b"] | float:
  """Label smoothing of each member and example.

  Args:
    space: the box.
    fixed: its value where it is not tuned.
    lam: the vectors.

  Returns:
    The values.
  """
  if "smoothing" in space.names:
    return lam[..., space.names.index("smoothing")]
  return fixed.smoothing


def _columns(space, lam, kind, count, value):
  """One number for each group or layer; a single one serves them all."""
  found = []
  for i in range(count):
    name = f"{kind}_{i}" if f"{kind}_{i}" in space.names else kind
    if name in space.names:
      found.append(lam[..., space.names.index(name)])
    else:
      found.append(jnp.full(lam.shape[:-1], value, jnp.float32))
  return jnp.stack(found, -1)
