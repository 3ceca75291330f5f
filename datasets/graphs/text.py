"""Text files of triples and dictionaries, read strictly.

A file of triples is UTF-8 text with `head<TAB>relation<TAB>tail` in each line,
names as they are written, and no header. A dictionary has `number<TAB>name`,
the numbers from 0 on in any order. Lines end in LF or CRLF, the last one may
end without; a byte order mark is skipped. All else that is not such a line is
an error that names the file and the line: an empty line, another number of
columns, a name that is empty or has spaces around it, bytes that are not UTF-8.
"""

import dataclasses
import gzip
import zlib
from pathlib import Path

from kd_jax.datasets.errors import DataError

Triple = tuple[str, str, str]


@dataclasses.dataclass(frozen=True)
class Text:
  """A file's content, and what to call it.

  Attributes:
    where: its path or another name, for messages.
    content: its bytes, decompressed.
  """

  where: str
  content: bytes


def open_text(path: Path) -> Text:
  """Reads a file, decompressed if its name ends in ".gz".

  Args:
    path: the file.

  Returns:
    The text.

  Raises:
    DataError: if it cannot be read or is not whole.
  """
  try:
    content = path.read_bytes()
    if path.suffix == ".gz":
      content = gzip.decompress(content)
  # What a broken gzip file raises, by where it breaks.
  except (OSError, EOFError, zlib.error) as error:
    raise DataError(f"cannot read {path}: {error}") from None
  return Text(str(path), content)


def triples(text: Text) -> list[Triple]:
  """The lines of a file of triples; the i-th is line i + 1.

  Args:
    text: the file.

  Returns:
    Head, relation and tail by name.

  Raises:
    DataError: names the line.
  """
  return [_columns(text, n, line, 3) for n, line in _lines(text)]


def dictionary(text: Text) -> tuple[str, ...]:
  """The names of a dictionary, in the order of their numbers.

  Args:
    text: the file.

  Returns:
    The names.

  Raises:
    DataError: names the line.
  """
  rows = [(n, *_columns(text, n, line, 2)) for n, line in _lines(text)]
  names: dict[int, str] = {}
  lines: dict[str, int] = {}
  for n, number, name in rows:
    place = _number(text, n, number, len(rows))
    if place in names:
      raise DataError(
        f"{text.where}, line {n}: the number {place} is that of "
        f"{names[place]!r} already, line {lines[names[place]]}"
      )
    if name in lines:
      raise DataError(
        f"{text.where}, line {n}: the name {name!r} is in line {lines[name]} "
        "already"
      )
    names[place], lines[name] = name, n
  return tuple(names[i] for i in range(len(rows)))


def _lines(text: Text) -> list[tuple[int, str]]:
  try:
    whole = text.content.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    line = text.content.count(b"\n", 0, error.start) + 1
    raise DataError(
      f"{text.where}, line {line}: byte {error.start} is not UTF-8"
    ) from None
  # Not splitlines, which would break names at U+2028 and the like.
  lines = whole.removesuffix("\n").split("\n")
  if not whole.strip():
    raise DataError(f"{text.where} is empty")
  return list(enumerate((line.removesuffix("\r") for line in lines), start=1))


def _columns(text: Text, n: int, line: str, count: int) -> tuple[str, ...]:
  columns = tuple(line.split("\t"))
  if len(columns) != count:
    if not line.strip():
      raise DataError(f"{text.where}, line {n} is empty")
    hint = "" if "\t" in line else " (tabs separate them, not spaces)"
    raise DataError(
      f"{text.where}, line {n} has {len(columns)} "
      f"column{'s' if len(columns) > 1 else ''}, expected {count}{hint}"
    )
  for place, name in enumerate(columns, start=1):
    if name != name.strip() or not name:
      what = (
        f"is {name!r}, with spaces around it" if name.strip() else "is empty"
      )
      raise DataError(f"{text.where}, line {n}: column {place} {what}")
  return columns


def _number(text: Text, n: int, number: str, count: int) -> int:
  # isascii: isdecimal alone takes digits of every script.
  if number.isascii() and number.isdecimal() and int(number) < count:
    return int(number)
  raise DataError(
    f"{text.where}, line {n}: {number!r} is not a number from 0 to "
    f"{count - 1}, as {count} lines have"
  )
