import functools
import json
import pathlib
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_tabular

import kd_jax
from kd_jax.errors import UsageError
from kd_jax.training import checkpoint
from kd_jax.training.checkpoint import Shelf


def tree():
  draw = np.random.default_rng(0)
  return {
    "params": {
      "small": draw.normal(size=(2, 3)).astype(np.float32),
      "large": draw.normal(size=(3000,)).astype(np.float32),
      "half": jnp.asarray([1.5, -2], jnp.bfloat16),
    },
    "mask": np.array([True, False]),
    "step": np.int32(7),
    "seed": np.uint32(2**32 - 1),
    "none": np.zeros((0, 4), np.float32),
  }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  path = tmp_path_factory.mktemp("written") / "000001"
  checkpoint.write(path, tree(), {"step": 7, "sum": 0.1 + 0.2})
  return path


def assert_same(got, expect):
  assert jax.tree.structure(got) == jax.tree.structure(expect)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expect), strict=True):
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_comes_back_to_the_bit(written):
  shapes = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, tree()))
  assert_same(checkpoint.read(written, shapes), tree())
  about = checkpoint.read_about(written)
  assert (about["step"], about["sum"]) == (7, 0.1 + 0.2)


def test_dicts_of_any_shape_come_back(tmp_path):
  shelf = Shelf(tmp_path)
  tree = {
    "a": {"b": np.arange(3, dtype=np.uint8), "c": jnp.ones(2, jnp.bfloat16)},
    "d": np.zeros((0, 2)),
  }
  shelf.put("t", tree, {})
  back = shelf.product("t", shelf.shapes("t"))
  assert_same(back, jax.tree.map(np.asarray, tree))


def test_a_tree_without_leaves(tmp_path):
  checkpoint.write(tmp_path / "a", {}, {"metrics": {"x": None}})
  assert checkpoint.read(tmp_path / "a", {}) == {}
  assert checkpoint.read_about(tmp_path / "a")["metrics"] == {"x": None}


def attempt(path):
  """Reads everything: True if it is right, else the complaint."""
  try:
    about = checkpoint.read_about(path)
    got = checkpoint.read(path, tree())
  except UsageError as error:
    return str(error)
  assert (about["step"], about["sum"]) == (7, 0.1 + 0.2)
  assert_same(got, tree())
  return True


def halve(data):
  return data[: len(data) // 2]


def flip(data, place):
  i = int(place * (len(data) - 1))
  return data[:i] + bytes([data[i] ^ 0x55]) + data[i + 1 :]


DAMAGE = {
  "half": halve,
  "empty": lambda data: b"",
  "start": functools.partial(flip, place=0),
  "middle": functools.partial(flip, place=0.5),
  "end": functools.partial(flip, place=1),
  "gone": None,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_and_never_silent(written, tmp_path, kind, capfd):
  path = tmp_path / "000001"
  shutil.copytree(written, path)
  complaints = {}
  for file in [f for f in sorted(path.rglob("*")) if f.is_file()]:
    data = file.read_bytes()
    if DAMAGE[kind] is None:
      file.unlink()
    else:
      file.write_bytes(DAMAGE[kind](data))
    name = file.relative_to(path).as_posix()
    complaints[name] = attempt(path)
    file.write_bytes(data)
  bad = {k: v for k, v in complaints.items() if v is not True}
  for name, message in bad.items():
    what = "its description" if name.startswith("about") else "leaf "
    assert f"is damaged ({what}" in message, name
    assert "\n" not in message
  assert "about/metadata" in bad
  assert any("tree/d/" in name for name in bad)
  # The array's own bytes: 12 kB that do not compress.
  large = max(complaints, key=lambda n: (path / n).stat().st_size)
  if kind != "end":  # The last byte of that file is padding.
    assert "params.large" in bad[large]
  assert attempt(path) is True
  assert "Traceback" not in "".join(capfd.readouterr())


def test_a_kill_before_the_digests_does_no_harm(written, tmp_path):
  path = tmp_path / "a"
  shutil.copytree(written, path)
  (path / "digests.json").unlink()
  assert attempt(path) is True


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"step": np.float32(0)}, "leaf step is int32() there and float32() here"),
    (
      {"mask": np.zeros(3, bool)},
      "leaf mask is bool(2,) there and bool(3,) here",
    ),
    ({"more": np.zeros(1)}, "has no leaf more"),
  ],
)
def test_another_model_is_named(written, change, words):
  with pytest.raises(UsageError) as error:
    checkpoint.read(written, {**tree(), **change})
  assert "is of another model: " in str(error.value)
  assert words in str(error.value)


def test_a_leaf_too_many_is_named(written):
  like = {k: v for k, v in tree().items() if k != "mask"}
  with pytest.raises(UsageError, match="leaf mask is not in this one"):
    checkpoint.read(written, like)


def test_shelf_keeps_two_and_forgets_what_is_not_whole(tmp_path):
  shelf = Shelf(tmp_path)
  assert shelf.latest() is None
  for step in range(4):
    shelf.save({"x": np.float32(step)}, {"step": step})
  names = [p.name for p in sorted(shelf.checkpoints.iterdir())]
  assert names == ["000003", "000004"]
  assert shelf.latest()["step"] == 3
  assert shelf.resume({"x": np.zeros((), np.float32)})["x"] == 3
  half = shelf.checkpoints / "000005.orbax-checkpoint-tmp"
  shutil.copytree(shelf.checkpoints / "000004", half)
  (shelf.products / "attmpt").mkdir()
  again = Shelf(tmp_path)
  assert not half.exists()
  assert again.has("attmpt")
  assert again.latest()["step"] == 3
  again.clear()
  assert again.latest() is None
  again.put("a.b", {"x": np.float32(1)}, {"metrics": {}})
  assert again.has("a.b")
  assert not again.has("a")


def test_a_run_names_the_damaged_product(tmp_path):
  method = toy_tabular.METHOD
  kd_jax.train(method, "tiny", workdir=tmp_path, quiet=True)
  for file in (tmp_path / "products" / "decay.learn" / "tree").rglob("*"):
    if file.is_file():
      file.write_bytes(halve(file.read_bytes()))
  with pytest.raises(UsageError, match=r"decay\.learn is damaged \(leaf"):
    kd_jax.evaluate(method, tmp_path)
  with pytest.raises(UsageError, match=r"decay\.learn is damaged \(leaf"):
    kd_jax.load(tmp_path, method)
  (tmp_path / "products" / "exact" / "about" / "metadata").write_text("{}")
  with pytest.raises(UsageError, match=r"exact is damaged \(its description"):
    kd_jax.evaluate(method, tmp_path)


def test_a_full_disk_leaves_earlier_saves_whole(tmp_path, capfd):
  """No file may outgrow a limit from the second save on."""
  old = resource.getrlimit(resource.RLIMIT_FSIZE)
  method = toy_tabular.METHOD

  def fill(event, step):
    if (event, step) == ("saving", 80):
      resource.setrlimit(resource.RLIMIT_FSIZE, (100, old[1]))

  how = {"workdir": tmp_path, "quiet": True, "samples": 100, "save_every": 40}
  try:
    with pytest.raises((UsageError, OSError)) as error:
      kd_jax.train(method, "tiny", observer=fill, **how)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
  assert "cannot write" in str(error.value)
  assert "saved before is whole" in str(error.value)
  assert len(str(error.value).splitlines()) == 1
  assert "Traceback" not in "".join(capfd.readouterr())
  saved = tmp_path / "checkpoints" / "000001"
  assert checkpoint.read_about(saved)["step"] == 40
  steps = []
  run = kd_jax.train(
    method, "tiny", observer=lambda e, s: steps.append((e, s)), **how
  )
  assert steps[0] == ("phase", 40)
  assert set(run.metrics) == {
    f"{arm}.test_{m}" for arm in ("exact", "decay") for m in ("gap", "residual")
  }


@pytest.mark.parametrize("place", ["file", "/proc"])
def test_a_folder_that_cannot_be_written(tmp_path, place):
  if place == "file":
    (tmp_path / "file").write_text("")
    workdir = tmp_path / "file" / "run"
  else:
    workdir = pathlib.Path("/proc/kd-jax-run")
  with pytest.raises(UsageError, match=f"cannot write {workdir}: "):
    kd_jax.train(toy_tabular.METHOD, "tiny", workdir=workdir, quiet=True)


def test_what_a_checkpoint_says_is_plain(written):
  """Everything but the arrays is JSON text."""
  digests = json.loads((written / "digests.json").read_text())
  assert "about/metadata" in digests
  checksums = json.loads((written / "about" / "metadata").read_text())
  assert set(checksums["checksums"]) == set(checkpoint.flatten(tree()))
