"""A pipeline as text: "slimming:0.5 | int8 | huffman".

Steps are separated by "|", a step is NAME, NAME:VALUE or NAME:VALUE,KEY=VALUE.
Every step that trains takes `steps=N` (or `times=X`, a multiple of the field
tune_steps) and `rate=R`, and most take `on=PATTERN`, a shell pattern of the
kernels' paths. The steps are in `kinds`.
"""

import difflib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from kd_jax.errors import UsageError
from kd_jax.methods.compression import protocol
from kd_jax.methods.compression.kinds import KINDS, Context
from kd_jax.methods.compression.protocol import Transform


class Step(NamedTuple):
  """A step as it is written.

  Attributes:
    name: e.g. "gradual".
    value: the number after the colon, or None.
    options: numbers and words by name.
    text: as written.
  """

  name: str
  value: float | None
  options: dict[str, Any]
  text: str


# What every step that trains takes.
TRAINING = ("steps", "times", "rate")
# Options that are words: the others are numbers.
_WORDS = ("scope", "start", "on")


def parse(text: str) -> list[Step]:
  """Reads a pipeline.

  Args:
    text: as in the module's docstring; "" is none.

  Returns:
    Its steps.

  Raises:
    UsageError: one line about the first step that is wrong, the order of the
      steps among it.
  """
  steps = [_step(part.strip()) for part in text.split("|") if part.strip()]
  kinds = [KINDS[step.name].kind for step in steps]
  protocol.check_order(
    tuple(Transform(s.name, k, None) for s, k in zip(steps, kinds, strict=True))
  )
  return steps


def _step(text: str) -> Step:
  head, *options = (part.strip() for part in text.split(","))
  name, _, value = head.partition(":")
  # int4 and int8 are said so often.
  digits = name.removeprefix("int")
  if name.startswith("int") and digits.isdigit() and not value:
    name, value = "int", digits
  if name not in KINDS:
    near = difflib.get_close_matches(name, KINDS, 1)
    hint = (
      f"did you mean {near[0]}?" if near else f"there are {', '.join(KINDS)}"
    )
    raise UsageError(f"pipeline: there is no step {name!r}; {hint}")
  kind = KINDS[name]
  found = {}
  for option in options:
    key, equals, word = option.partition("=")
    known = (*kind.options, *(TRAINING if kind.trains else ()))
    if not equals or key not in known:
      raise UsageError(
        f"pipeline: {name} takes no {key!r}; it takes "
        f"{', '.join(known) or 'nothing'}"
      )
    found[key] = word if key in _WORDS else _number(word, text)
  _check_training(found, text)
  if value and kind.value is None:
    raise UsageError(f"pipeline: {name} takes no value; {text!r} has one")
  number = _number(value, text) if value else kind.value
  return Step(name, number, found, text)


def _check_training(options, text):
  """Refuses lengths and rates that are none."""
  steps, times = options.get("steps", 0), options.get("times", 1)
  if not (isinstance(steps, int) and 0 <= steps < 2**31):
    raise UsageError(f"pipeline: steps of {text!r} is a whole number from 0 on")
  if not 0 < times < 1e6 or ("steps" in options and "times" in options):
    raise UsageError(
      f"pipeline: times of {text!r} is above 0, in the place of steps"
    )
  if not 0 < options.get("rate", 1) < math.inf:
    raise UsageError(f"pipeline: rate of {text!r} is above 0 and finite")


def _number(word: str, text: str) -> float | int:
  try:
    number = float(word)
  except ValueError:
    raise UsageError(f"pipeline: {word!r} of {text!r} is no number") from None
  return int(number) if number.is_integer() and "." not in word else number


def build(step: Step, context: Context) -> Transform:
  """Makes the transform of a step.

  Args:
    step: the step; not a code.
    context: what it needs.

  Returns:
    The transform.

  Raises:
    UsageError: for numbers out of range.
  """
  options = {k: v for k, v in step.options.items() if k not in TRAINING}
  if "on" in options:
    options["include"] = options.pop("on")
  value = step.value
  return KINDS[step.name].make(context, value, options)


def code(steps: Sequence[Step]) -> str:
  """How the result is written: "huffman", "fixed", or "raw" by default."""
  return (
    steps[-1].name if steps and KINDS[steps[-1].name].make is None else "raw"
  )
