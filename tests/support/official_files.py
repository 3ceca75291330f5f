"""Fake data sets in the form in which the real ones are published.

`python tests/support/official_files.py` writes the builders' `dummy_data`
anew. `content(name, split)` is what a builder must make of them.
"""

import gzip
import io
import pathlib
import struct
import tarfile
import zipfile

import numpy as np
from PIL import Image
from scipy import io as matlab

ROOT = pathlib.Path(__file__).parent.parent.parent / "datasets"
CORRUPTIONS = """
brightness contrast defocus_blur elastic_transform fog frost gaussian_blur
gaussian_noise glass_blur impulse_noise jpeg_compression motion_blur pixelate
saturate shot_noise snow spatter speckle_noise zoom_blur
""".split()  # noqa: SIM905
CLASSES = """
airplane automobile bird cat deer dog frog horse ship truck
""".split()  # noqa: SIM905
WNIDS = ["n03", "n01", "n02"]  # The official list is not sorted either.
_C = {f"{c}_{s}": 1 for c in CORRUPTIONS for s in range(1, 6)}
# Examples by split, and height, width and channels.
SIZES = {
  "mnist": ({"train": 20, "test": 10}, (28, 28, 1)),
  "fashion_mnist": ({"train": 20, "test": 10}, (28, 28, 1)),
  "mnist_rotated": ({"train": 6, "test": 4}, (28, 28, 1)),
  "cifar10": ({"train": 20, "test": 10}, (32, 32, 3)),
  "cifar100": ({"train": 20, "test": 10}, (32, 32, 3)),
  "svhn_cropped": ({"train": 12, "test": 10, "extra": 11}, (32, 32, 3)),
  "cinic10": ({"train": 10, "valid": 10, "test": 10}, (32, 32, 3)),
  "tiny_imagenet": ({"train": 6, "validation": 4}, (64, 64, 3)),
  "imagenet32": ({"train": 6, "validation": 4}, (32, 32, 3)),
  "imagenet64": ({"train": 6, "validation": 4}, (64, 64, 3)),
  "cifar10_c": (_C, (32, 32, 3)),
  "cifar100_c": (_C, (32, 32, 3)),
}


def content(name, split):
  """Images that differ along every axis, and their labels."""
  sizes, (h, w, c) = SIZES[name]
  first = 16 * list(sizes).index(split)
  row, y, x, channel = np.ogrid[: sizes[split], :h, :w, :c]
  image = (3 * (first + row) + 2 * y + x + 60 * channel) % 256
  label = (7 * np.arange(sizes[split]) + first) % 10
  if name == "tiny_imagenet":
    label = np.arange(sizes[split]) % len(WNIDS)
    image = np.broadcast_to(image[:, :1, :1], image.shape)  # JPEG keeps those.
    image = np.concatenate([image[:1], image[:-1]])
    image[0] = image[0, 0, 0, 0]  # A grey one.
  if name == "cinic10":
    image[0] = image[0, ..., :1]
  if name.endswith("_c"):
    label = np.array([int(split[-1])])
  found = {"image": image.astype(np.uint8), "label": label}
  if name == "cifar100":
    found["coarse_label"] = (label * 2) % 20
  if name == "tiny_imagenet":
    corner = np.arange(sizes[split])[:, None]
    found["box"] = corner + np.array([0, 1, 60, 50])
  return found


def files(name):
  """The official files: bytes by name."""
  make = {
    "mnist": _idx,
    "fashion_mnist": _idx,
    "mnist_rotated": _rotated,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "svhn_cropped": _svhn,
    "cinic10": _cinic10,
    "tiny_imagenet": _tiny_imagenet,
  }
  if name in make:
    return make[name](name)
  return _corrupted(name) if name.endswith("_c") else _imagenet(name)


def _idx(name):
  out = {}
  for split, part in (("train", "train"), ("test", "t10k")):
    data = content(name, split)
    image, label = data["image"][..., 0], data["label"].astype(np.uint8)
    for array, kind in ((image, "images-idx3"), (label, "labels-idx1")):
      head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
      packed = gzip.compress(head + array.tobytes(), mtime=0)
      out[f"{part}-{kind}-ubyte.gz"] = packed
  return out


def _rotated(name):
  """Intensities as text, those between two bytes' among them."""
  out = {}
  for split, part in (("train", "train_valid"), ("test", "test")):
    data = content(name, split)
    lines = [
      " ".join([*(f"{(v + 0.2) / 255.5:.6f}" for v in image.ravel()),
                f"{label:.6f}"])
      for image, label in zip(data["image"], data["label"], strict=True)
    ]  # fmt: skip
    text = "".join(f"   {line}\n" for line in lines)
    out[f"mnist_all_rotation_normalized_float_{part}.amat"] = text.encode()
  return {"mnist_rotation_new.zip": zipped(out)}


def _batch(data, keys):
  planes = data["image"].transpose(0, 3, 1, 2).reshape(len(data["image"]), -1)
  labels = [data[key].astype(np.uint8)[:, None] for key in keys]
  return np.concatenate([*labels, planes], 1)


def _cifar10(name):
  batches = np.split(_batch(content(name, "train"), ["label"]), 5)
  top = "cifar-10-batches-bin"
  inside = {
    f"{top}/data_batch_{i}.bin": rows.tobytes()
    for i, rows in enumerate(batches, 1)
  }
  test = _batch(content(name, "test"), ["label"])
  inside[f"{top}/test_batch.bin"] = test.tobytes()
  inside[f"{top}/batches.meta.txt"] = "\n".join(CLASSES).encode()
  return {"cifar-10-binary.tar.gz": gzip.compress(_tar(inside), mtime=0)}


def _cifar100(name):
  inside = {
    f"cifar-100-binary/{split}.bin": _batch(
      content(name, split), ["coarse_label", "label"]
    ).tobytes()
    for split in ("train", "test")
  }
  return {"cifar-100-binary.tar.gz": gzip.compress(_tar(inside), mtime=0)}


def _svhn(name):
  out = {}
  for split in SIZES[name][0]:
    data = content(name, split)
    label = np.where(data["label"] == 0, 10, data["label"]).astype(np.uint8)
    stream = io.BytesIO()
    arrays = {"X": data["image"].transpose(1, 2, 3, 0), "y": label[:, None]}
    matlab.savemat(stream, arrays, do_compression=True)
    out[f"{split}_32x32.mat"] = stream.getvalue()
  return out


def _image(image, kind):
  grey = (image == image[..., :1]).all()
  stream = io.BytesIO()
  Image.fromarray(image[..., 0] if grey else image).save(
    stream,
    kind,
    **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}),
  )
  return stream.getvalue()


def _cinic10(name):
  inside = {}
  for split in SIZES[name][0]:
    data = content(name, split)
    for row, label in enumerate(data["label"]):
      path = f"./{split}/{CLASSES[label]}/cifar10-{split}-{row}.png"
      inside[path] = _image(data["image"][row], "PNG")
  inside["./README.md"] = b"# CINIC-10\n"
  return {"CINIC-10.tar.gz": gzip.compress(_tar(inside), mtime=0)}


def _tiny_imagenet(name):
  top = "tiny-imagenet-200"
  inside = {
    f"{top}/wnids.txt": "\n".join(WNIDS).encode() + b"\n",
    f"{top}/words.txt": b"n01\tone\n",
  }
  classes = sorted(WNIDS)
  train, val = content(name, "train"), content(name, "validation")
  for label, wnid in enumerate(classes):
    lines = ""
    for row in np.flatnonzero(train["label"] == label):
      file = f"{wnid}_{row}.JPEG"
      path = f"{top}/train/{wnid}/images/{file}"
      inside[path] = _image(train["image"][row], "JPEG")
      lines += "\t".join([file, *map(str, train["box"][row])]) + "\n"
    inside[f"{top}/train/{wnid}/{wnid}_boxes.txt"] = lines.encode()
  lines = ""
  for row, label in enumerate(val["label"]):
    file = f"val_{row}.JPEG"
    inside[f"{top}/val/images/{file}"] = _image(val["image"][row], "JPEG")
    fields = [file, classes[label], *map(str, val["box"][row])]
    lines += "\t".join(fields) + "\n"
  inside[f"{top}/val/val_annotations.txt"] = lines.encode()
  inside[f"{top}/test/images/test_0.JPEG"] = _image(val["image"][0], "JPEG")
  return {"tiny-imagenet-200.zip": zipped(inside)}


def _imagenet(name):
  train, val = content(name, "train"), content(name, "validation")
  halves = [
    {k: v[s] for k, v in train.items()} for s in (slice(4), slice(4, 6))
  ]
  batches = {
    f"train_data_batch_{i}.npz": _npz(half) for i, half in enumerate(halves, 1)
  }
  title = name.capitalize()
  out = {f"{title}_val_npz.zip": zipped({"val_data.npz": _npz(val)})}
  if name == "imagenet32":
    out[f"{title}_train_npz.zip"] = zipped(batches)
  else:
    for i, (batch, packed) in enumerate(batches.items(), 1):
      out[f"{title}_train_part{i}_npz.zip"] = zipped({batch: packed})
  return out


def _npz(data):
  rows = data["image"].transpose(0, 3, 1, 2).reshape(len(data["image"]), -1)
  arrays = {
    "data": rows,
    "labels": data["label"].astype(np.int64) + 1,
    "mean": rows.mean(0),
  }
  return zipped({f"{k}.npy": npy(a) for k, a in arrays.items()})


def npy(array):
  stream = io.BytesIO()
  np.lib.format.write_array(stream, np.ascontiguousarray(array))
  return stream.getvalue()


def _corrupted(name):
  top = name.upper().replace("CIFAR", "CIFAR-").replace("_", "-")
  sizes = SIZES[name][0]
  inside = {}
  for c in CORRUPTIONS:
    images = [content(name, f"{c}_{s}")["image"] for s in range(1, 6)]
    inside[f"{top}/{c}.npy"] = npy(np.concatenate(images))
  labels = [content(name, s)["label"] for s in list(sizes)[:5]]
  inside[f"{top}/labels.npy"] = npy(np.concatenate(labels).astype(np.uint8))
  return {f"{top}.tar": _tar(inside)}


def _tar(inside):
  stream = io.BytesIO()
  with tarfile.open(fileobj=stream, mode="w") as archive:
    for name, data in inside.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))
  return stream.getvalue()


def zipped(inside):
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, data in inside.items():
      archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
  return stream.getvalue()


if __name__ == "__main__":
  for each in SIZES:
    folder = ROOT / each / "dummy_data"
    folder.mkdir(exist_ok=True)
    for file, packed in files(each).items():
      (folder / file).write_bytes(packed)
