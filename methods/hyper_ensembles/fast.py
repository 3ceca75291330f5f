"""What the layers share: fast weights, the member axis, initial values.

Members stand on a leading axis: activations are (k, b, ..., c). An array whose
leading axis is 1 is the same for every member (the images, as they come), and
is made wide by the first fast weight that it meets: nothing is tiled.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from kd_jax import draws
from kd_jax.backbones.conv import Init

# Of a normal distribution cut off at two deviations.
_CUT = 0.87962566
# So many times examples are added half to half, and members one by one.
_HALVES = 6
_MEMBERS = 8


def gaussian(
  key: Key[Array, ""], shape: tuple[int, ...], cut: float = 5.0
) -> Float[Array, "..."]:
  """Normal numbers, cut off, by the suite's hash.

  Threefry takes most of a second to compile for each array that it fills.

  Args:
    key: of the array; keys are threefry's own.
    shape: of the array.
    cut: the largest deviation.

  Returns:
    The numbers.
  """
  place = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
  end = math.erf(cut / math.sqrt(2))
  u = draws.uniforms(jax.random.key_data(key), place) * (2 * end) - end
  return math.sqrt(2) * jax.lax.erf_inv(u)


def he_normal(key, shape, dtype=jnp.float32):
  """Variance 2 / fan_in, cut off at two deviations.

  Args:
    key: of the kernel.
    shape: of the kernel, outputs last.
    dtype: of the kernel.

  Returns:
    The kernel.
  """
  scale = math.sqrt(2 / fan_in(shape)) / _CUT
  return scale * gaussian(key, shape, 2.0).astype(dtype)


def fast_init(scale: float) -> Init:
  """The initial values of fast weights.

  Source: Wen et al. 2020 (BatchEnsemble); edward2's "random_sign_init"

  Args:
    scale: above 0 the values are 1 with this probability, else -1; otherwise
      they are N(1, |scale|), a standard deviation.

  Returns:
    A function of (key, shape, dtype).
  """

  def init(key, shape, dtype=jnp.float32):
    drawn = gaussian(key, shape).astype(dtype)
    if scale > 0:
      below = jax.scipy.special.ndtri(jnp.float32(scale))
      return jnp.where(drawn < below, 1.0, -1.0).astype(dtype)
    return 1 - scale * drawn

  return init


def by_member(
  x: Float[Array, "..."], weight: Float[Array, "..."]
) -> Float[Array, "..."]:
  """Multiplies the channels of each member.

  Args:
    x: (k or 1, b, ..., c).
    weight: (k or 1, c), or of each example (k or 1, b, c).

  Returns:
    (k, b, ..., c).
  """
  return _scaled(x, wide(weight, x.ndim))


@jax.custom_vjp
def _scaled(x, weight):
  return x * weight


def _scaled_backward(kept, dy):
  x, weight = kept
  return _added(dy * weight, x.shape), _added(dy * x, weight.shape)


_scaled.defvjp(lambda x, weight: (x * weight, (x, weight)), _scaled_backward)


def _added(
  x: Float[Array, "k b ..."], shape: tuple[int, ...]
) -> Float[Array, "..."]:
  """The gradient of a broadcast: the sum over the axes that are 1 in `shape`.

  Members are added one by one and examples half to half first: these fuse with
  what made them, where the CPU's sum over an axis that is not the last takes 20
  times as long. Sums are of float32 at least.
  """
  dtype = x.dtype
  x = x.astype(jnp.promote_types(dtype, jnp.float32))
  if shape[0] < len(x) <= _MEMBERS:
    x = sum(x[k : k + 1] for k in range(len(x)))
  if shape[1] == 1:
    for _ in range(_HALVES):
      if x.shape[1] % 2 == 0:
        half = x.shape[1] // 2
        x = x[:, :half] + x[:, half:]
  axes = tuple(i for i, n in enumerate(shape) if n < x.shape[i])
  x = x.sum(axes, keepdims=True) if axes else x
  return x.astype(dtype)


def wide(weight: Float[Array, "..."], ndim: int) -> Float[Array, "..."]:
  """A weight of members, or of their examples, with as many axes as asked.

  Args:
    weight: (k, c) or (k, b, c).
    ndim: of the activations.

  Returns:
    (k, 1 or b, 1, ..., c).
  """
  *lead, c = weight.shape
  return weight.reshape(*lead, *(1,) * (ndim - 1 - len(lead)), c)


def check_members(x: Float[Array, "..."], members: int, ndim: int) -> None:
  """Checks that activations have a member axis.

  Args:
    x: activations.
    members: how many there are.
    ndim: how many axes there should be.

  Raises:
    ValueError: with the shape.
  """
  if x.ndim != ndim or x.shape[0] not in (1, members):
    lead = f"1 or {members}" if members > 1 else "1"
    raise ValueError(
      f"x is {x.shape}; {ndim} axes are needed, the first of them {lead} long "
      "(members, examples, ..., channels)"
    )


def fan_in(shape: tuple[int, ...]) -> int:
  """How many inputs one output of a kernel sees."""
  return math.prod(shape[:-1])
