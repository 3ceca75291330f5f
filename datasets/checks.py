"""What columns of images and labels must be like, checked before training."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kd_jax.datasets.errors import DataError


def check(
  arrays: Mapping[str, Any],
  *,
  where: str,
  labelled: bool = True,
  classes: int | None = None,
) -> dict[str, np.ndarray]:
  """Checks columns of images and gives them their types.

  Args:
    arrays: "image" (n, h, w) or (n, h, w, c), uint8 or floats in 0 to 1, and
      "label" (n,) integers from 0; other keys are left out.
    where: what to call the data in messages.
    labelled: whether labels are needed.
    classes: how many classes there are; None takes what the labels say, which
      must be fewer than there are images.

  Returns:
    "image" uint8 (n, h, w, c) and, if `labelled`, "label" int32 (n,). What has
    the right type already is not copied.

  Raises:
    DataError: says what is wrong, in which row, and what was expected.
  """
  needed = ("image", "label") if labelled else ("image",)
  for key in needed:
    if key not in arrays:
      raise DataError(f"{where} has no {key!r}; its keys are {list(arrays)}")
  image = _image(np.asanyarray(arrays["image"]), where)
  if not labelled:
    return {"image": image}
  label = _label(np.asanyarray(arrays["label"]), where, classes)
  if len(image) != len(label):
    raise DataError(f"{where} has {len(image)} images but {len(label)} labels")
  return {"image": image, "label": label}


def _image(image: np.ndarray, where: str) -> np.ndarray:
  if image.ndim not in (3, 4):
    raise DataError(
      f"images of {where} are {image.shape}, expected (n, h, w) or (n, h, w, c)"
    )
  if not image.size:
    raise DataError(f"{where} is empty: its images are {image.shape}")
  if image.ndim == 3:
    image = image[..., None]
  if image.dtype.kind == "f":
    return _from_floats(image, where)
  if image.dtype != np.uint8:
    raise DataError(
      f"images of {where} are {image.dtype}, expected uint8 or floats in 0 to 1"
    )
  return image


def _from_floats(image: np.ndarray, where: str) -> np.ndarray:
  flat = image.reshape(len(image), -1)
  for wrong, what in (
    (np.isnan(flat), "NaN"),
    ((flat < 0) | (flat > 1), "a value outside 0 to 1"),
  ):
    if wrong.any():
      row, at = np.argwhere(wrong)[0]
      said = "" if what == "NaN" else f" ({flat[row, at]:g})"
      raise DataError(f"image {row} of {where} has {what}{said}")
  return np.rint(image * 255).astype(np.uint8)


def _label(label: np.ndarray, where: str, classes: int | None) -> np.ndarray:
  if label.ndim != 1 or label.dtype.kind not in "iu":
    raise DataError(
      f"labels of {where} are {label.dtype} {label.shape}, expected integers "
      "(n,)"
    )
  if not label.size:
    raise DataError(f"{where} is empty: it has 0 labels")
  # A class that the images cannot fill is a slip, not a class.
  top = (len(label) if classes is None else classes) - 1
  if ((label < 0) | (label > top)).any():
    row = int(np.argmax((label < 0) | (label > top)))
    why = f" ({len(label)} images)" if classes is None else ""
    raise DataError(
      f"label {row} of {where} is {label[row]}, expected 0 to {top}{why}"
    )
  if (label == label[0]).all():
    raise DataError(
      f"{where} has one class only ({label[0]}), expected two or more"
    )
  return label.astype(np.int32, copy=False)
