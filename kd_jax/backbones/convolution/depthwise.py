"""Convolutions of single channels, as shifted multiply-adds."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def forward(
  x: Float[Array, "b h w c"],
  kernel: Float[Array, "kh kw 1 f"],
  strides: tuple[int, int],
  padding: tuple[tuple[int, int], tuple[int, int]],
  dilation: tuple[int, int],
) -> Float[Array, "b i j f"]:
  """Convolves every channel with kernels of its own.

  Args:
    x: inputs.
    kernel: weights; f is a multiple of c, features of a channel side by side.
    strides: one step for either space axis.
    padding: zeros before and behind either space axis.
    dilation: the distance between a kernel's taps along either axis.

  Returns:
    The outputs.
  """
  kh, kw, _, f = kernel.shape
  x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  if f != x.shape[-1]:
    x = jnp.repeat(x, f // x.shape[-1], axis=-1)
  h, w = (
    (n - d * (k - 1) - 1) // s + 1
    for n, d, k, s in zip(
      x.shape[1:3], dilation, (kh, kw), strides, strict=True
    )
  )
  total = jnp.zeros((len(x), h, w, f), x.dtype)
  for i in range(kh):
    for j in range(kw):
      rows = slice(i * dilation[0], None, strides[0])
      columns = slice(j * dilation[1], None, strides[1])
      total += x[:, rows, columns][:, :h, :w] * kernel[i, j].reshape(1, 1, 1, f)
  return total
