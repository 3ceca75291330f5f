"""Files from the web: resumed where they broke off, and checked.

A file grows under the name `FILE.part`, beside it `FILE.part.tag` with what the
server calls this version of it (ETag or Last-Modified). A later call asks for
the rest only (HTTP Range, RFC 9110 section 14) and, through If-Range, for the
whole file if it is another version by then. When it is whole and its digest is
right it gets its own name.
"""

import dataclasses
import errno
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from kd_jax.datasets.errors import DataError
from kd_jax.datasets.progress import Say, counting, to_stderr

_CHUNK = 1 << 18
_TRIES = 5  # In a row that bring nothing.
_PAUSE = 1.0  # Seconds, times the tries that brought nothing.
_TIMEOUT = 60  # Seconds without a byte.
_DIGESTS = {64: "sha256", 32: "md5"}


@dataclasses.dataclass(frozen=True)
class Remote:
  """A file on the web.

  Attributes:
    url: where it is.
    size: its length in bytes; 0 where the publisher does not say, and
      then a download that broke off begins anew.
    digest: its SHA-256, or its MD5 where the publisher says no other
      (hexadecimal, told apart by their lengths).
    name: what it is called.
  """

  url: str
  size: int
  digest: str
  name: str


def remotes(text: str) -> list[Remote]:
  """The files of a `checksums.tsv`.

  Args:
    text: lines of URL, size, digest and name with tabs between them.

  Returns:
    The files in the order of the lines.
  """
  lines = [line.split("\t") for line in text.splitlines()]
  return [Remote(url, int(n), digest, name) for url, n, digest, name in lines]


def fetch(remote: Remote, folder: Path, *, say: Say = to_stderr) -> Path:
  """Downloads a file, unless it is there already.

  Args:
    remote: the file.
    folder: where to put it; made if absent.
    say: takes lines of progress.

  Returns:
    The file's path.

  Raises:
    DataError: if it cannot be had, or is not the file that was published.
  """
  path = folder / remote.name
  if path.exists():
    return path
  part = folder / f"{remote.name}.part"
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with counting(
      remote.size, f"fetching {remote.name}", say, size=True
    ) as advance:
      advance(part.stat().st_size if part.exists() else 0)
      _download(remote, part, advance)
  except (OSError, http.client.HTTPException) as error:
    why = " ".join(str(error).split()) or type(error).__name__
    raise DataError(f"cannot fetch {remote.url}: {why}") from None
  wrong = mismatch(part, remote)
  if wrong:
    _forget(part)
    raise DataError(f"{remote.url} {wrong}; it was deleted")
  part.replace(path)
  _tag(part).unlink(missing_ok=True)
  return path


def mismatch(path: Path, remote: Remote) -> str | None:
  """How a file differs from the published one.

  Args:
    path: the file.
    remote: what it should be.

  Returns:
    The difference in words, or None.
  """
  size = path.stat().st_size
  if remote.size and size != remote.size:
    return f"has {size:,} bytes, expected {remote.size:,}"
  kind = _DIGESTS[len(remote.digest)]
  digest = hashlib.new(kind, usedforsecurity=False)
  with path.open("rb") as file:
    while block := file.read(_CHUNK):
      digest.update(block)
  if digest.hexdigest() != remote.digest:
    return f"has {kind} {digest.hexdigest()}, expected {remote.digest}"
  return None


def _download(
  remote: Remote, part: Path, advance: Callable[[int], None]
) -> None:
  """Asks for what is missing until nothing is, or the tries are used up."""
  idle = 0
  while True:
    before = part.stat().st_size if part.exists() else 0
    if remote.size and before == remote.size:
      return
    try:
      for gained in _receive(remote, part, before):
        advance(gained)
      return
    except urllib.error.HTTPError:
      raise
    except (OSError, http.client.HTTPException) as error:
      after = part.stat().st_size if part.exists() else 0
      idle = idle + 1 if after <= before else 0
      # What the disk refuses, another try will not write.
      full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
      if idle == _TRIES or full:
        raise
      time.sleep(_PAUSE * idle)


def _receive(remote: Remote, part: Path, have: int) -> Iterator[int]:
  """One request; yields how many bytes the file grew by, or lost (< 0)."""
  request = urllib.request.Request(
    remote.url, headers={"User-Agent": "kd-jax", "Accept-Encoding": "identity"}
  )
  tag = _tag(part)
  if have and have < remote.size and tag.exists():
    request.add_header("Range", f"bytes={have}-")
    request.add_header("If-Range", tag.read_text())
  with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
    resumed = answer.status == 206
    if resumed:
      _check_range(answer.headers.get("Content-Range", ""), have)
    else:
      _keep_tag(tag, answer.headers)
      yield -have
    with part.open("ab" if resumed else "wb") as file:
      while block := answer.read(_CHUNK):
        file.write(block)
        yield len(block)
    length = answer.headers.get("Content-Length")
  expected = (have if resumed else 0) + int(length or 0)
  if length and part.stat().st_size < expected:
    raise http.client.IncompleteRead(b"", expected - part.stat().st_size)


def _check_range(said: str, have: int) -> None:
  if not said.startswith(f"bytes {have}-"):
    raise http.client.HTTPException(
      f"the server sent {said!r} when asked for bytes from {have}"
    )


def _tag(part: Path) -> Path:
  return part.with_name(f"{part.name}.tag")


def _keep_tag(tag: Path, headers) -> None:
  """Remembers the version, if the server has a word for it."""
  version = headers.get("ETag") or headers.get("Last-Modified")
  if version and not version.startswith("W/"):  # A weak tag names no bytes.
    tag.write_text(version)
  else:
    tag.unlink(missing_ok=True)


def _forget(part: Path) -> None:
  for path in (part, _tag(part)):
    if path.exists():
      os.unlink(path)
