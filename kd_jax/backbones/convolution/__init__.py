"""The suite's convolution: the compiler's on accelerators, ours on the CPU.

XLA's CPU backend takes 3 to 5 times as long as need be for a filter gradient,
and 20 to 40 times more inside `scan`, `cond` or under `vmap`. Here the three
products of a convolution (outputs, gradient of the inputs, gradient of the
kernel) are stated for the CPU as matrix products, which are as fast inside as
outside, and the compiler's own is kept where it wins (`plan`). On GPUs and TPUs
the compiler's convolution and its own gradients are used unchanged.

Gradients are defined by `jax.custom_vjp`: reverse mode of any order; for
forward mode ask for `convolve(..., native=True)`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.backbones.convolution.plan import Geometry, choose

# Up to so many members under vmap are written out one after the other.
WRITTEN_OUT = 8


def convolve(
  x: Float[Array, "b *space c"],
  kernel: Float[Array, "*size g f"],
  strides: int | Sequence[int] = 1,
  padding: str | int | Sequence[tuple[int, int]] = "SAME",
  dilation: int | Sequence[int] = 1,
  groups: int = 1,
  native: bool = False,
) -> Float[Array, "b *out f"]:
  """Convolves channels-last arrays (a correlation, as in every network).

  Args:
    x: inputs.
    kernel: weights, of the inputs' dtype; g is c over `groups`.
    strides: one step for all space axes, or one for each.
    padding: "SAME" or "VALID"; the zeros at either end of every space axis; or
      a pair (before, behind) for each.
    dilation: the distance between a kernel's taps, for all axes or each.
    groups: channels and features are divided into so many groups that do not
      see each other.
    native: whether to take the compiler's convolution everywhere.

  Returns:
    The outputs.

  Raises:
    ValueError: if the axes or channels of the two do not fit together.
  """
  n = x.ndim - 2
  if n < 1 or kernel.ndim != n + 2:
    raise ValueError(f"x is {x.shape}, for a kernel of {kernel.shape}")
  if x.shape[-1] != groups * kernel.shape[-2]:
    raise ValueError(
      f"x has {x.shape[-1]} channels; a kernel of {kernel.shape} in {groups} "
      f"groups takes {groups * kernel.shape[-2]}"
    )
  steps, apart = _each(strides, n), _each(dilation, n)
  zeros = _padding(padding, x.shape[1:-1], kernel.shape[:-2], steps, apart)
  if n == 1 and not native:  # One space axis is two, the first of them single.
    how = Geometry((1, *steps), ((0, 0), *zeros), (1, *apart), groups)
    return _convolve(x[:, None], kernel[None], how)[:, 0]
  how = Geometry(steps, zeros, apart, groups)
  if n > 2 or native:
    return how.native(x, kernel)
  return _convolve(x, kernel, how)


def _each(value: int | Sequence[int], n: int) -> tuple[int, ...]:
  return (value,) * n if isinstance(value, int) else tuple(value)


def _padding(padding, size, extents, strides, dilation):
  if isinstance(padding, int):
    return ((padding, padding),) * len(size)
  reach = [d * (k - 1) + 1 for k, d in zip(extents, dilation, strict=True)]
  if isinstance(padding, str):
    padding = jax.lax.padtype_to_pads(size, reach, strides, padding)
  return tuple((int(low), int(high)) for low, high in padding)


def _convolve(x, kernel, how: Geometry):
  """The outputs of shapes that the CPU has statements for."""
  return _products(how, x.shape, kernel.shape)(x, kernel)


@functools.cache
def _products(how, shape, window):
  """The convolution of a shape, with its gradients.

  Args:
    how: the geometry.
    shape: the inputs'.
    window: the kernel's shape.

  Returns:
    A function of (x, kernel).
  """
  ours = choose(how, shape, window)
  y = jax.custom_vjp(_operator(ours.forward, how.native, shared=True))
  both = jax.custom_vjp(_operator(ours.gradients, how.native_gradients))
  y.defvjp(lambda x, k: (y(x, k), (x, k)), lambda kept, dy: both(*kept, dy))

  def gradients_of_gradients(kept, cotangents):
    # <a, dx> + <b, dkernel> is linear in x and in kernel as it is in b and a.
    (x, k, dy), (a, b) = kept, cotangents
    return *both(a, b, dy), y(a, k) + y(x, b)

  both.defvjp(
    lambda x, k, dy: (both(x, k, dy), (x, k, dy)), gradients_of_gradients
  )
  return y


def _operator(
  ours: Callable[..., Any],
  native: Callable[..., Any],
  shared: bool = False,
  few: int | None = None,
) -> Callable[..., Any]:
  """A function of arrays, by platform, also under vmap.

  Args:
    ours: for the CPU.
    native: the same by the compiler.
    shared: whether it is of (images, kernel), image by image.
    few: up to so many members are written out; WRITTEN_OUT if None.

  Returns:
    The function.
  """

  @jax.custom_batching.custom_vmap
  def run(*arrays):
    return jax.lax.platform_dependent(*arrays, cpu=_wide(ours), default=native)

  @run.def_vmap
  def over_members(size, batched, *arrays):
    if shared and not batched[1]:  # More images for the same kernel.
      x, kernel = arrays
      y = run(x.reshape(-1, *x.shape[2:]), kernel)
      return y.reshape(size, -1, *y.shape[1:]), True

    def one_by_one(*arrays):
      def member(i, run=run):
        pairs = zip(arrays, batched, strict=True)
        return run(*(v[i] if is_ else v for v, is_ in pairs))

      most = WRITTEN_OUT if few is None else few
      if size > most:
        return jax.lax.map(member, jnp.arange(size))
      # Of all levels together no more are written out: eight by eight loop.
      inner = _operator(ours, native, shared, most // max(size, 1))
      found = [member(i, inner) for i in range(size)]
      return jax.tree.map(lambda *v: jnp.stack(v), *found)

    all_at_once = jax.vmap(native, tuple(0 if is_ else None for is_ in batched))
    found = jax.lax.platform_dependent(
      *arrays, cpu=one_by_one if size else all_at_once, default=all_at_once
    )
    return found, jax.tree.map(lambda _: True, found)

  return run


def _wide(fn):
  """At least float32 inside, where half precision is emulated."""

  def run(*arrays):
    dtype = arrays[0].dtype
    wide = jnp.promote_types(dtype, jnp.float32)
    found = fn(*(a.astype(wide) for a in arrays))
    return jax.tree.map(lambda a: a.astype(dtype), found)

  return run
