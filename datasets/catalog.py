"""The data sets by name: ours, and those of TensorFlow Datasets.

`kd-jax data list | build NAME | show NAME` prints what these functions return.
"""

import dataclasses
import difflib
import importlib
import os
from pathlib import Path
from typing import Any

from kd_jax.datasets.errors import DataError
from kd_jax.datasets.folders import data_dir
from kd_jax.datasets.progress import Say, to_stderr
from kd_jax.datasets.quiet import quiet


@dataclasses.dataclass(frozen=True)
class Entry:
  """A data set in the list.

  Attributes:
    name: what commands call it.
    task: what its labels are for.
    size: how many examples of what.
    licence: under which terms it may be used.
    built: whether its files are prepared in the data folder.
    embedded: whether first use may prepare them.
  """

  name: str
  task: str
  size: str
  licence: str
  built: bool
  embedded: bool


_CLASSES = "image classification"
_LINKS = "link prediction"
# Ours: small, and built in seconds on first use.
_EMBEDDED = {
  "digits": (_CLASSES, "1,797 images 8x8x1", "CC BY 4.0"),
  "mnist_5k": (_CLASSES, "5,000 images 28x28x1", "CC BY-SA 3.0"),
  "cluttered_mnist": (_CLASSES, "8,000 images 28x28x1, masks", "CC BY-SA 3.0"),
  "kinships": (_LINKS, "104 entities, 10,686 triples", "MIT"),
  "nations": (_LINKS, "14 entities, 1,992 triples", "MIT"),
  "umls": (_LINKS, "135 entities, 6,529 triples", "MIT"),
}
# Ours: fetched or brought by hand, when it is asked for.
_ASKED = {
  "mnist": (_CLASSES, "70,000 images 28x28x1", "CC BY-SA 3.0"),
  "mnist_rotated": (_CLASSES, "62,000 images 28x28x1", "CC BY-SA 3.0"),
  "fashion_mnist": (_CLASSES, "70,000 images 28x28x1", "MIT"),
  "cifar10": (_CLASSES, "60,000 images 32x32x3", "none stated"),
  "cifar100": (_CLASSES, "60,000 images 32x32x3", "none stated"),
  "cifar10_c": (_CLASSES, "950,000 images 32x32x3", "CC BY 4.0"),
  "cifar100_c": (_CLASSES, "950,000 images 32x32x3", "CC BY 4.0"),
  "svhn_cropped": (_CLASSES, "630,420 images 32x32x3", "non-commercial"),
  "cinic10": (_CLASSES, "270,000 images 32x32x3", "CC BY 4.0; ImageNet's"),
  "tiny_imagenet": (_CLASSES, "110,000 images 64x64x3", "ImageNet's"),
  "salient_imagenet": (_CLASSES, "images 224x224x3, masks", "academic"),
  "imagenet32": (_CLASSES, "1,331,167 images 32x32x3", "ImageNet's"),
  "imagenet64": (_CLASSES, "1,331,167 images 64x64x3", "ImageNet's"),
  "fb15k237": (_LINKS, "14,541 entities, 310,116 triples", "CC BY 2.5"),
  "wn18rr": (_LINKS, "40,943 entities, 93,003 triples", "WordNet 3.0"),
  "yago3_10": (_LINKS, "123,182 entities, 1,089,040 triples", "CC BY 3.0"),
}
_OURS = {**_EMBEDDED, **_ASKED}
# TFDS has builders of these names, too: ours are kd_jax_NAME to it and in the
# data folder, and theirs are tfds:NAME to us.
_SHARED = ("mnist", "fashion_mnist", "cifar10", "cifar100", "svhn_cropped")
_OURS_BY_FOLDER = {f"kd_jax_{name}": name for name in _SHARED}
_THEIRS = "tfds:"


def entries() -> list[Entry]:
  """Our data sets, then every other one that is built in the data folder.

  Returns:
    The entries in the order of their names, ours first.
  """
  found = _built_names()
  ours = [
    Entry(name, *_OURS[name], name in found, name in _EMBEDDED)
    for name in sorted(_OURS)
  ]
  unknown = ("-", "-", "see its page in the TFDS catalog")
  others = [Entry(n, *unknown, True, False) for n in sorted(found - set(_OURS))]
  return ours + others


def graphs() -> list[str]:
  """Our data sets that are knowledge graphs.

  Returns:
    Their names.
  """
  return sorted(name for name, about in _OURS.items() if about[0] == _LINKS)


def is_embedded(name: str) -> bool:
  """Whether a data set is ours, small, and built without being asked for.

  Args:
    name: the data set's name.

  Returns:
    True for those that first use may build.
  """
  return name in _EMBEDDED


def builder(name: str) -> Any:
  """The TFDS builder of a name.

  Args:
    name: one of ours, or one of the TFDS catalog ("name", "name/config"; one
      that has the name of ours is "tfds:name").

  Returns:
    The builder, its files in the data folder; they may not be prepared.

  Raises:
    DataError: for an unknown name; suggests those that are spelled alike.
  """
  place = {"data_dir": os.fspath(data_dir()), "file_format": "array_record"}
  with quiet() as tfds:
    if name in _OURS:
      module = f"kd_jax.datasets.{name}.{name}_dataset_builder"
      return importlib.import_module(module).Builder(**place)
    known = tfds.list_builders(with_community_datasets=False)
    name = name.removeprefix(_THEIRS)
    if name.split("/")[0].split(":")[0] in known:
      return _theirs(tfds, name, place)
  close = difflib.get_close_matches(name, {*_OURS, *known}, n=3)
  hint = f"; did you mean {' or '.join(close)}?" if close else ""
  raise DataError(f"no data set is named {name!r}{hint} (see kd-jax data list)")


def is_built(source: Any) -> bool:
  """Whether a builder's files are prepared.

  Args:
    source: the builder.

  Returns:
    True if they can be read.
  """
  return (Path(source.data_dir) / "dataset_info.json").exists()


def build(
  name: str,
  *,
  manual_dir: str | os.PathLike[str] | None = None,
  say: Say = to_stderr,
) -> Path:
  """Prepares a data set's files, once.

  Args:
    name: the data set's name.
    manual_dir: where the user put files that may not be fetched.
    say: takes what is being done, in lines.

  Returns:
    The folder of the files.

  Raises:
    DataError: if they cannot be prepared; says what is missing.
  """
  source = builder(name)
  if is_built(source):
    say(f"{name} is built already, in {source.data_dir}")
    return Path(source.data_dir)
  say(f"building {name} in {source.data_dir}")
  manual = None if manual_dir is None else os.fspath(manual_dir)
  if manual is not None and not Path(manual).is_dir():
    raise DataError(f"cannot build {name}: Manual directory {manual} is absent")
  with quiet() as tfds:
    config = tfds.download.DownloadConfig(
      manual_dir=manual, try_download_gcs=False
    )
    try:
      if hasattr(source, "obtain"):  # Ours, with a download that is resumed.
        source.obtain(None if manual is None else Path(manual), say)
      source.download_and_prepare(download_config=config)
    except DataError:
      raise
    except ImportError as error:
      raise DataError(
        f"preparing {name} needs a package that is not installed ({error}); "
        "most builders of TFDS need pip install 'kd-jax[tensorflow]'"
      ) from error
    # A missing manual folder is an AssertionError of TFDS; a failed download
    # is an OSError or its own kind of Exception.
    except (AssertionError, OSError, tfds.download.DownloadError) as error:
      if is_built(source):  # Another process was first; its files are as good.
        return Path(source.data_dir)
      line = " ".join(str(error).split())
      raise DataError(f"cannot build {name}: {line}") from error
  return Path(source.data_dir)


def not_built(name: str) -> DataError:
  """The error for a data set whose files are not prepared.

  Args:
    name: the data set's name.

  Returns:
    An error that says the command which prepares them.
  """
  return DataError(f"{name} is not built; run: kd-jax data build {name}")


def _theirs(tfds, name, place):
  try:
    return tfds.builder(name, **place)
  # What TFDS raises for an unknown configuration, and version.
  except (ValueError, AssertionError) as error:
    raise DataError(
      f"{name.replace(':', '/').split('/')[0]} has no configuration or version "
      f"such as {name!r}"
    ) from error
  except ImportError as error:
    raise DataError(
      f"{name} needs a package that is not installed ({error}); most builders "
      "of TFDS need pip install 'kd-jax[tensorflow]'"
    ) from error


def _built_names() -> set[str]:
  """What commands call all that is prepared in the data folder."""
  found = set()
  for pattern in ("*/*/dataset_info.json", "*/*/*/dataset_info.json"):
    for path in data_dir().glob(pattern):
      name = path.relative_to(data_dir()).parts[0]
      theirs = f"{_THEIRS}{name}" if name in _SHARED else name
      found.add(_OURS_BY_FOLDER.get(name, theirs))
  return found
