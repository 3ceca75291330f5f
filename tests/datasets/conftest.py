"""A data folder of its own for each test, with builders on dummy data."""

import importlib
import os
from pathlib import Path

import pytest


@pytest.fixture
def data(tmp_path, monkeypatch):
  """An empty data folder; nothing outside of it is read or written."""
  folder = tmp_path / "data"
  monkeypatch.setenv("KD_JAX_DATA", os.fspath(folder))
  return folder


@pytest.fixture
def dummies(data, monkeypatch):
  """Our builders read 20 fake records in the official on-disk format."""
  for name in ("digits", "mnist_5k"):
    module = importlib.import_module(
      f"kd_jax.datasets.{name}.{name}_dataset_builder"
    )
    path = Path(module.__file__).parent / "dummy_data" / f"{name}.csv.gz"
    monkeypatch.setattr(module, "official_file", path.read_bytes)
  return data
