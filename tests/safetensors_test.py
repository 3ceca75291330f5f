"""Files written here by the format's own description, whole and damaged."""

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors_files import packed

from kd_jax import safetensors
from kd_jax.errors import UsageError

_TENSORS = {
  "a": ("F32", np.arange(6, dtype=np.float32).reshape(2, 3) / 7),
  "b.c": ("F16", np.ones((2, 1, 2), np.float16)),
  "n": ("I64", np.array(7)),
  "half": ("BF16", np.asarray(jnp.arange(3, dtype=jnp.bfloat16))),
  "none": ("F32", np.zeros((0, 4), np.float32)),
}


def test_reads_what_is_written(tmp_path):
  path = tmp_path / "w.safetensors"
  path.write_bytes(packed(_TENSORS, {"format": "pt"}))
  got = safetensors.load(path)
  assert set(got) == set(_TENSORS)
  for name, (_, array) in _TENSORS.items():
    assert got[name].dtype == array.dtype
    np.testing.assert_array_equal(got[name], array)
    assert not got[name].flags.writeable


def test_writes_what_it_reads(tmp_path):
  path = tmp_path / "w.safetensors"
  arrays = {name: array for name, (_, array) in _TENSORS.items()}
  safetensors.save(path, arrays)
  got = safetensors.load(path)
  assert list(got) == list(arrays)
  for name, array in arrays.items():
    np.testing.assert_array_equal(got[name], array)
  with pytest.raises(UsageError, match="'z' is complex64"):
    safetensors.save(path, {"z": np.zeros(2, np.complex64)})


@pytest.mark.parametrize(
  ("damage", "match"),
  [
    (lambda c: c[:-4], "is cut short, or damaged, at"),
    (lambda c: c[:40], "is not a .safetensors file, or is cut short"),
    (lambda c: b"", "is not a .safetensors file"),
    (lambda c: b"\x80\x04K\x01." * 9, "is not a .safetensors file"),
    (lambda c: c.replace(b'"F32"', b'"F99"'), "describes 'a' as"),
    (lambda c: c.replace(b"[2, 3]", b"[2, 4]"), "has 24 bytes for 'a'"),
    (lambda c: c.replace(b"[2, 3]", b"[-2,3]"), "damaged, at 'a'"),
    (lambda c: c.replace(b'{"a"', b'{ a"'), "cannot read .*Expecting"),
  ],
)
def test_damaged_files_are_refused(tmp_path, damage, match):
  path = tmp_path / "w.safetensors"
  path.write_bytes(damage(packed(_TENSORS)))
  with pytest.raises(UsageError, match=match) as error:
    safetensors.load(path)
  assert "\n" not in str(error.value)
  with pytest.raises(UsageError, match=r"cannot read .*No such file"):
    safetensors.load(tmp_path / "absent")
