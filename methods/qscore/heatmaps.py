"""Where in an image a coordinate looks: activation maps, which are Grad-CAM.

With global average pooling h_j = mean_uv a_uvj, Grad-CAM of h_j at the last
stage weighs channel k by [k = j] / (H W): its map is a_j itself up to a scale,
and no backward pass is needed. `grad_cam` is the general one, for other tails.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from kd_jax import metrics
from kd_jax.methods.qscore.discovery import Discovery

Maps = Float[Array | np.ndarray, "n u v r"]


def standing_out(
  maps: Maps, found: Discovery, pooled: Any = None
) -> Bool[Array, "n r"]:
  """The coordinates whose maps make an example's heatmap: L_i and D.

  Args:
    maps: activations of the last stage, channels last.
    found: what was discovered.
    pooled: the representations, if they are not the maps' means.

  Returns:
    A mask.
  """
  h = jnp.mean(jnp.asarray(maps), (1, 2)) if pooled is None else pooled
  return metrics.highly_active(h, found.eps) & found.chosen[None]


def heatmaps(
  maps: Maps,
  taken: Bool[Array | np.ndarray, "n r"],
  size: tuple[int, int],
  combine: Literal["mean", "max"] = "mean",
) -> Float[Array, "n h w"]:
  """The maps of some coordinates as one, in the image's size.

  Args:
    maps: activations of the last stage.
    taken: which coordinates, for each image.
    size: height and width of the images.
    combine: their mean or their maximum; the paper does not say.

  Returns:
    Values in [0, 1], the largest of an image 1; zeros where nothing was taken.

  Raises:
    ValueError: for an unknown `combine`.
  """
  if combine not in ("mean", "max"):
    raise ValueError(f"combine is {combine!r}; it is mean or max")
  a = jnp.maximum(jnp.asarray(maps, jnp.float32), 0.0)
  m = jnp.asarray(taken).astype(jnp.float32)
  if combine == "mean":
    heat = jnp.einsum("nuvr,nr->nuv", a, m, precision="highest")
    heat /= jnp.maximum(m.sum(-1), 1.0)[:, None, None]
  else:
    heat = (a * m[:, None, None]).max(-1)
  heat = jax.image.resize(heat, (len(heat), *size), "bilinear")
  heat = jnp.maximum(heat, 0.0)
  top = heat.max((1, 2), keepdims=True)
  return heat / jnp.where(top > 0, top, jnp.ones_like(top))


def grad_cam(
  tail: Callable[[Float[Array, "u v r"]], Float[Array, ""]],
  activation: Float[Array, "u v r"],
) -> Float[Array, "u v"]:
  """Grad-CAM: channels weighed by the mean gradient of an output.

  Source: Selvaraju et al. 2017, arXiv 1610.02391, eqs. 1 and 2

  Args:
    tail: from one image's activations to the number that is asked about.
    activation: of one image.

  Returns:
    ReLU of the weighted sum of channels.
  """
  weight = jax.grad(tail)(activation).mean((0, 1))
  return jnp.maximum(jnp.einsum("uvr,r->uv", activation, weight), 0.0)
