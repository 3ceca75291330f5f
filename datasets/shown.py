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
  some = _decoded(source.as_data_source(splits[0]))
  features = {
    k: f"{'x'.join(map(str, v.shape[1:])) or 'scalar'} {v.dtype.name}"
    for k, v in some.items()
  }
  counts = {s: _counts(source, s, say) for s in splits}
  grid = None
  if "image" in some:
    grid = Path(out or Path(source.data_dir) / f"{name.replace('/', '-')}.png")
    images.write_grid(some["image"], some.get("label"), grid)
  return Shown(name, features, counts, Path(source.data_dir), grid)


def _decoded(records, most: int = 1000) -> dict[str, np.ndarray]:
  """The first records, stacked; TFDS has shuffled them."""
  found = [numeric(records[i]) for i in range(min(most, len(records)))]
  return {name: np.stack([f[name] for f in found]) for name in found[0]}


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
