"""Styles of images, as their channels' statistics, mixed over a batch."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from kd_jax import accel
from kd_jax.training.state import row_keys


class Statistics(NamedTuple):
  """An image's style: what its channels' pixels are like, wherever they are.

  Attributes:
    mean: over the pixels, float32.
    std: the root of (unbiased variance + 1e-6), float32.
  """

  mean: Float[Array, "b c"]
  std: Float[Array, "b c"]


def statistics(
  images: Float[Array, "b h w c"], *, stop_gradient: bool = True
) -> Statistics:
  """Mean and standard deviation of each image's channels.

  Args:
    images: images; a float16 or bfloat16 one is computed in float32.
    stop_gradient: treat the statistics as constants.

  Returns:
    The statistics.

  Raises:
    ValueError: if an image has a single pixel (no unbiased variance).
  """
  if images.shape[1] * images.shape[2] < 2:
    raise ValueError(f"images are {images.shape}: one pixel has no variance")
  images = images.astype(jnp.float32)
  variance = images.var((1, 2), ddof=1)
  own = Statistics(images.mean((1, 2)), jnp.sqrt(variance + 1e-6))
  return jax.lax.stop_gradient(own) if stop_gradient else own


def restyle(
  images: Float[Array, "b h w c"], own: Statistics, new: Statistics
) -> Float[Array, "b h w c"]:
  """Replaces the images' statistics.

  Args:
    images: images.
    own: the statistics they have.
    new: the statistics they get.

  Returns:
    `(images - own.mean) / own.std * new.std + new.mean`, in the images' dtype.
  """
  wide = [x[:, None, None] for x in (*own, *new)]
  mean, std, new_mean, new_std = wide
  whitened = (images.astype(jnp.float32) - mean) / std
  return (whitened * new_std + new_mean).astype(images.dtype)


def mix_statistics(
  key: Key[Array, ""],
  images: Float[Array, "b h w c"],
  row: Int[Array, "b"],
  *,
  concentration: float = 0.1,
  where: Bool[Array, "b"] | None = None,
  axis_name: str | None = None,
  stop_gradient: bool = True,
) -> Float[Array, "b h w c"]:
  """MixDistribution: gives each image a style between its own and a partner's.

  With lam_i ~ Beta(a, a) for image i and its partner j, a random permutation:
  x'_i = (x_i - mu_i) / sig_i (lam_i sig_i + (1 - lam_i) sig_j)
  + lam_i mu_i + (1 - lam_i) mu_j. At a = 0.1 about half of the images keep
  nearly their own statistics and half take over the partner's.

  Source: Tang et al., Distribution Shift Matters for Knowledge Distillation
  with Webly Collected Images, ICCV 2023 (MixDistribution); the formula is that
  of Zhou et al., Domain Generalization with MixStyle, ICLR 2021, on pixels.

  Args:
    key: the step's key.
    images: this device's rows of the (normalised) batch.
    row: their places in the global batch.
    concentration: a; a positive number.
    where: False on padded rows. They are partners of each other only, never of
      a row that counts.
    axis_name: the axis over which the batch is spread, or None.
    stop_gradient: treat all statistics as constants.

  Returns:
    The mixed images, in the images' dtype.

  Raises:
    ValueError: if `row` or `where` has not one entry per image.
  """
  keys = row_keys(jax.random.fold_in(key, 0), row)
  lam = jax.vmap(
    lambda k: jax.random.beta(k, concentration, concentration, (), jnp.float32)
  )(keys)[:, None]
  own = statistics(images, stop_gradient=stop_gradient)
  other = _partners(key, own, row, where, axis_name)
  new = jax.tree.map(lambda a, b: lam * a + (1 - lam) * b, own, other)
  return restyle(images, own, new)


def shift_style(
  key: Key[Array, ""],
  images: Float[Array, "b h w c"],
  row: Int[Array, "b"],
  *,
  where: Bool[Array, "b"] | None = None,
  axis_name: str | None = None,
) -> Float[Array, "b h w c"]:
  """Gives each image its partner's statistics whole (`mix_statistics`, lam 0).

  For evaluating under a shift of style that keeps the content.

  Args:
    key: decides on the partners.
    images: this device's rows of the (normalised) batch.
    row: their places in the global batch.
    where: False on padded rows, which are partners of each other only.
    axis_name: the axis over which the batch is spread, or None.

  Returns:
    The images in the styles of others, in their dtype.

  Raises:
    ValueError: if `row` or `where` has not one entry per image.
  """
  own = statistics(images)
  return restyle(images, own, _partners(key, own, row, where, axis_name))


def _partners(key, own, row, where, axis_name):
  """The statistics of each row's partner, wherever in the batch it is."""
  b = own.mean.shape[0]
  where = jnp.ones(b, bool) if where is None else where
  for name, value in (("row", row), ("where", where)):
    if value.shape != (b,):
      raise ValueError(f"{name} is {value.shape}, there are {b} images")
  keys = row_keys(jax.random.fold_in(key, 1), row)
  drawn = jax.vmap(lambda k: jax.random.bits(k, (), jnp.uint32))(keys)
  gathered = accel.all_gather((own, row, drawn, ~where), axis_name)
  own, row, drawn, padded = gathered
  # Two orders of the whole batch, padded rows last in both: who stands at the
  # same place is the partner. So the rows that count are permuted among
  # themselves, with static shapes, whatever the order of the devices.
  places = jnp.lexsort((row, padded))
  chosen = jnp.lexsort((drawn, padded))
  partner = jnp.zeros_like(chosen).at[places].set(chosen)
  start = accel.axis_index(axis_name) * b
  partner = jax.lax.dynamic_slice_in_dim(partner, start, b)
  return jax.tree.map(lambda x: x[partner], own)
