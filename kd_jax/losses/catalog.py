"""The list of losses, read from what each one says about itself.

The docstring of a public loss carries two lines, each of which may go on in
indented ones: `Equation: ...` and `Source: ...`.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from kd_jax import losses


class LossInfo(NamedTuple):
  """What there is to know about a loss before using it.

  Attributes:
    name: as in `kd_jax.losses.NAME`.
    summary: what it computes, in a sentence.
    equation: in plain text.
    source: the paper, and the equation in it.
    signature: its arguments and their defaults.
  """

  name: str
  summary: str
  equation: str
  source: str
  signature: str


def catalog() -> list[LossInfo]:
  """Describes every public function of `kd_jax.losses`.

  Returns:
    One record per function, in alphabetical order.

  Raises:
    ValueError: naming a function whose docstring lacks a line.
  """
  return [
    describe(name, fn)
    for name, fn in inspect.getmembers(losses, inspect.isfunction)
    if not name.startswith("_")
  ]


def describe(name: str, fn: Callable[..., Any]) -> LossInfo:
  """Reads one loss.

  Args:
    name: its public name.
    fn: the function.

  Returns:
    What its docstring and its signature say.

  Raises:
    ValueError: if the docstring lacks a line, naming the function and the line.
  """
  doc = inspect.getdoc(fn) or ""
  return LossInfo(
    name=name,
    summary=doc.partition("\n")[0],
    equation=_line(name, doc, "Equation"),
    source=_line(name, doc, "Source"),
    signature=name + _arguments(fn),
  )


def _line(name: str, doc: str, key: str) -> str:
  found = re.search(rf"^{key}: (.+(?:\n[ ]+\S.*)*)", doc, re.MULTILINE)
  if not found:
    raise ValueError(f"the docstring of {name} has no line '{key}: ...'")
  return " ".join(found[1].split())


def _arguments(fn: Callable[..., Any]) -> str:
  """The signature without its types, which would fill a screen."""
  signature = inspect.signature(fn)
  bare = [
    p.replace(annotation=inspect.Parameter.empty)
    for p in signature.parameters.values()
  ]
  return str(inspect.Signature(bare))
