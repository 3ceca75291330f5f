"""Members of an archive, or of the folder that it was unpacked into.

Nothing is unpacked: a member is read where it lies, so that no name in an
archive can lead anywhere.
"""

import contextlib
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from kd_jax.datasets.errors import DataError

# What a cut or damaged file raises, by the readers of Python.
BROKEN = (
  OSError,
  EOFError,
  zlib.error,
  lzma.LZMAError,
  tarfile.TarError,
  zipfile.BadZipFile,
)
Member = tuple[str, IO[bytes]]


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
  """Puts the file's name to what goes wrong inside.

  Args:
    path: the file.

  Yields:
    Nothing.

  Raises:
    DataError: for a file that is cut short, damaged or absent.
  """
  try:
    yield
  except BROKEN as error:
    why = " ".join(str(error).split()) or type(error).__name__
    raise DataError(f"cannot read {path}: {why}") from None


def gunzip(path: Path) -> bytes:
  """Reads a gzip file, or one that was unpacked under its name.

  Args:
    path: the file.

  Returns:
    What is in it.

  Raises:
    DataError: if it cannot be read.
  """
  with named(path):
    content = path.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def members(
  path: Path, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[Member]:
  """Opens the members of an archive in their order.

  Args:
    path: a .tar, .tar.gz or .zip file, or a folder.
    wanted: whether to open a member of this name. Names have "/" between their
      parts and lack the archive's one top folder.

  Yields:
    Names and open files; a file is closed when the next one comes.

  Raises:
    DataError: if the archive cannot be read; names it.
  """
  with named(path):
    if path.is_dir():
      yield from _of_folder(path, wanted)
    elif zipfile.is_zipfile(path):
      yield from _of_zip(path, wanted)
    else:
      yield from _of_tar(path, wanted)


def _of_folder(path: Path, wanted) -> Iterator[Member]:
  for file in sorted(path.rglob("*")):
    name = file.relative_to(path).as_posix()
    if file.is_file() and wanted(name):
      with file.open("rb") as stream:
        yield name, stream


def _of_zip(path: Path, wanted) -> Iterator[Member]:
  with zipfile.ZipFile(path) as archive:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    top = _top([info.filename for info in infos])
    for info in infos:
      name = info.filename[top:]
      if wanted(name):
        with archive.open(info) as stream:
          yield name, stream


def _of_tar(path: Path, wanted) -> Iterator[Member]:
  """A stream has no table of contents, so the top folder is guessed."""
  with tarfile.open(path) as archive:
    for info in archive:
      parts = PurePosixPath(info.name).parts
      for name in ("/".join(parts[1:]), "/".join(parts)):
        if info.isfile() and name and wanted(name):
          with archive.extractfile(info) as stream:
            yield name, stream
          break


def _top(names: list[str]) -> int:
  """The length of the folder's name, and slash, that all names begin with."""
  tops = {name.split("/")[0] for name in names}
  if len(tops) == 1 and all("/" in name for name in names):
    return len(tops.pop()) + 1
  return 0
