"""Do heatmaps lie on the object or beside it: heat-weighted overlap with masks.

s(region) is the sum of a heatmap's values there; mIoU is the mean over images
of s(A and mask) / s(A or mask), A where the heatmap is high. Neither threshold
is in the paper. With A the whole image it is the share of heat inside the mask,
which needs none.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

Images = Float[Array | np.ndarray, "n h w"]


def overlap(
  heat: Images,
  mask: Images,
  *,
  region: float = 0.5,
  threshold: float = 0.5,
) -> Float[Array, "n"]:
  """Heat-weighted intersection over union with a mask.

  Args:
    heat: heatmaps, at least 0.
    mask: in [0, 1]; official masks are soft, and above 0 nearly everywhere.
    region: A is where the heat exceeds this share of its maximum; below 0 it is
      the whole image.
    threshold: the mask is where it exceeds this.

  Returns:
    One value an image, in [0, 1]; 0 where there is no heat.
  """
  heat, mask = jnp.asarray(heat), jnp.asarray(mask) > threshold
  area = heat > region * heat.max((1, 2), keepdims=True)
  both = jnp.where(area & mask, heat, 0.0).sum((1, 2))
  either = jnp.where(area | mask, heat, 0.0).sum((1, 2))
  return jnp.where(either > 0, both / jnp.where(either > 0, either, 1.0), 0.0)


def interpretability(
  heat: Images,
  core: Images,
  spurious: Images,
  correct: Bool[Array | np.ndarray, "n"] | None,
  *,
  region: float = 0.5,
  threshold: float = 0.5,
) -> dict[str, Float[Array, ""]]:
  """Overlaps with the object and with what only comes with it.

  Args:
    heat: heatmaps.
    core: masks of the object.
    spurious: masks of the rest that the class is told by.
    correct: whether a probe is right about each image; None where none says.
    region: see `overlap`.
    threshold: see `overlap`.

  Returns:
    "miou_core", "miou_spurious", the same of "right" and of "wrong" images if
    these are known ("miou_core_right"), and "heat_core", "heat_spurious" (A the
    whole image) beside "area_core", "area_spurious", what even heat would give;
    NaN where there is no such image. Images without a mask of a kind are left
    out of the means of that kind.
  """
  values = {}
  for name, mask in (("core", core), ("spurious", spurious)):
    area = (jnp.asarray(mask) > threshold).mean((1, 2))
    there = area > 0
    iou = overlap(heat, mask, region=region, threshold=threshold)
    inside = overlap(heat, mask, region=-1.0, threshold=threshold)
    values |= {
      f"miou_{name}": iou.mean(where=there),
      f"heat_{name}": inside.mean(where=there),
      f"area_{name}": area.mean(where=there),
    }
    if correct is not None:
      right = jnp.asarray(correct)
      values[f"miou_{name}_right"] = iou.mean(where=there & right)
      values[f"miou_{name}_wrong"] = iou.mean(where=there & ~right)
  return values
