import zlib

import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.errors import UsageError
from kd_jax.methods.compression import (
  artifact,
  huffman,
  reading,
  sparse,
  trees,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("width", [1, 3, 4, 8, 11])
def test_fixed_widths_come_back(width):
  symbols = RNG.integers(0, 2**width, 50)
  bits = huffman.fixed(symbols, width)
  assert len(bits) == 50 * width
  np.testing.assert_array_equal(huffman.unfixed(bits, width, 50), symbols)
  with pytest.raises(ValueError, match="do not fit"):
    huffman.fixed(np.array([2**width]), width)


@pytest.mark.parametrize("skew", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("k", [2, 5, 40])
def test_huffmans_mean_length_is_within_a_bit_of_the_entropy(k, skew):
  p = (1 / np.arange(1, k + 1)) ** skew
  symbols = RNG.choice(k, 3000, p=p / p.sum())
  counts = np.bincount(symbols, minlength=k)
  length = huffman.lengths(counts)
  mean = (counts * length).sum() / counts.sum()
  h = huffman.entropy(counts)
  assert h - 1e-9 <= mean < h + 1
  # Kraft with equality: the code is full, so none is shorter.
  used = length[counts > 0].astype(float)
  assert (2.0**-used).sum() == 1
  bits = huffman.encode(symbols, length)
  assert len(bits) == (counts * length).sum()
  noise = np.ones(9, np.uint8)  # What follows in the file is not read.
  back = huffman.decode(np.concatenate([bits, noise]), length, len(symbols))
  np.testing.assert_array_equal(back, symbols)


def test_huffman_of_known_counts():
  # 5 and 1, 1, 2: lengths 1, 3, 3, 2, by hand.
  np.testing.assert_array_equal(huffman.lengths([5, 1, 1, 2]), [1, 3, 3, 2])
  np.testing.assert_array_equal(huffman.canonical(np.array([1, 3, 3, 2])),
                                [0b0, 0b110, 0b111, 0b10])  # fmt: skip


def test_a_single_symbol_takes_no_bits():
  length = huffman.lengths([0, 7])
  assert huffman.encode(np.ones(7, int), length).size == 0
  np.testing.assert_array_equal(
    huffman.decode(np.zeros(0, np.uint8), np.array([0, 0], np.uint8), 0), []
  )


def test_a_stream_that_ends_early_is_noticed():
  symbols = RNG.integers(0, 7, 40)
  length = huffman.lengths(np.bincount(symbols))
  bits = huffman.encode(symbols, length)
  with pytest.raises(ValueError, match=r"damaged|early"):
    huffman.decode(bits[:-4], length, 40)


def gap_loop(flat, width):
  """The plain statement, entry by entry."""
  gaps, symbols, last = [], [], -1
  for place, value in enumerate(flat):
    if value:
      gap = place - last
      while gap > 2**width:
        gaps.append(2**width - 1)
        symbols.append(0)
        gap -= 2**width
      gaps.append(gap - 1)
      symbols.append(value)
      last = place
  return gaps, symbols


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.3, 1.0])
def test_gaps_are_the_loops_and_come_back(width, density):
  flat = RNG.integers(1, 9, 300) * (RNG.random(300) < density)
  entries = sparse.encode(flat, width)
  gaps, symbols = gap_loop(flat, width)
  np.testing.assert_array_equal(entries.gaps, gaps)
  np.testing.assert_array_equal(entries.symbols, symbols)
  np.testing.assert_array_equal(sparse.decode(entries, 300), flat)


def tree(density=0.1):
  w = RNG.normal(size=(40, 30)).astype(np.float32)
  w *= RNG.random(w.shape) < density
  w[3, 4] = -0.0  # Its bits are kept, too.
  codes = RNG.integers(1, 32, (40, 30)) * (RNG.random((40, 30)) < density)
  return {
    "params": {
      "a": {"kernel": w, "bias": np.float32(RNG.normal(size=30))},
      "b": {
        "kernel": {
          "shared": {
            "codes": codes.astype(np.uint8),
            "centroids": np.float32(RNG.normal(size=31)),
          }
        }
      },
      "c": {
        "kernel": {
          "scaled": {
            "q": RNG.integers(-7, 8, (3, 3, 5, 6)).astype(np.int8),
            "scale": np.float32(RNG.random(6)),
          }
        }
      },
      "d": {"kernel": {"hashed": {"table": np.float32(RNG.normal(size=9)),
                                  "seed": np.uint32(7)}}},
    },
    "batch_stats": {"n": {"mean": np.zeros(3, np.float32)}},
  }  # fmt: skip


@pytest.mark.parametrize("code", ["huffman", "fixed", "raw"])
@pytest.mark.parametrize("density", [0.03, 0.5, 1.0])
def test_a_file_comes_back_bit_for_bit(code, density):
  made = tree(density)
  content, report = artifact.encode(made, code)
  back = artifact.decode(content)
  a, b = trees.flatten(made), trees.flatten(back)
  assert a.keys() == b.keys()
  for path, leaf in a.items():
    assert leaf.dtype == b[path].dtype, path
    assert leaf.shape == b[path].shape, path
    assert leaf.tobytes() == b[path].tobytes(), path
  assert report.bytes == len(content)
  assert artifact.bits(content) == report
  # Bits and bytes differ by the header and by each stream's last byte.
  header = 12 + int.from_bytes(content[8:12], "little")
  rest = 8 * (report.bytes - header) - report.total_bits
  assert 0 <= rest < 8 * 2 * len(a)


def test_sizes_count_what_the_paper_counts():
  """nnz_stored (log2 k + g) + 32 k + 32 |bias|."""
  codes = np.zeros((20, 50), np.uint8)
  places = RNG.permutation(1000)[:100]
  codes.ravel()[places] = RNG.integers(1, 32, 100)
  codes.ravel()[places[0]] = 31
  centroids, bias = np.zeros(31, np.float32), np.zeros(50, np.float32)
  shared = {"shared": {"codes": codes, "centroids": centroids}}
  made = {"params": {"a": {"kernel": shared, "bias": bias}}}
  _, report = artifact.encode(made, "fixed", index_bits=4)
  stored = len(gap_loop(codes.ravel(), 4)[0])
  assert report.bits["weights"] == 5 * stored
  assert report.bits["indices"] == 4 * stored
  assert report.bits["codebooks"] == 32 * 31
  assert report.bits["others"] == 32 * 50
  assert report.parameters == 100  # The bias is zero; a codebook is none.
  assert artifact.encode(made, "huffman")[1].bytes <= report.bytes


def test_values_and_indices_are_not_free():
  """Ten per cent non-zeros are no tenth of the size (values and gaps)."""
  w = RNG.normal(size=(100, 100)).astype(np.float32)
  w = np.where(RNG.random(w.shape) < 0.1, w, np.float32(0))
  made = {"params": {"a": {"kernel": w}}}
  dense = artifact.encode(made, "raw")[1]
  for width, most in ((16, 7.2), (4, 9.5)):
    bits = artifact.encode(made, "fixed", index_bits=width)[1].total_bits
    assert 5 < dense.total_bits / bits < most


@pytest.mark.parametrize("cut", [0, 3, 9, 60, -1])
def test_a_damaged_file_is_refused_in_a_line(cut):
  content, _ = artifact.encode(tree())
  with pytest.raises(UsageError, match="no compressed network"):
    artifact.decode(content[:cut])


def test_a_file_with_a_byte_changed_or_added_is_refused():
  content, _ = artifact.encode(tree())
  for place in range(0, len(content), 97):
    changed = bytearray(content)
    changed[place] ^= 4
    with pytest.raises(UsageError, match="no compressed network"):
      artifact.decode(bytes(changed))
  with pytest.raises(UsageError, match="check sum"):
    artifact.decode(content + b"\0")


@pytest.mark.parametrize("header", [b"", b"[]", b'["huffman",null,[["a"]]]'])
def test_a_file_with_another_header_is_refused(header):
  """Of a right check sum: a program wrote it wrong."""
  packed = zlib.compress(header)
  body = len(packed).to_bytes(4, "little") + packed
  content = reading.MAGIC + zlib.crc32(body).to_bytes(4, "little") + body
  with pytest.raises(UsageError, match="no compressed network"):
    artifact.decode(content)
  body += b"more"
  content = reading.MAGIC + zlib.crc32(body).to_bytes(4, "little") + body
  with pytest.raises(UsageError, match="no compressed network"):
    artifact.decode(content)


def test_what_is_written_may_come_from_a_device():
  made = {"params": {"a": {"kernel": jnp.eye(4)}}}
  back = artifact.decode(artifact.encode(made)[0])
  np.testing.assert_array_equal(back["params"]["a"]["kernel"], np.eye(4))
