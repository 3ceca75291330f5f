"""Fields of a configuration from the command line's words.

METHOD and PRESET are parsed by the command; every field of the preset is an
option of the same name ("--data.web", "--learning-rate 0.1"). tyro converts the
values by their types; names are checked here first, so that a misspelt one is
answered with the nearest there is.
"""

import contextlib
import dataclasses
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import tyro

from kd_jax.errors import UsageError
from kd_jax.registry import nearest


def walk(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
  """The leaves of a configuration by dotted name.

  Args:
    config: a dataclass whose fields are values or dataclasses.
    prefix: what to put before each name.

  Yields:
    ("data.web", value) and so on, in the order of the fields.
  """
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if dataclasses.is_dataclass(value):
      yield from walk(value, f"{prefix}{field.name}.")
    else:
      yield f"{prefix}{field.name}", value


ABOVE_0 = 1e-12  # The lower end of numbers that must be above 0.
BELOW_1 = math.nextafter(1.0, 0.0)  # The upper end of those below 1.
MOST = 2**31 - 1  # The upper end of counts, which are int32.
# Of more names the nearest is told, if one is near.
_FEW = 8


def check(
  config: Any,
  choices: Mapping[str, Iterable[Any]],
  ranges: Iterable[tuple[str, float, float]],
) -> None:
  """Checks each field by itself.

  Args:
    config: a configuration. Its floats must be finite, whichever they are.
    choices: what a field may be, by name ("net.name").
    ranges: (name, least, most) of numbers; infinity and the constants above
      are ends, too.

  Raises:
    UsageError: one sentence for the first field that is wrong.
  """
  values = dict(walk(config))
  for name, known in choices.items():
    check_choice(name, values[name], known)
  for name, value in values.items():
    numbers = value if isinstance(value, tuple) else (value,)
    if any(isinstance(v, float) and not math.isfinite(v) for v in numbers):
      raise UsageError(f"{name} is {value}; it must be finite")
  for name, low, high in ranges:
    if not low <= values[name] <= high:
      raise UsageError(
        f"{name} is {values[name]}; it must be "
        f"{_limits(low, high, values[name])}"
      )


def check_choice(name: str, value: Any, known: Iterable[Any]) -> None:
  """Checks that a value is one of those that there are.

  Args:
    name: of the field, for the message.
    value: its value.
    known: what it may be.

  Raises:
    UsageError: one sentence with the choices, or of many with the nearest.
  """
  if value not in (names := list(known)):
    said = f"it is one of {names}"
    if len(names) > _FEW:
      said = nearest(str(value), [str(name) for name in names])
    raise UsageError(f"{name} is {value!r}; {said}")


def _limits(low: float, high: float, value: float) -> str:
  """A range in words: "above 0", "1 to 1,024"."""
  if high == MOST and value > high:
    return f"at most {high:,}"
  least = "above 0" if low == ABOVE_0 else f"at least {low:,}"
  if high in (math.inf, MOST):
    return least
  if high == BELOW_1:
    return f"{least} and below 1"
  if low == ABOVE_0:
    return f"{least}, at most {high:,}"
  return f"{low:,} to {high:,}"


def override(config: Any, values: Mapping[str, Any]) -> Any:
  """Replaces fields by dotted name, from Python.

  Args:
    config: a frozen dataclass.
    values: dotted names to values.

  Returns:
    The new configuration.

  Raises:
    UsageError: for a name that is not a field, or a value of a wrong type.
  """
  known = dict(walk(config))
  for name, value in values.items():
    if name not in known:
      raise UsageError(
        f"there is no field {name!r}; {nearest(name, list(known))}"
      )
    _check_type(name, known[name], value)
    config = _replace(config, name.split("."), value)
  return config


def document(config: Any, name: str) -> str:
  """What a field's line in the "Attributes:" of its dataclass says.

  Args:
    config: the configuration.
    name: the field's dotted name.

  Returns:
    The text in one line, "" if there is none.
  """
  *outer, last = name.split(".")
  for part in outer:
    config = getattr(config, part)
  for cls in type(config).__mro__:
    found = re.search(
      rf"^ +{last}: (.*?)(?=^ +\w+: |\n\n|\Z)",
      cls.__doc__ or "",
      re.MULTILINE | re.DOTALL,
    )
    if found:
      return " ".join(found[1].split())
  return ""


def _check_type(name: str, old: Any, new: Any) -> None:
  """A value from Python must be of the kind that the field holds."""
  kinds = {
    bool: bool,
    int: int,
    float: (int, float),
    str: str,
    tuple: (tuple, list),
  }
  wanted = kinds.get(type(old))
  wrong = wanted is not None and not isinstance(new, wanted)
  if wrong or (isinstance(new, bool) and type(old) in (int, float)):
    shown = " ".join(repr(new).split())
    raise UsageError(f"{name} cannot be {shown}; it is {_kind(old)}")
  if isinstance(old, tuple) and old and not isinstance(old[0], tuple):
    for value in new:
      _check_type(f"each of {name}", old[0], value)


def _replace(config, path, value):
  head, *rest = path
  inner = _replace(getattr(config, head), rest, value) if rest else value
  if isinstance(getattr(config, head), tuple) and isinstance(inner, list):
    inner = tuple(inner)
  return dataclasses.replace(config, **{head: inner})


def parse(config: Any, words: Sequence[str]) -> Any:
  """Replaces fields by the command line's words.

  Args:
    config: the preset.
    words: "--name value ..." or "--name=value".

  Returns:
    The new configuration.

  Raises:
    UsageError: for an unknown name or a value that does not fit, in one line.
  """
  known = {name.replace("_", "-"): value for name, value in walk(config)}
  words = [_spell_out(word, known) for word in words]
  groups = _group(words)
  for name, _ in groups:
    if name not in known:
      raise UsageError(
        f"there is no field --{name}; {nearest(name, list(known))}"
      )
  try:
    return _tyro(config, words)
  except (SystemExit, UsageError):
    for name, values in groups:
      try:
        _tyro(config, [f"--{name}", *values])
      except SystemExit:
        given = " ".join(values) or "nothing"
        raise UsageError(
          f"--{name} cannot be {given!r}; it is {_kind(known[name])}"
        ) from None
    raise


def _spell_out(word: str, known: Mapping[str, Any]) -> str:
  """A record that is made from a file goes by its own name: --teacher FILE."""
  name, equals, value = word.partition("=")
  bare = name[2:].replace("_", "-")
  if name.startswith("--") and bare not in known and f"{bare}.file" in known:
    return f"{name}.file{equals}{value}"
  return word


def _group(words: Sequence[str]) -> list[tuple[str, list[str]]]:
  """The words by option: [("data.web", ["PATH"]), ...]."""
  groups: list[tuple[str, list[str]]] = []
  for word in words:
    if word.startswith("--"):
      name, equals, value = word[2:].partition("=")
      groups.append((name.replace("_", "-"), [value] if equals else []))
    elif groups:
      groups[-1][1].append(word)
    else:
      raise UsageError(
        f"{word!r} is not expected here; fields are --name value"
      )
  return groups


def _kind(value: Any) -> str:
  if isinstance(value, bool):
    return "True or False"
  names = {
    int: "a whole number",
    float: "a number",
    str: "a word",
    tuple: "a list of values",
  }
  kind = names.get(type(value), "a value of its type")
  return f"{kind}, for example {value}"


def _tyro(config: Any, words: Sequence[str]) -> Any:
  try:
    with (
      contextlib.redirect_stdout(io.StringIO()),
      contextlib.redirect_stderr(io.StringIO()),
    ):
      return tyro.cli(
        type(config),
        default=config,
        args=list(words),
        add_help=False,
        config=(tyro.conf.FlagConversionOff,),
      )
  except SystemExit as error:
    # What a configuration's own __post_init__ said, tyro has turned into this.
    cause: BaseException | None = error
    while cause is not None:
      if isinstance(cause, UsageError):
        raise cause from None
      cause = cause.__cause__ or cause.__context__
    raise
