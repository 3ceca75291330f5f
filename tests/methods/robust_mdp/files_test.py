"""A user's own MDP: read as it is, and refused in one sentence."""

import zipfile

import numpy as np
import pytest

from kd_jax.datasets.errors import DataError
from kd_jax.methods.robust_mdp import environments


def model():
  draw = np.random.default_rng(0)
  return {
    "P": draw.dirichlet(np.ones(4), (4, 3)),
    "R": draw.random((4, 3)),
    "gamma": np.float64(0.9),
  }


def test_a_file_is_the_model_that_was_saved(tmp_path):
  found = model() | {
    "start": np.array([1.0, 0, 0, 0]),
    "names": np.array(["a", "b", "c", "d"]),
  }
  np.savez(tmp_path / "mine.npz", **found)
  mdp = environments.make(str(tmp_path / "mine.npz"))
  np.testing.assert_allclose(mdp.transitions, found["P"], rtol=1e-15)
  np.testing.assert_array_equal(mdp.rewards, found["R"])
  assert mdp.discount == 0.9
  assert mdp.v_max == pytest.approx(10)
  assert mdp.state_names == ("a", "b", "c", "d")
  assert mdp.start[0] == 1
  assert mdp.name == "mine"


def test_a_file_in_float32_is_scaled_to_exact_rows(tmp_path):
  found = model()
  np.savez(
    tmp_path / "mine.npz", P=np.float32(found["P"]), R=found["R"], gamma=0
  )
  mdp = environments.make(str(tmp_path / "mine.npz"))
  np.testing.assert_allclose(mdp.transitions.sum(-1), 1, atol=1e-15)
  np.testing.assert_allclose(mdp.start, 0.25)


def at(key, index, value):
  def change(found):
    found[key][index] = value

  return change


def put(key, value):
  def change(found):
    found[key] = value

  return change


BAD = {
  "no P": (lambda f: f.pop("P"), "no P; expected P"),
  "no R and gamma": (
    lambda f: (f.pop("R"), f.pop("gamma")),
    "no R and no gamma",
  ),
  "unknown key": (put("rewards", np.ones(4)), "unknown rewards"),
  "P of rank 2": (put("P", np.eye(4)), r"P has shape \(4, 4\)"),
  "P of rank 0": (put("P", np.float64(1)), r"P has shape \(\)"),
  "P as (A, S, S)": (
    put("P", np.full((3, 4, 4), 0.25)),
    r"P has shape \(3, 4, 4\); expected \(S, A, S\)",
  ),
  "P empty": (put("P", np.ones((0, 0, 0))), r"P has shape \(0, 0, 0\)"),
  "R of other states": (
    put("R", np.ones((5, 3))),
    r"R has shape \(5, 3\).*expected \(S, A\) = \(4, 3\)",
  ),
  "R of rank 3": (put("R", np.ones((4, 3, 4))), r"R has shape \(4, 3, 4\)"),
  "a row short of 1": (
    at("P", (2, 1, 0), 0.0),
    r"P sums to 0\.\d+ at state 2, action 1",
  ),
  "a negative chance": (
    at("P", (3, 0, 2), -0.1),
    "P is -0.1 at state 3, action 0, next state 2",
  ),
  "a chance that is NaN": (
    at("P", (1, 2, 3), np.nan),
    "P is not finite at state 1, action 2",
  ),
  "a chance that is infinite": (
    at("P", (0, 0, 0), np.inf),
    "P is not finite at state 0, action 0",
  ),
  "a reward that is NaN": (
    at("R", (2, 2), np.nan),
    "R is not finite at state 2, action 2",
  ),
  "a reward above 1": (
    at("R", (1, 0), 20.0),
    r"R is 20 at state 1, action 0; rewards are in \[0, 1\]: store \(R - ",
  ),
  "a reward below 0": (at("R", (0, 2), -1.0), "R is -1 at state 0, action 2"),
  "gamma of 1": (put("gamma", np.float64(1.0)), r"gamma is 1; .*\[0, 0\.999\]"),
  "gamma near 1": (put("gamma", np.float64(1 - 1e-9)), "gamma is 0.999999999"),
  "gamma below 0": (put("gamma", np.float64(-0.5)), "gamma is -0.5"),
  "gamma that is NaN": (put("gamma", np.float64(np.nan)), "gamma is nan"),
  "two gammas": (put("gamma", np.ones(2)), r"gamma has shape \(2,\)"),
  "words for P": (put("P", np.array(["a"])), "P holds <U1; expected real"),
  "complex P": (put("P", np.ones((1, 1, 1), complex)), "P holds complex128"),
  "objects for R": (
    put("R", np.array([{}], object)),
    "not an .npz of plain arrays",
  ),
  "a start of other states": (
    put("start", np.array([1.0])),
    r"start has shape \(1,\); expected \(4,\)",
  ),
  "a start that is no distribution": (
    put("start", np.ones(4)),
    "start is no distribution",
  ),
  "too few names": (put("names", np.array(["a"])), "1 names for 4 states"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_sentence(tmp_path, case):
  change, words = BAD[case]
  found = model()
  change(found)
  path = tmp_path / "bad.npz"
  np.savez(path, **found)
  with pytest.raises(DataError, match=words) as caught:
    environments.make(str(path))
  assert str(path) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_a_named_state_is_named(tmp_path):
  found = model() | {"names": np.array(["quay", "sea", "reef", "port"])}
  found["P"][2, 1, 0] = 0
  np.savez(tmp_path / "bad.npz", **found)
  with pytest.raises(DataError, match=r"at state 2 \(reef\), action 1"):
    environments.make(str(tmp_path / "bad.npz"))


def write(content):
  return lambda path: path.write_bytes(content)


def lone_array(path):
  with path.open("wb") as file:
    np.save(file, np.ones(3))


def damaged(path):
  np.savez(path, **model())
  content = bytearray(path.read_bytes())
  content[200] ^= 255
  path.write_bytes(content)


def directory(offset, value):
  """Changes a byte of every entry of the zip's directory."""

  def change(path):
    np.savez(path, **model())
    content = bytearray(path.read_bytes())
    at = content.find(b"PK\x01\x02")
    while at >= 0:
      content[at + offset] = value
      at = content.find(b"PK\x01\x02", at + 4)
    path.write_bytes(content)

  return change


def encrypted(path):
  directory(8, 1)(path)
  content = bytearray(path.read_bytes())
  content[6] |= 1  # The first member says so too.
  path.write_bytes(content)


def damaged_lzma(path):
  with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
    for name, array in model().items():
      with archive.open(f"{name}.npy", "w") as member:
        np.save(member, array)
  content = bytearray(path.read_bytes())
  content[60] ^= 255
  content[70] ^= 255
  path.write_bytes(content)


def members(*, suffix=".npy", header=None, content=b""):
  """Three members: an array's header, then bytes."""
  if header is not None:
    line = header.ljust(117).encode() + b"\n"
    size = len(line).to_bytes(2, "little")
    content = b"\x93NUMPY\x01\x00" + size + line + bytes(64)

  def make(path):
    with zipfile.ZipFile(path, "w") as archive:
      for name in ("P", "R", "gamma"):
        archive.writestr(name + suffix, content)

  return make


HEADER = "{'descr': '<f8', 'fortran_order': False, 'shape': "


@pytest.mark.parametrize(
  ("make", "words"),
  [
    (lambda path: None, "no such file"),
    (lambda path: path.mkdir(), "a folder; expected an"),
    (write(b""), "not an .npz"),
    (write(b"PK\x03\x04 cut short"), "not an .npz"),
    (write(b"P,R,gamma\n1,2,3\n"), "not an .npz"),
    (lone_array, "not an .npz"),
    (damaged, "not an .npz"),
    (encrypted, "not an .npz.*password"),
    (directory(10, 99), "not an .npz.*compression"),
    (damaged_lzma, "not an .npz"),
    (members(suffix="", content=b"not npy"), "not an .npz.*P is no array"),
    (members(content=b"not npy"), "not an .npz.*P is no array"),
    (members(header="{'descr': '<f8', 'fortran_order': "), "not an .npz"),
    (members(header=HEADER + "(1000000, 1000000, 1000), }"), "not an .npz"),
    (members(header=HEADER + "(-1,), }"), "not an .npz|P has shape"),
  ],
)
def test_what_is_no_npz_is_one_sentence(tmp_path, make, words):
  path = tmp_path / "bad.npz"
  make(path)
  with pytest.raises(DataError, match=words) as caught:
    environments.make(str(path))
  assert str(path) in str(caught.value)
  assert "\n" not in str(caught.value)
