import dataclasses
import json
import math
import statistics

import numpy as np
import pytest
import toy_seeds
import toy_tabular

from kd_jax import api, reproduction, verdict
from kd_jax.errors import UsageError
from kd_jax.experiment import Claim
from kd_jax.reproduction import reproduce

CLAIM = Claim("a", "s", "sanity", ("x", "m"), ("y", "m"))


def test_interval_by_hand():
  d = [1.0, 2.0, 4.0, 5.0, 8.0]
  # Student's t for 4 degrees of freedom, from a printed table.
  half = 2.776445 * statistics.stdev(d) / math.sqrt(5)
  low, high = verdict.interval(d)
  assert low == pytest.approx(4 - half, rel=1e-6)
  assert high == pytest.approx(4 + half, rel=1e-6)
  two = verdict.interval([0.0, 2.0])
  assert two == pytest.approx((1 - 12.7062, 1 + 12.7062), rel=1e-5)
  assert verdict.interval([3.0, 3.0, 3.0]) == (3.0, 3.0)
  assert verdict.interval([3.0]) == (-math.inf, math.inf)


@pytest.mark.parametrize(
  ("x", "y", "how", "expect"),
  [
    ([3, 4, 5], [1, 2, 3.1], {}, "holds"),
    ([3, 4, 5], [1, 2, 3.1], {"sign": -1}, "fails"),
    ([3, 4, 5], [1, 2, 3.1], {"margin": 1.9}, "undecided"),
    ([3, 4, 5], [1, 2, 3.1], {"margin": 2.5}, "fails"),
    ([1, 5, 3], [2, 1, 4], {}, "undecided"),
    ([1, 1, 1], [1, 1, 1], {}, "undecided"),
    ([3, 4, 5], [1, math.nan, 3], {}, "undecided"),
  ],
)
def test_verdicts(x, y, how, expect):
  claim = dataclasses.replace(CLAIM, **how)
  entry = verdict.decide(claim, {("x", "m"): x, ("y", "m"): y}, {"x": 4})
  assert entry["verdict"] == expect
  if math.nan in y:
    assert entry["diff"] is None
    assert entry["ci95"] == [None, None]
    return
  sign = how.get("sign", 1)
  differences = [sign * (a - b) for a, b in zip(x, y, strict=True)]
  assert entry["diff"] == pytest.approx(np.mean(differences))
  assert entry["arms"]["x.m"]["settings_tried"] == 4
  assert entry["arms"]["y.m"]["settings_tried"] == 1
  assert entry["arms"]["y.m"]["values"] == y
  assert entry["arms"]["y.m"]["sd"] == pytest.approx(np.std(y, ddof=1))


def test_a_number_is_a_baseline():
  claim = dataclasses.replace(CLAIM, baseline=2.0)
  entry = verdict.decide(claim, {("x", "m"): [3, 4, 5]}, {})
  assert entry["diff"] == 2.0
  half = 4.302653 / math.sqrt(3)
  assert entry["ci95"] == pytest.approx([2 - half, 2 + half], rel=1e-5)
  assert entry["verdict"] == "undecided"
  assert list(entry["arms"]) == ["x.m"]


CLAIM_FIELDS = [
  "name",
  "statement",
  "kind",
  "scale",
  "published",
  "arms",
  "margin",
  "diff",
  "ci95",
  "verdict",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("reproduce") / "r"


@pytest.fixture(scope="module")
def tabular(folder):
  return reproduce(
    toy_tabular.METHOD, seeds=3, workdir=folder, quiet=True, samples=400
  )


def test_claim_json(tabular, folder):
  found = json.loads((folder / "claim.json").read_text())
  assert list(found) == [
    "method",
    "preset",
    "seeds",
    "minutes",
    "device",
    "claims",
  ]
  assert found["seeds"] == [1000, 1001, 1002]
  (claim,) = found["claims"]
  assert list(claim) == CLAIM_FIELDS
  assert claim == tabular.claims[0]
  assert list(claim["arms"]) == ["decay.test_gap", "constant.test_gap"]
  arm = claim["arms"]["decay.test_gap"]
  assert list(arm) == ["metric", "values", "mean", "sd", "settings_tried"]
  runs = [api.open_run(folder / f"seed-{s}") for s in found["seeds"]]
  assert arm["values"] == [r.metrics["decay.test_gap"] for r in runs]
  assert len(set(arm["values"])) == 3
  assert [r.config.seed for r in runs] == found["seeds"]
  minutes = sum(r.summary["wall_s"] for r in runs) / 60
  assert found["minutes"] == pytest.approx(minutes)
  other = claim["arms"]["constant.test_gap"]["values"]
  # Smaller is better: the difference is turned around.
  assert claim["diff"] == pytest.approx(np.mean(other) - arm["mean"])
  assert claim["verdict"] in tabular.text
  assert (folder / "claims.txt").read_text() == tabular.text
  assert (folder / "claims.png").read_bytes()[1:4] == b"PNG"
  assert f"{arm['mean']:.4f} ± {arm['sd']:.4f}" in tabular.text


def test_nothing_finished_runs_again(tabular, folder, monkeypatch):
  stamps = {p: p.stat().st_mtime_ns for p in folder.glob("seed-*/summary.json")}
  assert len(stamps) == 3
  started = []
  execute = api.running.execute

  def watched(config, *args, **how):
    started.append(config.seed)
    return execute(config, *args, **how)

  monkeypatch.setattr(api.running, "execute", watched)
  again = reproduce(
    toy_tabular.METHOD, seeds=4, workdir=folder, quiet=True, samples=400
  )
  assert started == [1003]
  assert all(p.stat().st_mtime_ns == t for p, t in stamps.items())
  values = again.claims[0]["arms"]["decay.test_gap"]["values"]
  assert values[:3] == tabular.claims[0]["arms"]["decay.test_gap"]["values"]
  assert len(values) == 4


def test_seeds_in_one_run(tmp_path, capsys):
  found = reproduce(toy_seeds.METHOD, seeds=6, workdir=tmp_path)
  (claim,) = found.claims
  assert claim["verdict"] == "holds"
  run = api.open_run(tmp_path / "all")
  assert run.config.seeds == 6
  arms = claim["arms"]
  assert arms["search.best"]["values"] == run.summary["per_seed"]["search.best"]
  assert len(arms["search.slowest"]["values"]) == 6
  assert "toy_seeds small: 6 seeds x 1 arms (search)" in capsys.readouterr().err


def test_an_eta_comes_first(capsys, tmp_path):
  method = dataclasses.replace(toy_tabular.METHOD, minutes={"tiny": 2})
  reproduce(method, "tiny", seeds=2, workdir=tmp_path, samples=20)
  lines = capsys.readouterr().err.splitlines()
  assert lines[0] == (
    "toy_tabular tiny: 2 seeds x 2 arms (decay, constant), about 4 min 0 s on "
    "two CPU cores"
  )
  assert lines[1] == f"toy_tabular tiny in {tmp_path / 'seed-1000'}"
  assert lines[2].startswith("seed 1000 done, 1/2; ")
  assert "everything is in" in lines[-1]


def test_seeds_begin_where_they_are_told_to(tmp_path):
  how = {"seeds": 2, "first_seed": 7, "quiet": True, "samples": 20}
  reproduce(toy_tabular.METHOD, "tiny", workdir=tmp_path, **how)
  claim = json.loads((tmp_path / "claim.json").read_text())
  assert claim["seeds"] == [7, 8]
  assert api.open_run(tmp_path / "seed-8", toy_tabular.METHOD).config.seed == 8


def test_claims_of_arms_that_did_not_run_are_left_out(tmp_path):
  how = {"seeds": 2, "workdir": tmp_path, "quiet": True, "samples": 20}
  found = reproduce(toy_tabular.METHOD, "tiny", arms=("decay",), **how)
  assert list(found.claims) == []
  assert "decay" in found.text


def test_a_preset_may_have_arms_and_settings_of_its_own(tmp_path):
  arms = {"small": ("decay", "constant"), "tiny": ("decay",)}
  tried = {"small": {"decay": 3, "constant": 3}}
  method = dataclasses.replace(
    toy_tabular.METHOD, reproduce_arms=arms, settings_tried=tried
  )
  how = {"seeds": 2, "quiet": True, "samples": 20}
  tiny = reproduce(method, "tiny", workdir=tmp_path / "tiny", **how)
  small = reproduce(method, workdir=tmp_path / "small", **how)
  assert not tiny.claims
  both = reproduce(
    method, "tiny", workdir=tmp_path / "both", arms=arms["small"], **how
  )
  for found, wanted in ((small, 3), (both, 1)):
    for arm in found.claims[0]["arms"].values():
      assert arm["settings_tried"] == wanted


def test_bad_use(tmp_path):
  with pytest.raises(UsageError, match="at least 2"):
    reproduce(toy_tabular.METHOD, seeds=1, workdir=tmp_path / "a")
  silent = dataclasses.replace(toy_tabular.METHOD, claims=())
  with pytest.raises(UsageError, match="states no claims"):
    reproduce(silent, workdir=tmp_path / "a")
  assert not (tmp_path / "a").exists()
  assert reproduction.FIRST_SEED == 1000
