"""Fake files of the data sets with masks, as they are published.

`python tests/support/mask_files.py` writes the builders' `dummy_data` anew.
"""

import gzip
import io
import pathlib
import zipfile

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parent.parent.parent / "datasets"
WNIDS = {3: "n01491361", 7: "n01514668"}
# By class and feature: what five workers answered.
ANSWERS = {
  ("n01491361", 1): ["main_object"] * 4 + ["background"],
  ("n01491361", 2): ["background"] * 2
  + ["separate_object"] * 1
  + ["other"] * 2,
  ("n01491361", 30): ["main_object"] * 5,
  ("n01514668", 5): ["separate_object"] * 2 + ["main_object"] * 3,
}
# The images that a feature has masks of, and the rows where these are white.
MASKS = {
  ("n01491361", 1): {"a": (0, 100), "b": (50, 150)},
  ("n01491361", 2): {"a": (100, 256)},
  ("n01491361", 30): {"a": (80, 180)},
  ("n01514668", 5): {"c": (0, 128)},
}
SIZES = {"a": (256, 256), "b": (512, 640), "c": (260, 390)}


def jpeg(array):
  out = io.BytesIO()
  Image.fromarray(array).save(out, "JPEG", quality=95)
  return out.getvalue()


def mask(stem, rows):
  """White between two rows of 256, in the image's own size."""
  h, w = SIZES[stem]
  white = np.zeros((h, w), np.uint8)
  white[rows[0] * h // 256 : rows[1] * h // 256] = 255
  return jpeg(white)


def photo(stem):
  h, w = SIZES[stem]
  colour = np.array([40 * len(stem), 90, 20 + 7 * ord(stem) % 200], np.uint8)
  return jpeg(np.broadcast_to(colour, (h, w, 3)).copy())


def salient():
  """The files by path."""
  files = {"masks/wordnet_dict.py": f"wordnet_dict = {WNIDS!r}\n".encode()}
  head = (
    "WorkerId,Input.wordnet_id,Input.class_index,Input.feature_index,"
    "Input.feature_rank,Answer.main,Answer.confidence,Answer.reasons"
  )
  numbers = {v: k for k, v in WNIDS.items()}
  lines = [head]
  for (wnid, feature), answers in ANSWERS.items():
    for worker, answer in enumerate(answers):
      why = '"wings, and so on"'
      lines.append(
        f"w{worker},{wnid},{numbers[wnid]},{feature},1,{answer},4,{why}"
      )
  files["mturk_results/discover_spurious_features.csv"] = "\n".join(
    lines
  ).encode()
  for (wnid, feature), stems in MASKS.items():
    for stem, rows in stems.items():
      files[f"masks/{wnid}/feature_{feature}/{stem}.JPEG"] = mask(stem, rows)
      files[f"train/{wnid}/{stem}.JPEG"] = photo(stem)
  files["masks/n01491361/image_names_map.csv"] = b"1,2,30\na,a,a\nb,,\n"
  return files


def digits():
  """Ten lines of mnist_5k: two classes that take turns, 28x28 and the class."""
  rng = np.random.default_rng(0)
  lines = []
  for i in range(10):
    image = np.zeros((28, 28), int)
    y, x = rng.integers(4, 16, 2)
    image[y : y + 8, x : x + 8] = 200 + i
    lines.append(",".join(map(str, [*image.ravel(), i % 2])))
  return gzip.compress("\n".join(lines).encode(), mtime=0)


def write():
  path = ROOT / "salient_imagenet" / "dummy_data" / "salient_imagenet.zip"
  path.parent.mkdir(parents=True, exist_ok=True)
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, content in salient().items():
      archive.writestr(zipfile.ZipInfo(name), content)
  path = ROOT / "cluttered_mnist" / "dummy_data" / "mnist_5k.csv.gz"
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(digits())


if __name__ == "__main__":
  write()
