"""The hundred classes of ImageNet-100, out of a folder of ImageNet's thousand.

Source: solo-learn, solo/data/dataset_subset/imagenet100_classes.txt.
"""

import os
import pathlib
import tempfile

from kd_jax.datasets.errors import DataError

_NUMBERS = """
02869837 01749939 02488291 02107142 13037406 02091831 04517823 04589890
03062245 01773797 01735189 07831146 07753275 03085013 04485082 02105505
01983481 02788148 03530642 04435653 02086910 02859443 13040303 03594734
02085620 02099849 01558993 04493381 02109047 04111531 02877765 04429376
02009229 01978455 02106550 01820546 01692333 07714571 02974003 02114855
03785016 03764736 03775546 02087046 07836838 04099969 04592741 03891251
02701002 03379051 02259212 07715103 03947888 04026417 02326432 03637318
01980166 02113799 02086240 03903868 02483362 04127249 02089973 03017168
02093428 02804414 02396427 04418357 02172182 01729322 02113978 03787032
02089867 02119022 03777754 04238763 02231487 03032252 02138441 02104029
03837869 03494278 04136333 03794056 03492542 02018207 04067472 03930630
03584829 02123045 04229816 02100583 03642806 04336792 03259280 02116738
02108089 03424325 01855672 02090622
"""
IMAGENET100 = tuple(f"n{number}" for number in _NUMBERS.split())
# ImageNet's folders, and what they are called here.
_SPLITS = {"train": "train", "val": "test"}


def link(
  imagenet: str | os.PathLike[str], folder: str | os.PathLike[str]
) -> None:
  """Makes a folder of links to those of the hundred classes.

  Args:
    imagenet: has a folder a class in train, and in val.
    folder: is made, with train and test, to be given as images.

  Raises:
    DataError: if the one lacks a class, or the other is there or cannot be
      made; then nothing is left of it.
  """
  source = pathlib.Path(os.path.expanduser(imagenet)).resolve()
  target = pathlib.Path(os.path.expanduser(folder))
  for split in _SPLITS:
    for name in IMAGENET100:
      if not (source / split / name).is_dir():
        raise DataError(
          f"{source} has no {split}/{name}; expected ImageNet's classes as "
          f"folders of {' and '.join(_SPLITS)}"
        )
  if target.exists() or target.is_symlink():
    raise DataError(f"{target} is there; expected a folder that is not")
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as made:
      whole = pathlib.Path(made) / "whole"
      for split, own in _SPLITS.items():
        (whole / own).mkdir(parents=True)
        for name in IMAGENET100:
          (whole / own / name).symlink_to(source / split / name)
      whole.rename(target)
  except OSError as error:
    raise DataError(f"cannot make {target}: {error}") from error
