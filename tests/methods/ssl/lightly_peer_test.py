"""lightly beside ours: what is refused; its losses, where it is installed."""

import sys

import numpy as np
import pytest

from kd_jax.methods.ssl import lightly_peer


def images(path, side=32, channels=3, count=8):
  shape = (count, side, side, channels)
  one = {"image": np.zeros(shape, np.uint8), "label": np.arange(count) % 2}
  np.savez(
    path, **{f"{s}_{k}": v for s in ("train", "test") for k, v in one.items()}
  )
  return str(path)


@pytest.mark.parametrize(
  ("words", "said"),
  [
    (["FILE", "moco"], "invalid choice"),
    (["nowhere.npz", "byol"], "there is no file"),
    (["GREY", "byol"], "expected (32, 32, 3)"),
    (["FILE", "byol", "--batch-size", "9"], "batch_size is 9; there are 8"),
    (["FILE", "byol", "--epochs", "0"], "epochs is 0"),
    (["FILE", "byol", "--every", "0"], "every is 0"),
    (["FILE", "byol", "simclr", "--runs", "0"], "runs is 0"),
    (["FILE", "byol", "--batch-size", "4", "--json", "no/r.json"], "no file"),
    (["FILE", "byol", "--batch-size", "4", "--json", "."], "no file"),
    (["FILE", "byol", "--workers", "-1"], "workers and warmup"),
  ],
)
def test_what_is_refused(tmp_path, capsys, words, said):
  places = {
    "FILE": images(tmp_path / "a.npz"),
    "GREY": images(tmp_path / "b.npz", 8, 1),
  }
  with pytest.raises(SystemExit, match="2"):
    lightly_peer.main([places.get(word, word) for word in words])
  assert said in capsys.readouterr().err


def test_without_lightly(tmp_path, capsys, monkeypatch):
  monkeypatch.setitem(sys.modules, "lightly", None)
  with pytest.raises(SystemExit, match="2"):
    lightly_peer.main([images(tmp_path / "a.npz"), "byol", "--batch-size", "4"])
  assert "pip install lightly torchvision" in capsys.readouterr().err


@pytest.mark.parametrize("arm", lightly_peer.RATES)
def test_its_losses_have_gradients(arm):
  pytest.importorskip("lightly")
  torch = pytest.importorskip("torch")
  module = lightly_peer.make_module(arm).train()
  loss = module(torch.randn(8, 3, 32, 32), torch.randn(8, 3, 32, 32))
  loss.backward()
  assert torch.isfinite(loss)
  assert all(p.grad is not None for p in module.parameters() if p.requires_grad)
