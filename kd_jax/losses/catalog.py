"""The list of losses, read from what each one says about itself.

The docstring of a public loss carries lines, each of which may go on in
indented ones: `Equation: ...`, `Source: ...`, and `Checked: ...`, what its
tests compare it with.
"""

import inspect
import re
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

from kd_jax import losses

_ABOVE = """# Losses

Plain functions on arrays, `kd_jax.losses.NAME`: one value per example out,
`where=` in, at least float32 inside. Letters: b batch, c classes or channels, d
embedding, h w image, k members, n others; `...` any shape. This page is what
`kd-jax list --losses --markdown` prints; a test keeps it so.
"""


class LossInfo(NamedTuple):
  """What there is to know about a loss before using it.

  Attributes:
    name: as in `kd_jax.losses.NAME`.
    summary: what it computes, in a sentence.
    equation: in plain text.
    source: the paper, and the equation in it.
    signature: its arguments and their defaults.
    shapes: of its arrays, by argument, and of what it gives.
    checked: what its tests compare it with; "" if it does not say.
  """

  name: str
  summary: str
  equation: str
  source: str
  signature: str
  shapes: str
  checked: str


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
    shapes=_shapes(fn),
    checked=_line(name, doc, "Checked", ""),
  )


def page() -> str:
  """Every public loss in a table of Markdown.

  Returns:
    The page, which `kd-jax list --losses --markdown` prints.
  """
  head = ("loss", "shapes", "equation", "source", "checked against")
  rows = [
    (
      f"`{loss.name}`: {loss.summary}",
      f"`{loss.shapes}`",
      f"`{loss.equation}`",
      loss.source,
      loss.checked or "-",
    )
    for loss in catalog()
  ]
  lines = [head, ("---",) * len(head), *rows]
  table = "\n".join(
    f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |"
    for line in lines
  )
  return f"{_ABOVE}\n{table}\n"


def _line(name: str, doc: str, key: str, default: str | None = None) -> str:
  found = re.search(rf"^{key}: (.+(?:\n[ ]+\S.*)*)", doc, re.MULTILINE)
  if found:
    return " ".join(found[1].split())
  if default is None:
    raise ValueError(f"the docstring of {name} has no line '{key}: ...'")
  return default


def _shapes(fn: Callable[..., Any]) -> str:
  """The shapes in the signature: "logits (b c), labels (b) -> (b)"."""
  signature = inspect.signature(inspect.unwrap(fn))
  given = [
    f"{name} ({shape})"
    for name, parameter in signature.parameters.items()
    if (shape := _shape(parameter.annotation)) is not None
  ]
  result = _shape(signature.return_annotation)
  return f"{', '.join(given)} -> {'-' if result is None else f'({result})'}"


def _shape(annotation: Any) -> str | None:
  """The letters of the first array type in an annotation."""
  if isinstance(found := getattr(annotation, "dim_str", None), str):
    return found
  inside = map(_shape, typing.get_args(annotation))
  return next((shape for shape in inside if shape is not None), None)


def _arguments(fn: Callable[..., Any]) -> str:
  """The signature without its types, which would fill a screen."""
  signature = inspect.signature(fn)
  bare = [
    p.replace(annotation=inspect.Parameter.empty)
    for p in signature.parameters.values()
  ]
  return str(inspect.Signature(bare))
