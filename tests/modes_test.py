import json

import jax
import pytest
import toy_seeds

from kd_jax import modes
from kd_jax.errors import UsageError


def test_every_mode_on_every_count(tmp_path):
  said = []
  rows = modes.compare(
    toy_seeds.METHOD,
    counts=(1, 4, 64),
    seconds=0.05,
    json_file=tmp_path / "m.json",
    say=said.append,
  )
  assert [(r["devices"], r["mode"]) for r in rows] == [
    (n, mode) for n in (1, 4) for mode in ("jit", "pmap", "shard_map")
  ]
  assert "there are no 64 devices" in said
  for row in rows:
    assert 0 < row["step_ms_p50"] <= row["step_ms_p90"]
    assert row["compile_s"] > 0
    assert row["bytes_per_device"] > 0
  assert json.loads((tmp_path / "m.json").read_text()) == rows
  text = modes.table(rows)
  assert text.count("shard_map") == 2
  assert f"{rows[-1]['step_ms_p50']:.2f}" in text


def test_a_cpu_is_asked_for_host_devices(monkeypatch):
  asked = []
  monkeypatch.setattr(
    jax.config, "update", lambda name, value: asked.append((name, value))
  )
  monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
  modes._host_devices(4)
  assert asked == []
  monkeypatch.delenv("XLA_FLAGS")
  modes._host_devices(4)
  assert asked == [("jax_num_cpu_devices", 4)]


def test_too_late_for_devices_is_no_error(monkeypatch):
  monkeypatch.delenv("XLA_FLAGS")
  modes._host_devices(len(jax.devices()))
  assert jax.devices()


@pytest.mark.parametrize("name", ["kd3", "ote"])
def test_the_first_case_is_a_training_step(name):
  ((found, case),) = modes._first(modes.throughput.cases(name))
  assert found == name
  assert "step" in case.name


def test_a_method_has_to_be_named():
  with pytest.raises(UsageError, match="name a method"):
    modes.compare([])
