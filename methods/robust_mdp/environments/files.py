"""A user's own MDP: one `.npz` with P (S, A, S), R (S, A) and gamma.

Optional: start (S), the first state's distribution (uniform without it), and
names (S). Nothing in the file is executed.
"""

import dataclasses
import os
import pathlib
import zipfile

import numpy as np

from kd_jax.datasets.errors import DataError
from kd_jax.methods.robust_mdp.environments.mdp import Mdp
from kd_jax.methods.robust_mdp.environments.paper import uniform

REQUIRED = ("P", "R", "gamma")
# Value iteration has 20,000 sweeps, and float32 seven digits.
MOST_GAMMA = 0.999
KNOWN = (*REQUIRED, "start", "names")


def load(path: str | pathlib.Path) -> Mdp:
  """Reads and checks a model.

  Args:
    path: the file.

  Returns:
    The model. Rows of P that float32 left a little off 1 are scaled to sum to
    it. Rewards are not rescaled, since lambda is in their units.

  Raises:
    DataError: one sentence: what is wrong, where, what was expected.
  """
  path = pathlib.Path(os.path.expanduser(path))
  found = _arrays(path)
  p, r = _numbers(path, "P", found), _numbers(path, "R", found)
  gamma = _numbers(path, "gamma", found)
  if gamma.size != 1:
    raise DataError(f"{path}: gamma has shape {gamma.shape}; expected a number")
  discount = float(gamma.reshape(()))
  if not 0 <= discount <= MOST_GAMMA:
    raise DataError(
      f"{path}: gamma is {discount:.9g}; it must be in [0, {MOST_GAMMA}]: "
      "beyond, exact values are not reached in float32"
    )
  states = p.shape[0] if p.size and p.ndim else 1
  names = found.get("names", np.array([], str)).ravel()
  mdp = Mdp(
    name=str(path),
    transitions=p,
    rewards=r,
    discount=discount,
    start=_numbers(path, "start", found)
    if "start" in found
    else uniform(states),
    v_max=1 / (1 - discount),
    state_names=tuple(str(n) for n in names),
  )
  exact = p / p.sum(-1, keepdims=True)
  return dataclasses.replace(mdp, name=path.stem, transitions=exact)


def _arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Every array of the file by name."""
  if not path.is_file():
    what = "a folder" if path.is_dir() else "no such file"
    raise DataError(f"{path}: {what}; expected an .npz with P, R, gamma")
  try:
    if not zipfile.is_zipfile(path):
      raise ValueError("it is no zip archive")
    with np.load(path, allow_pickle=False) as file:
      names = set(file.files)
      found = {name: file[name] for name in KNOWN if name in names}
      for name, array in found.items():
        if not isinstance(array, np.ndarray):  # Bytes, for want of a header.
          raise ValueError(f"{name} is no array")
  # What zip, its compressions and NumPy's header raise has no common parent:
  # RuntimeError for a password, LZMAError, TokenError, MemoryError and more.
  except Exception as error:
    why = " ".join(str(error).split()) or type(error).__name__
    raise DataError(
      f"{path}: not an .npz of plain arrays ({why}); write it with "
      "numpy.savez(path, P=P, R=R, gamma=gamma)"
    ) from error
  missing = [name for name in REQUIRED if name not in names]
  unknown = sorted(names - set(KNOWN))
  if missing:
    raise DataError(
      f"{path}: no {' and no '.join(missing)}; expected P (S, A, S), R (S, A) "
      f"and gamma, found {', '.join(sorted(names)) or 'nothing'}"
    )
  if unknown:
    raise DataError(
      f"{path}: unknown {', '.join(unknown)}; expected {', '.join(KNOWN)}"
    )
  return found


def _numbers(
  path: pathlib.Path, name: str, found: dict[str, np.ndarray]
) -> np.ndarray:
  """An array as float64."""
  array = found[name]
  if array.dtype.kind not in "biuf":
    raise DataError(
      f"{path}: {name} holds {array.dtype}; expected real numbers"
    )
  return array.astype(np.float64)
