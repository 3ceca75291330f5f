"""What users install: the wheel holds everything, the core knows no method."""

import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TOPS = {"kd_jax": "kd_jax", "methods": "kd_jax.methods"} | {
  "datasets": "kd_jax.datasets"
}


def folders():
  """Every folder with Python in it, by the name it is imported under."""
  found = {}
  for top, name in TOPS.items():
    for file in (ROOT / top).rglob("*.py"):
      inside = file.parent.relative_to(ROOT / top).parts
      found[".".join([name, *inside])] = file.parent
  return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
  """The wheel, built from the tracked files and installed elsewhere."""
  folder = tmp_path_factory.mktemp("wheel")
  source = folder / "source"
  tracked = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  ).stdout.split()
  for name in tracked:
    if (ROOT / name).is_file():
      (source / name).parent.mkdir(parents=True, exist_ok=True)
      (source / name).write_bytes((ROOT / name).read_bytes())
  pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
  build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
  subprocess.run(
    [*build, "--outdir", str(folder), str(source)],
    check=True,
    capture_output=True,
  )
  (wheel,) = folder.glob("*.whl")
  target = folder / "site"
  subprocess.run(
    [*pip, "install", "--no-deps", "--target", str(target), str(wheel)],
    check=True,
    capture_output=True,
  )
  return wheel, target


def test_every_folder_is_a_listed_package():
  listed = set(PROJECT["tool"]["setuptools"]["packages"])
  assert listed == set(folders())
  for folder in folders().values():
    assert (folder / "__init__.py").exists(), folder


def test_the_wheel_holds_what_is_not_python(installed):
  names = set(zipfile.ZipFile(installed[0]).namelist())
  assert "kd_jax/py.typed" in names
  for name, folder in folders().items():
    if not list(folder.glob("*_dataset_builder.py")):
      continue
    place = name.replace(".", "/")
    for file in ("CITATIONS.bib", "checksums.tsv", "README.md", "TAGS.txt"):
      assert f"{place}/{file}" in names
    dummy = [p.name for p in (folder / "dummy_data").iterdir()]
    assert dummy
    for file in dummy:
      assert f"{place}/dummy_data/{file}" in names


def test_no_top_level_module_shadows_others(installed):
  tops = {n.split("/")[0] for n in zipfile.ZipFile(installed[0]).namelist()}
  assert {t for t in tops if not t.endswith(".dist-info")} == {"kd_jax"}


def test_the_wheel_works_outside_the_checkout(installed, tmp_path):
  methods = sorted(PROJECT["project"]["entry-points"]["kd_jax.methods"])
  script = f"""
import pathlib, sys
import kd_jax
from kd_jax import registry
from kd_jax.datasets import catalog
target = pathlib.Path({str(installed[1])!r})
assert target in pathlib.Path(kd_jax.__file__).parents, kd_jax.__file__
for name in {methods!r}:
  module = sys.modules[registry.find(name).phases.__module__]
  assert target in pathlib.Path(module.__file__).parents, module.__file__
print(catalog.build("digits", say=lambda line: None))
run = kd_jax.train("kd3", "tiny", workdir="run", quiet=True)
assert run.metrics["kd3.test_accuracy"] > 0
print(sorted(p.name for p in run.workdir.iterdir()))
"""
  env = {
    **os.environ,
    "PYTHONPATH": str(installed[1]),
    "PYTHONSAFEPATH": "1",
    "KD_JAX_DATA": str(tmp_path / "data"),
    "XLA_FLAGS": "",
  }
  done = subprocess.run(
    [sys.executable, "-c", script],
    cwd=tmp_path,
    env=env,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert "summary.json" in done.stdout


def test_the_editable_install_is_this_checkout():
  entries = importlib.metadata.entry_points(group="kd_jax.methods")
  assert "kd3" in entries.names
  import kd_jax.datasets
  import kd_jax.methods

  assert pathlib.Path(kd_jax.methods.__file__).parent == ROOT / "methods"
  assert pathlib.Path(kd_jax.datasets.__file__).parent == ROOT / "datasets"


def test_the_core_names_no_method():
  methods = PROJECT["project"]["entry-points"]["kd_jax.methods"]
  for file in (ROOT / "kd_jax").rglob("*.py"):
    text = file.read_text()
    for method in methods:
      for line in re.findall(rf".*\b{method}\b.*", text):
        # A command's example in a docstring may name one.
        assert f'"{method}")' in line, f"{file}: {line}"
      assert f"methods.{method}" not in text


def test_arrows_go_one_way():
  """The core imports neither methods nor data sets.

  But for the command, and for the benchmark's networks, which draw batches.
  """
  above = {"cli.py", "listing.py"}
  for file in (ROOT / "kd_jax").rglob("*.py"):
    if file.name not in above and file.parent.name != "networks":
      text = file.read_text()
      assert "kd_jax.datasets" not in text, file
      assert "kd_jax.methods import" not in text, file
  for file in (ROOT / "datasets").rglob("*.py"):
    assert "kd_jax.methods" not in file.read_text(), file


def test_notebooks_are_what_their_scripts_say():
  done = subprocess.run(
    [sys.executable, str(ROOT / "colabs" / "generate.py"), "--check"],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout


def test_the_readme_has_the_two_commands():
  text = (ROOT / "README.md").read_text()
  assert "\npython -m pip install -e . && kd-jax train kd3\n" in text
  assert "\npython -m pip install -e '.[test]' && pytest\n" in text
