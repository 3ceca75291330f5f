"""Downloads from a server on this machine: broken off, resumed, changed."""

import dataclasses
import errno
import hashlib
import http.server
import threading

import pytest

from kd_jax.datasets import catalog, downloads
from kd_jax.datasets.errors import DataError

_CONTENT = bytes(range(256)) * 4096  # One mebibyte.


def _hush(line):
  del line


class _Server(http.server.ThreadingHTTPServer):
  """Serves `content` at any path; records what was asked for."""

  content = _CONTENT
  etag = '"one"'
  ranges = True
  cut: list[int] = []  # noqa: RUF012
  status = 200

  def __init__(self):
    super().__init__(("127.0.0.1", 0), _Handler)
    self.asked = []
    self.cut = []

  @property
  def url(self):
    return f"http://127.0.0.1:{self.server_port}/data.bin"


class _Handler(http.server.BaseHTTPRequestHandler):
  def log_message(self, format, *args):
    del format, args

  def do_GET(self):
    server = self.server
    wanted = self.headers.get("Range")
    server.asked.append(wanted)
    if server.status != 200:
      self.send_error(server.status)
      return
    start = 0
    # A part is sent only of the version that is asked for.
    if wanted and server.ranges and self.headers["If-Range"] == server.etag:
      start = int(wanted.removeprefix("bytes=").rstrip("-"))
    body = server.content[start:]
    self.send_response(206 if start else 200)
    if start:
      end = len(server.content)
      self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
    self.send_header("Content-Length", str(len(body)))
    if server.etag:
      self.send_header("ETag", server.etag)
    self.end_headers()
    # Break off after so many bytes.
    self.wfile.write(body[: server.cut.pop(0)] if server.cut else body)


@pytest.fixture
def server(monkeypatch):
  monkeypatch.setenv("no_proxy", "127.0.0.1")
  monkeypatch.setattr(downloads, "_CHUNK", 1 << 14)
  monkeypatch.setattr(downloads, "_PAUSE", 0.0)
  one = _Server()
  thread = threading.Thread(
    target=one.serve_forever, kwargs={"poll_interval": 0.01}
  )
  thread.start()
  yield one
  one.shutdown()
  thread.join()
  one.server_close()


def _remote(server, content=_CONTENT, kind="sha256"):
  digest = hashlib.new(kind, content).hexdigest()
  return downloads.Remote(server.url, len(content), digest, "data.bin")


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_fetches_once(server, tmp_path, kind):
  said = []
  remote = _remote(server, kind=kind)
  path = downloads.fetch(remote, tmp_path / "new", say=said.append)
  assert path.read_bytes() == _CONTENT
  assert [p.name for p in path.parent.iterdir()] == ["data.bin"]
  assert said == [
    "fetching data.bin: 1.0 MB to do",
    "fetching data.bin: done",
  ]
  downloads.fetch(remote, tmp_path / "new", say=said.append)
  assert server.asked == [None]


def test_goes_on_where_it_broke_off(server, tmp_path):
  """Within a call, as long as each request brings something."""
  server.cut = [100_000, 50_000, 70_000, 1, 2, 3, 4]
  path = downloads.fetch(_remote(server), tmp_path, say=_hush)
  assert path.read_bytes() == _CONTENT
  starts = [0, 100_000, 150_000, 220_000, 220_001, 220_003, 220_006, 220_010]
  assert server.asked == [None, *(f"bytes={s}-" for s in starts[1:])]


def test_a_later_call_goes_on(server, tmp_path):
  server.cut = [300_000] + [0] * downloads._TRIES
  with pytest.raises(
    DataError, match=r"cannot fetch http://127\.0\.0\.1"
  ) as error:
    downloads.fetch(_remote(server), tmp_path, say=_hush)
  assert "\n" not in str(error.value)
  assert (tmp_path / "data.bin.part").stat().st_size == 300_000
  server.asked.clear()
  path = downloads.fetch(_remote(server), tmp_path, say=_hush)
  assert path.read_bytes() == _CONTENT
  assert server.asked == ["bytes=300000-"]
  assert [p.name for p in tmp_path.iterdir()] == ["data.bin"]


def test_a_size_that_is_not_stated(server, tmp_path):
  """What broke off begins anew, and the digest says whether it is whole."""
  server.cut = [300_000]
  remote = dataclasses.replace(_remote(server, kind="md5"), size=0)
  path = downloads.fetch(remote, tmp_path, say=_hush)
  assert path.read_bytes() == _CONTENT
  assert server.asked == [None, None]
  other = dataclasses.replace(remote, digest="0" * 32, name="other.bin")
  with pytest.raises(DataError, match=r"has md5 .* expected 000"):
    downloads.fetch(other, tmp_path, say=_hush)


def test_another_version_starts_anew(server, tmp_path):
  server.cut = [300_000] + [0] * downloads._TRIES
  with pytest.raises(DataError, match="cannot fetch"):
    downloads.fetch(_remote(server), tmp_path, say=_hush)
  server.content, server.etag = _CONTENT[::-1], '"two"'
  path = downloads.fetch(_remote(server, _CONTENT[::-1]), tmp_path, say=_hush)
  assert path.read_bytes() == _CONTENT[::-1]


@pytest.mark.parametrize(("ranges", "etag"), [(False, '"one"'), (True, None)])
def test_a_server_that_cannot_resume(server, tmp_path, ranges, etag):
  server.ranges, server.etag, server.cut = ranges, etag, [300_000]
  path = downloads.fetch(_remote(server), tmp_path, say=_hush)
  assert path.read_bytes() == _CONTENT
  # Without a word for the version nothing says that the rest belongs to it.
  assert server.asked == [None, "bytes=300000-" if etag else None]


def test_a_wrong_digest_is_refused_and_not_kept(server, tmp_path):
  server.content = _CONTENT[::-1]
  with pytest.raises(
    DataError, match=r"has sha256 .*, expected .* was deleted"
  ):
    downloads.fetch(_remote(server), tmp_path, say=_hush)
  assert not list(tmp_path.iterdir())


def test_a_wrong_size_is_refused(server, tmp_path):
  server.content = _CONTENT + b"more"
  with pytest.raises(
    DataError, match="has 1,048,580 bytes, expected 1,048,576"
  ):
    downloads.fetch(_remote(server), tmp_path, say=_hush)


def test_an_answer_of_another_range_is_refused(server, tmp_path, monkeypatch):
  server.cut = [300_000]
  monkeypatch.setattr(downloads, "_TRIES", 1)
  send = _Handler.send_header

  def shifted(self, key, value):
    send(self, key, "bytes 5-9/10" if key == "Content-Range" else value)

  monkeypatch.setattr(_Handler, "send_header", shifted)
  with pytest.raises(DataError, match="sent 'bytes 5-9/10' when asked"):
    downloads.fetch(_remote(server), tmp_path, say=_hush)
  assert (tmp_path / "data.bin.part").stat().st_size == 300_000


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_said_at_once(server, tmp_path, status):
  server.status = status
  with pytest.raises(DataError, match=f"HTTP Error {status}"):
    downloads.fetch(_remote(server), tmp_path, say=_hush)
  assert len(server.asked) == 1


def test_a_full_disk_is_said_at_once(server, tmp_path, monkeypatch):
  calls = []

  def full(remote, part, have):
    calls.append(have)
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(downloads, "_receive", full)
  with pytest.raises(DataError, match="No space left on device"):
    downloads.fetch(_remote(server), tmp_path, say=_hush)
  assert calls == [0]


def test_a_folder_that_cannot_be_made(server, tmp_path):
  (tmp_path / "file").write_text("not a folder")
  with pytest.raises(DataError, match=r"cannot fetch .*: .*file"):
    downloads.fetch(_remote(server), tmp_path / "file", say=_hush)


def test_build_says_how_to_bring_the_files_by_hand(server, data, monkeypatch):
  server.status = 403
  builder = type(catalog.builder("imagenet32"))
  monkeypatch.setattr(builder, "remotes", lambda self: [_remote(server)])
  with pytest.raises(
    DataError, match=r"403.*; with a browser, .* --manual-dir"
  ):
    catalog.build("imagenet32", say=_hush)


def test_build_fetches(server, data, monkeypatch):
  import official_files

  by_split, _ = official_files.SIZES["cifar10"]
  builder = type(catalog.builder("cifar10"))
  content = official_files.files("cifar10")["cifar-10-binary.tar.gz"]
  server.content = content
  remote = _remote(server, content)
  remote = downloads.Remote(
    remote.url, remote.size, remote.digest, "cifar-10-binary.tar.gz"
  )
  monkeypatch.setattr(builder, "remotes", lambda self: [remote])
  monkeypatch.setattr(builder, "SIZES", by_split)
  said = []
  catalog.build("cifar10", say=said.append)
  assert catalog.is_built(catalog.builder("cifar10"))
  assert "fetching cifar-10-binary.tar.gz: done" in said
  kept = data / "downloads" / "kd_jax_cifar10" / "cifar-10-binary.tar.gz"
  assert kept.read_bytes() == content
