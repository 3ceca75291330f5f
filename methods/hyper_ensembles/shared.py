"""The product of all members' inputs with the kernel that they share.

y_k = ((x_k * r_k) W) * s_k: on the way forward member k's kernel W * r_k s_k^T
is not built. On the way back it gives the inputs' gradient, member by member,
with nothing as large as the activations to be scaled; and with M_k, the
gradient in that kernel, no other one is a sum over activations:

  dW = sum_k M_k * r_k s_k^T
  dr_k = sum_f M_k * W s_k
  ds_k = sum_c M_k * W r_k

(the last two over a window's places, too). All of M costs what dW alone would.
A convolution's M is small beside its activations; a dense layer's is worth it
where members share inputs, for then no gradient of the inputs is needed on the
way to dr; its s stands outside, for ds is a small sum over rows. Where a
convolution's inputs have one channel, r is a factor of the outputs, which are
then convolved once for all members that share them. Reverse mode, of any order.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.backbones.convolution import convolve
from kd_jax.methods.hyper_ensembles.fast import by_member


def dense(
  x: Float[Array, "k b c"],
  kernel: Float[Array, "c f"],
  r: Float[Array, "m c"] | None = None,
  s: Float[Array, "m f"] | None = None,
) -> Float[Array, "o b f"]:
  """A product of members' rows with one kernel.

  Args:
    x: inputs; k is 1 where members share them.
    kernel: W.
    r: what scales each member's inputs; neither is scaled if None.
    s: what scales its outputs.

  Returns:
    The outputs of each member.
  """
  if r is None:
    return jnp.dot(x, kernel)
  if len(x) < len(r):
    return by_member(_scaled(x, kernel, r, None, None), s)
  return by_member(jnp.dot(by_member(x, r), kernel), s)


def convolution(
  x: Float[Array, "k b *space c"],
  kernel: Float[Array, "*size c f"],
  r: Float[Array, "m c"] | None = None,
  s: Float[Array, "m f"] | None = None,
  *,
  strides: int = 1,
  padding: str | int = "SAME",
) -> Float[Array, "o b *out f"]:
  """Convolves members' images with one kernel, as one batch.

  Args:
    x: images; k is 1 where members share them.
    kernel: W.
    r: what scales each member's inputs; neither is scaled if None.
    s: what scales its outputs.
    strides: one step for all space axes.
    padding: see `kd_jax.backbones.convolution.convolve`.

  Returns:
    The outputs of each member.
  """
  how = strides, padding
  if r is None:
    return _product(x, kernel, how)
  if x.shape[-1] == 1:  # All that a window sees is scaled alike: scale outputs.
    return by_member(_product(x, kernel, how), r * s)
  return _scaled(x, kernel, r, s, how)


def _product(x, kernel, how):
  """Of all members as one batch: a convolution, or a dense product (None)."""
  if how is None:
    return jnp.dot(x, kernel)
  y = convolve(x.reshape(-1, *x.shape[2:]), kernel, *how)
  return y.reshape(*x.shape[:2], *y.shape[1:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _scaled(x, kernel, r, s, how):
  y = _product(by_member(x, r), kernel, how)
  return y if s is None else by_member(y, s)


def _forward(x, kernel, r, s, how):
  return _scaled(x, kernel, r, s, how), (x, kernel, r, s)


def _backward(how, kept, dy):
  x, kernel, r, s = kept
  alike = len(x) < len(r)
  found = []
  for k in range(len(r)):
    own = x if alike else x[k : k + 1]
    both = r[k][:, None] if s is None else jnp.outer(r[k], s[k])
    scaled = kernel * both.reshape(*(1,) * (kernel.ndim - 2), *both.shape)
    _, back = jax.vjp(lambda *of: _product(*of, how), own, scaled)
    found.append(back(dy[k : k + 1]))
  dx, m = zip(*found, strict=True)
  dx = sum(dx) if alike else jnp.concatenate(dx)
  return dx, *_of_kernels(m, kernel, r, s)


_scaled.defvjp(_forward, _backward)


def _of_kernels(
  m: Sequence[Float[Array, "*size c f"]],
  kernel: Float[Array, "*size c f"],
  r: Float[Array, "k c"],
  s: Float[Array, "k f"] | None,
) -> tuple[Array, Array, Array | None]:
  """The gradients of W, r and s from those of the members' kernels.

  Member by member: the CPU is slow at sums over an axis that is not the last.
  """
  c, f = kernel.shape[-2:]
  wide = jnp.promote_types(kernel.dtype, jnp.float32)
  outside = s is None
  r, s = r.astype(wide), (jnp.ones((len(r), f)) if outside else s).astype(wide)
  w, *m = (v.astype(wide).reshape(-1, f) for v in (kernel, *m))
  window = len(w) // c
  ins = jnp.tile(r, (1, window))
  own = [each * w for each in m]
  in_kernel = sum(
    each * ins_k[:, None] * s_k[None]
    for each, ins_k, s_k in zip(m, ins, s, strict=True)
  )
  in_r = [jnp.dot(each, s_k) for each, s_k in zip(own, s, strict=True)]
  in_s = [jnp.dot(ins_k, each) for ins_k, each in zip(ins, own, strict=True)]
  return (
    in_kernel.reshape(kernel.shape).astype(kernel.dtype),
    jnp.stack(in_r).reshape(-1, window, c).sum(1).astype(kernel.dtype),
    None if outside else jnp.stack(in_s).astype(kernel.dtype),
  )
