"""What is in a built data set, in numbers and pictures."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from kd_jax.datasets import catalog, images
from kd_jax.datasets.decode import each, numeric
from kd_jax.datasets.progress import Say, to_stderr, track
from kd_jax.datasets.quiet import quiet


@dataclasses.dataclass(frozen=True)
class Shown:
  """What is in a built data set.

  Attributes:
    name: what commands call it.
    features: shape and type of each column, by name.
    counts: examples per class, by split; (n,) examples if there are no labels.
    folder: where the files are.
    grid: a PNG with examples of each class, or None if there are no images.
  """

  name: str
  features: dict[str, str]
  counts: dict[str, list[int]]
  folder: Path
  grid: Path | None


def show(
  name: str,
  *,
  out: str | os.PathLike[str] | None = None,
  say: Say = to_stderr,
) -> Shown:
  """Describes a built data set and draws examples of each class.

  Args:
    name: the data set's name.
    out: the picture's path; "NAME.png" in the files' folder if None.
    say: takes lines of progress.

  Returns:
    What is in it.

  Raises:
    DataError: if it is not built.
  """
  source = catalog.builder(name)
  if not catalog.is_built(source):
    raise catalog.not_built(name)
  splits = sorted(source.info.splits)
  some = _first(source.as_data_source(splits[0]))
  features = {name: _feature([f[name] for f in some]) for name in some[0]}
  counts = {s: _counts(source, s, say) for s in splits}
  grid = None
  if "image" in some[0]:
    grid = Path(out or Path(source.data_dir) / f"{name.replace('/', '-')}.png")
    labels = (
      np.stack([f["label"] for f in some]) if "label" in some[0] else None
    )
    images.write_grid(_in_one_size([f["image"] for f in some]), labels, grid)
  return Shown(name, features, counts, Path(source.data_dir), grid)


def _first(records, most: int = 1000) -> list[dict[str, np.ndarray]]:
  """The first records; TFDS has shuffled them."""
  return [numeric(records[i]) for i in range(min(most, len(records)))]


def _feature(values: list[np.ndarray]) -> str:
  """A feature's lengths and type; ? for one that differs from row to row."""
  lengths = [
    str(min(axis)) if min(axis) == max(axis) else "?"
    for axis in zip(*(v.shape for v in values), strict=True)
  ]
  return f"{'x'.join(lengths) or 'scalar'} {values[0].dtype.name}"


def _in_one_size(found: list[np.ndarray], most: int = 64) -> np.ndarray:
  """Images as they are, or resized to one square where they differ."""
  if len({image.shape for image in found}) > 1:
    found = [images.resize(image, (most, most)) for image in found]
  return np.stack(found)


def _counts(source, split: str, say: Say) -> list[int]:
  """Examples per class, without decoding an image."""
  features = source.info.features
  size = source.info.splits[split].num_examples
  if "label" not in features or features["label"].shape:
    return [size]
  with quiet() as tfds:
    skip = {"image": tfds.decode.SkipDecoding()}
    records = source.as_data_source(
      split, decoders=skip if "image" in features else None
    )
    found = track(each(records), size, f"counting {source.name} {split}", say)
    return np.bincount([int(record["label"]) for record in found]).tolist()
