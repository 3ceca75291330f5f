import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from kd_jax.datasets import feeding
from kd_jax.datasets.images import jpeg, png

SETS = (("9x9, PNG", 9, 70, png, "png"), ("9x9, JPEG", 9, 70, jpeg, "jpg"))


def test_every_way_is_timed(monkeypatch, tmp_path):
  monkeypatch.setattr(feeding, "SETS", SETS)
  rows = feeding.measure(seconds=0.03, json_file=tmp_path / "d.json")
  assert json.loads((tmp_path / "d.json").read_text()) == rows
  ways = {row["way"] for row in rows}
  assert {"stream of array_record", "columns, mapped"} < ways
  for row in rows:
    assert row["examples_per_s"] > 0
    if row["way"] == "PyTorch DataLoader":
      assert row["ratio_to_dataloader"] == 1
  text = feeding.table(rows)
  assert text.count("9x9, PNG") == len(ways)


def test_all_ways_give_the_same_images(tmp_path):
  images = list(feeding.make_images(9, 70))
  files = [png(image) for image in images]
  builder = feeding.prepare(files, 9, tmp_path / "records")
  source = builder.as_data_source("train")
  columns = feeding.decode.columns(builder, "train", say=lambda line: None)
  assert {i.tobytes() for i in columns["image"]} == {
    i.tobytes() for i in images
  }
  streamed, read = feeding.stream(source), feeding.mapped(columns)
  for _ in range(3):
    a, b = next(streamed), next(read)
    for name in ("image", "label"):
      np.testing.assert_array_equal(a[name], b[name])
  torch = pytest.importorskip("torch")
  loader = feeding.torch_loader(files, tmp_path / "files", "png")
  batch, labels = next(feeding.forever(loader))
  assert batch.shape == (feeding.BATCH, 9, 9, 3)
  assert batch.dtype == torch.uint8
  known = {(i.tobytes(), n % 10) for n, i in enumerate(images)}
  for image, label in zip(batch.numpy(), labels.tolist(), strict=True):
    assert (image.tobytes(), label) in known


def test_the_images_are_as_long_as_photographs():
  (image,) = feeding.make_images(224, 1)
  content = jpeg(image)
  assert Image.open(io.BytesIO(content)).size == (224, 224)
  assert 5_000 < len(content) < 50_000


def test_one_core_is_given_back():
  before = os.sched_getaffinity(0)
  with feeding.one_core():
    assert len(os.sched_getaffinity(0)) == 1
  assert os.sched_getaffinity(0) == before
