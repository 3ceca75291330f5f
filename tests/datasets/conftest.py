"""A data folder of its own for each test, with builders on dummy data."""

import importlib
import os
from pathlib import Path

import pytest

# Of the dummy data: entities, relations, and triples of each split.
GRAPH_SIZES = {
  "fb15k237": (6, 2, 20, 3, 3),
  "kinships": (6, 2, 20, 4, 4),
  "nations": (5, 2, 20, 4, 4),
  "umls": (5, 3, 20, 4, 4),
  "wn18rr": (6, 2, 20, 3, 3),
  "yago3_10": (5, 2, 17, 3, 3),
}


@pytest.fixture
def data(tmp_path, monkeypatch):
  """An empty data folder; nothing outside of it is read or written."""
  folder = tmp_path / "data"
  monkeypatch.setenv("KD_JAX_DATA", os.fspath(folder))
  return folder


@pytest.fixture
def graph_dummies(data, monkeypatch):
  """Our builders of graphs expect the sizes of their dummy data."""
  for name, sizes in GRAPH_SIZES.items():
    module = importlib.import_module(
      f"kd_jax.datasets.{name}.{name}_dataset_builder"
    )
    monkeypatch.setattr(module.Builder, "SIZES", sizes)
  return data


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
