"""Bytes of .safetensors files, from the format's description."""

import json

import numpy as np


def packed(tensors, metadata=None):
  """A file's bytes: {name: (type's name, array)}."""
  header, body = {}, b""
  for name, (kind, array) in tensors.items():
    raw = np.asarray(array).tobytes()
    offsets = [len(body), len(body) + len(raw)]
    shape = list(np.shape(array))
    header[name] = {"dtype": kind, "shape": shape, "data_offsets": offsets}
    body += raw
  if metadata:
    header["__metadata__"] = metadata
  text = json.dumps(header).encode()
  text += b" " * (-len(text) % 8)
  return len(text).to_bytes(8, "little") + text + body
