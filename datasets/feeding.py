"""`kd-jax benchmark data`: images a second that one core decodes, and how.

The same images lie in array_record files and in a folder. A stream reads the
former through Grain, a PyTorch DataLoader the latter as its users do (Pillow in
`__getitem__`, no worker processes); the columns are decoded once and mapped
from then on. All of it on one core where the system lets us choose, in turns.
"""

import contextlib
import itertools
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kd_jax import report
from kd_jax.datasets import decode, pipeline
from kd_jax.datasets.images import jpeg, png
from kd_jax.datasets.quiet import quiet

Row = dict[str, Any]
BATCH = 64
ROUNDS = 3
# (name, height and width, images, encoder, suffix).
SETS = (
  ("32x32, PNG", 32, 2048, png, "png"),
  ("224x224, JPEG", 224, 512, jpeg, "jpg"),
)


def measure(
  *,
  json_file: str | os.PathLike[str] | None = None,
  seconds: float = 3.0,
  say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
  """Measures every way of reading on images that are made for it.

  Args:
    json_file: where the rows go too.
    seconds: how long each way is timed.
    say: takes a line of news.

  Returns:
    A row per set and way.
  """
  rows = []
  with tempfile.TemporaryDirectory() as folder, one_core():
    for name, size, count, encode, suffix in SETS:
      say(f"making {count} images of {name}")
      files = [encode(image) for image in make_images(size, count)]
      place = pathlib.Path(folder) / suffix
      rows += _of_set(name, files, size, place, suffix, seconds, say)
  if json_file is not None:
    from kd_jax import throughput

    throughput.write_json(json_file, rows)
  return rows


@contextlib.contextmanager
def one_core() -> Iterator[None]:
  """Keeps this process, and threads that it starts, on one core."""
  if not hasattr(os, "sched_setaffinity"):
    yield
    return
  before = os.sched_getaffinity(0)
  os.sched_setaffinity(0, {max(before)})
  try:
    yield
  finally:
    os.sched_setaffinity(0, before)


def make_images(size: int, count: int) -> Iterator[np.ndarray]:
  """Smooth colours with some noise: files as long as those of photographs.

  Args:
    size: height and width.
    count: how many.

  Yields:
    uint8 images (size, size, 3).
  """
  from PIL import Image

  rng = np.random.default_rng(0)
  for _ in range(count):
    coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((size, size), Image.BICUBIC)
    noise = rng.normal(0, 4, (size, size, 3))
    yield np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8)


def prepare(files: Sequence[bytes], size: int, folder: pathlib.Path) -> Any:
  """A prepared TFDS builder of encoded images.

  Args:
    files: the images, encoded.
    size: their height and width.
    folder: where its files go.

  Returns:
    The builder; its split is "train".
  """
  from etils import epath

  with quiet() as tfds, tfds.core.registered.skip_registration():

    class FeedingImages(tfds.core.GeneratorBasedBuilder):
      VERSION = tfds.core.Version("1.0.0")
      pkg_dir_path = epath.Path(folder)

      def _info(self):
        image = tfds.features.Image(shape=(size, size, 3))
        label = tfds.features.ClassLabel(num_classes=10)
        features = {"image": image, "label": label}
        return tfds.core.DatasetInfo(
          builder=self, features=tfds.features.FeaturesDict(features)
        )

      def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

      def _generate_examples(self):
        for i, content in enumerate(files):
          yield i, {"image": content, "label": i % 10}

    builder = FeedingImages(
      data_dir=os.fspath(folder), file_format="array_record"
    )
    builder.download_and_prepare()
  return builder


def _of_set(name, files, size, folder, suffix, seconds, say) -> list[Row]:
  builder = prepare(files, size, folder / "records")
  source, count = builder.as_data_source("train"), len(files)
  source[0]  # Imports what decodes.
  begin = time.perf_counter()
  columns = decode.columns(builder, "train", say=lambda line: None)
  decoding = time.perf_counter() - begin
  ways = {
    "stream of array_record": lambda: stream(source),
    "columns, mapped": lambda: mapped(columns),
  }
  try:
    loader = torch_loader(files, folder / "files", suffix)
    ways["PyTorch DataLoader"] = lambda: forever(loader)
  except ImportError as error:
    say(f"no PyTorch: {error}; pip install 'kd-jax[peers]' brings it")
  rates: dict[str, list[float]] = {way: [] for way in ways}
  for _ in range(ROUNDS):
    for way, make in ways.items():
      say(f"  {name}: {way}")
      rates[way].append(rate(make(), seconds / ROUNDS))
  found = {"columns, decoded once": count / decoding}
  found |= {way: statistics.median(r) for way, r in rates.items()}
  theirs = found.get("PyTorch DataLoader")
  return [
    {
      "images": name,
      "way": way,
      "examples_per_s": value,
      "ratio_to_dataloader": value / theirs if theirs else None,
    }
    for way, value in found.items()
  ]


def stream(source: Any) -> Iterator[Any]:
  """Our stream, by one thread."""
  return pipeline.stream(source, 0, BATCH, threads=1)


def mapped(columns: Any) -> Iterator[Any]:
  """Batches in the same order out of the mapped columns, on the host."""
  slots = np.arange(BATCH, dtype=np.int32)
  n = len(columns["label"])
  for step in itertools.count():
    rows = pipeline.host_rows(0, step, BATCH, n, slots)
    yield {name: column[rows] for name, column in columns.items()}


def torch_loader(
  files: Sequence[bytes], folder: pathlib.Path, suffix: str
) -> Any:
  """A DataLoader of image files as its users write it.

  Args:
    files: the images, encoded.
    folder: where they are written.
    suffix: of their names.

  Returns:
    The loader: shuffled, without worker processes.

  Raises:
    ImportError: where PyTorch is not installed.
  """
  import torch
  from PIL import Image

  folder.mkdir(parents=True)
  paths = [folder / f"{i}.{suffix}" for i in range(len(files))]
  for path, content in zip(paths, files, strict=True):
    path.write_bytes(content)

  class Images(torch.utils.data.Dataset):
    def __len__(self):
      return len(paths)

    def __getitem__(self, i):
      with Image.open(paths[i]) as image:
        pixels = np.asarray(image.convert("RGB"))
      return torch.from_numpy(pixels.copy()), i % 10

  torch.set_num_threads(1)
  return torch.utils.data.DataLoader(
    Images(), batch_size=BATCH, shuffle=True, drop_last=True
  )


def forever(loader: Any) -> Iterator[Any]:
  """A loader's batches, epoch after epoch."""
  while True:
    yield from loader


def rate(batches: Iterator[Any], seconds: float) -> float:
  """Examples a second, the first two batches not timed.

  Args:
    batches: an endless iterator.
    seconds: how long to take from it.

  Returns:
    The rate.
  """
  for _ in range(2):
    next(batches)
  begin, count = time.perf_counter(), 0
  while (spent := time.perf_counter() - begin) < seconds or not count:
    next(batches)
    count += BATCH
  return count / max(spent, 1e-9)


def table(rows: Sequence[Row]) -> str:
  """The rows as a table.

  Args:
    rows: what `measure` gave.

  Returns:
    The text.
  """
  cells = [
    [
      row["images"],
      row["way"],
      f"{row['examples_per_s']:,.0f}",
      report.number(row["ratio_to_dataloader"]),
    ]
    for row in rows
  ]
  header = ["images", "way", "images/s on one core", "times DataLoader's"]
  return report.render("feeding", header, cells, texts=2)
