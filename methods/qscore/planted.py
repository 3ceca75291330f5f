"""Representations whose discriminative coordinates are known: a generator.

Each class owns some coordinates and an example shows a random half of its
class's; a few generic ones are active for most examples of every class, and
some rare ones for hardly any. Degraded examples show their class faintly, and
are mostly wrong. No network and no probe: what the score should find is there
by construction.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool


@dataclasses.dataclass(frozen=True)
class Layout:
  """Which coordinates are what.

  Attributes:
    width: r, how many there are.
    classes: how many classes.
    owned: coordinates of each class: the first `owned * classes`.
    shown: how many of its class's an example shows.
    generic: the ones after these.
    rare: and after those; the others are noise alone.
    degraded: the share of degraded examples.
    right: chances of being right, degraded and not.
  """

  width: int = 512
  classes: int = 10
  owned: int = 12
  shown: int = 6
  generic: int = 8
  rare: int = 150
  degraded: float = 0.2
  right: tuple[float, float] = (0.2, 0.95)

  @property
  def class_coordinates(self) -> Bool[np.ndarray, "r"]:
    """The mask of those that belong to a class."""
    return np.arange(self.width) < self.owned * self.classes

  @property
  def generic_coordinates(self) -> Bool[np.ndarray, "r"]:
    """The mask of those that are active for most."""
    first = self.owned * self.classes
    place = np.arange(self.width)
    return (place >= first) & (place < first + self.generic)


def draw(
  seed: int, part: int, n: int = 4000, layout: Layout | None = None
) -> dict[str, np.ndarray]:
  """Draws examples.

  Args:
    seed: of the run.
    part: which split; each is a stream of its own.
    n: how many.
    layout: which coordinates are what.

  Returns:
    "features" (n, r) float32, "labels" (n,) int32, "correct" and "degraded"
    (n,) bool.
  """
  own, rng = layout or Layout(), np.random.default_rng([seed, part])
  labels = rng.integers(0, own.classes, n)
  h = np.maximum(rng.normal(0, 0.05, (n, own.width)) - 0.03, 0)
  degraded = rng.uniform(size=n) < own.degraded
  strength = rng.uniform(0.6, 1.0, (n, own.owned))
  strength *= np.where(degraded, rng.uniform(0, 0.3, n), 1.0)[:, None]
  shown = rng.uniform(size=(n, own.owned)).argsort(1) < own.shown
  place = labels[:, None] * own.owned + np.arange(own.owned)
  h[np.arange(n)[:, None], place] += np.where(shown, strength, 0)
  first = own.owned * own.classes
  for size, chance in ((own.generic, 0.7), (own.rare, 0.002)):
    on = rng.uniform(size=(n, size)) < chance
    extra = rng.uniform(0.5, 1.0, (n, size))
    h[:, first : first + size] += np.where(on, extra, 0)
    first += size
  correct = rng.uniform(size=n) < np.where(degraded, *own.right)
  return {
    "features": h.astype(np.float32),
    "labels": labels.astype(np.int32),
    "correct": correct,
    "degraded": degraded,
  }
