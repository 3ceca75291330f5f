"""Random views of images, made on the device.

Every view of every image draws from a key of its own, a function of (seed,
step, view, row). Images of one channel have no hue, saturation or colour to
lose: of jitter they take brightness and contrast.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from kd_jax import augment
from kd_jax.methods.ssl.config import DataConfig
from kd_jax.training.state import row_keys


@dataclasses.dataclass(frozen=True)
class View:
  """How a view is made.

  Attributes:
    area: smallest and largest share of the image that is cut out; None takes
      all of it.
    jitter: of brightness, contrast, saturation and hue.
    jittered: probability of jitter.
    grey: probability of a grey view.
    blur: probability of blur, of U(.1, 2) pixels whatever the view's size, its
      kernel a tenth of the side.
    solarise: probability of solarisation.
    size: of the view's side, in parts of the largest views' side.
    count: how many of these there are.
  """

  area: tuple[float, float] | None = (0.08, 1.0)
  jitter: tuple[float, float, float, float] = (0.8, 0.8, 0.8, 0.2)
  jittered: float = 0.8
  grey: float = 0.2
  blur: float = 0.0
  solarise: float = 0.0
  size: float = 1.0
  count: int = 1


_WEAK = (0.4, 0.4, 0.4, 0.1)
_ODD = (0.4, 0.4, 0.2, 0.1)
_CROPS = (0.6, 0.6, 0.6, 0.2)
_DIGIT = View(area=(0.3, 1.0), jitter=(0.4, 0.4, 0.0, 0.0), grey=0.0)


def _two(**fields):
  return (View(count=2, **fields),)


def _odd(blur=(0.0, 0.0), area=(0.08, 1.0), solarise=0.2):
  first = View(area=area, jitter=_ODD, blur=blur[0])
  return first, View(area=area, jitter=_ODD, blur=blur[1], solarise=solarise)


# The two global views first; then local ones.
VIEWS: dict[str, tuple[View, ...]] = {
  "digits": (dataclasses.replace(_DIGIT, count=2),),
  # Less is cut off: "small"'s.
  "digits_weak": (dataclasses.replace(_DIGIT, area=(0.6, 1.0), count=2),),
  "digits_multicrop": (
    dataclasses.replace(_DIGIT, count=2),
    dataclasses.replace(_DIGIT, area=(0.15, 0.4), size=0.5, count=2),
  ),
  # SimCLR; solo-learn's "symmetric".
  "symmetric": _two(blur=0.5),
  # MoCo v2, SimSiam; solo-learn cuts .08 to 1.
  "symmetric_weak": _two(area=(0.2, 1.0), jitter=_WEAK, blur=0.5),
  "symmetric_weak_small": _two(jitter=_WEAK, blur=0.5),
  # BYOL, Barlow Twins, VICReg; MoCo v3 cuts .2 to 1.
  "asymmetric": _odd(blur=(1.0, 0.1)),
  "asymmetric_large": _odd(blur=(1.0, 0.1), area=(0.2, 1.0)),
  # VICReg in solo-learn.
  "vicreg": _two(area=(0.2, 1.0), jitter=_ODD, blur=0.5, solarise=0.1),
  # For 32x32, without blur; solo-learn's symmetric views of CIFAR have it.
  "symmetric_32": _two(),
  "symmetric_weak_32": _two(jitter=_WEAK),
  "asymmetric_32": _odd(),
  "vicreg_32": _two(area=(0.2, 1.0), jitter=_ODD, solarise=0.1),
  # lightly's for SwAV and DINO, which have no local views there.
  "swav_two_32": _two(area=(0.14, 1.0), jitter=(0.64, 0.64, 0.64, 0.16)),
  "dino_two_32": _odd(area=(0.4, 1.0)),
  "swav": (
    View(area=(0.14, 1.0), blur=0.5, count=2),
    View(area=(0.05, 0.14), blur=0.5, size=96 / 224, count=6),
  ),
  "dino": (
    *_odd(blur=(1.0, 0.1), area=(0.14, 1.0)),
    View(area=(0.05, 0.14), jitter=_ODD, blur=0.5, size=96 / 224, count=8),
  ),
  "multicrop_32": (
    View(area=(0.2, 1.0), jitter=_CROPS),
    View(area=(0.2, 1.0), jitter=_CROPS, solarise=0.2),
    View(area=(0.08, 0.5), blur=0.1, solarise=0.1, size=18 / 32, count=6),
  ),
}


def count(name: str, most: int = 0) -> int:
  """How many views a recipe makes.

  Args:
    name: one of VIEWS.
    most: no more than these; 0 for all.

  Returns:
    The number.
  """
  every = sum(view.count for view in VIEWS[name])
  return min(every, most) if most else every


def make(
  data: DataConfig,
  name: str,
  key: Key[Array, ""],
  images: UInt8[Array, "b h w c"],
  row: Int[Array, "b"],
  *,
  most: int = 0,
) -> list[Float[Array, "v b h2 w2 c"]]:
  """Makes views and normalises them.

  Args:
    data: sizes, flips, mean and std.
    name: one of VIEWS.
    key: the step's.
    images: bytes.
    row: the images' places in the global batch.
    most: no more views than these; 0 for all.

  Returns:
    Views of one size stacked, the two global ones first.
  """
  x = augment.to_float(images)
  side = (data.view_size or images.shape[1], data.view_size or images.shape[2])
  groups: dict[tuple[int, int], list[jax.Array]] = {}
  left = most or count(name)
  for place, view in enumerate(VIEWS[name]):
    size = tuple(max(4, round(s * view.size)) for s in side)
    n = min(view.count, left)
    left -= n
    if not n:
      break
    kind = jax.random.fold_in(key, place)

    def one(i, kind=kind, view=view, size=size):
      keys = row_keys(jax.random.fold_in(kind, i), row)
      return augment.per_row(_one)(keys, x, view, size, data.flip)

    # Equal ones are one program, however many they are.
    seen = jax.vmap(one)(jnp.arange(n))
    groups.setdefault(size, []).append(normal(data, seen))
  return [jnp.concatenate(group) for group in groups.values()]


def _one(key, image, view: View, size, flip: bool):
  """One view of one image."""
  crop, mirror, colour, grey, blur, solarise = jax.random.split(key, 6)
  x = image
  if view.area is not None:
    x = augment.random_resized_crop(crop, image, size, view.area)
  elif size != image.shape[:2]:
    box = jnp.array([0.0, 0.0, *map(float, image.shape[:2])])
    x = augment.resized_crop(image, box, size)
  if flip:
    x = augment.random_flip(mirror, x)
  colours = x.shape[-1] == 3
  change = augment.random_colours if colours else _shades
  if view.jittered:
    x = augment.sometimes(
      colour, x, view.jittered, lambda k, x: change(k, x, view.jitter)
    )
  if view.grey and colours:
    x = augment.random_grey(grey, x, view.grey)
  if view.blur:
    x = augment.random_blur(blur, x, _kernel(x.shape), (0.1, 2.0), view.blur)
  if view.solarise:
    x = augment.random_solarise(solarise, x, probability=view.solarise)
  return x


def _kernel(shape):
  """A tenth of the side, odd, three at least."""
  side = min(shape[:2])
  return max(3, side // 10 + (1 - side // 10 % 2))


def _shades(key, x, strengths: Sequence[float]):
  """Brightness and contrast, multiplied, of an image of any channels."""
  low = jnp.array([max(0.0, 1 - s) for s in strengths[:2]])
  high = jnp.array([1 + s for s in strengths[:2]])
  light, contrast = low + jax.random.uniform(key, (2,)) * (high - low)
  x = jnp.clip(x * light, 0.0, 1.0)
  return jnp.clip(contrast * x + (1 - contrast) * x.mean(), 0.0, 1.0)


def normal(
  data: DataConfig, x: Float[Array, "*v h w c"]
) -> Float[Array, "*v h w c"]:
  """Normalises pixels in [0, 1].

  Args:
    data: its mean and std; a single number serves every channel.
    x: images.

  Returns:
    The images.
  """
  channels = x.shape[-1]
  mean, std = (
    s * channels if len(s) == 1 else s for s in (data.mean, data.std)
  )
  return augment.normalize(x, mean, std)


def plain(
  data: DataConfig, images: UInt8[Array | np.ndarray, "b h w c"]
) -> Float[Array, "b h2 w2 c"]:
  """Images as they are evaluated: of a view's size, and normalised.

  Args:
    data: sizes, mean and std.
    images: bytes.

  Returns:
    float32 images.
  """
  x = augment.to_float(jnp.asarray(images))
  if data.view_size and x.shape[1:3] != (data.view_size,) * 2:
    box = jnp.array([0.0, 0.0, *map(float, x.shape[1:3])])
    size = (data.view_size,) * 2
    x = jax.vmap(lambda image: augment.resized_crop(image, box, size))(x)
  return normal(data, x)
