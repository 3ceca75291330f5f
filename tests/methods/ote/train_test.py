import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kd_jax
from kd_jax import fields
from kd_jax.errors import UsageError
from kd_jax.methods.ote import METHOD, arms, inputs, train

GOES_ON = ("ote_more", "gc_ote")


def start(config, graph, workdir, **more):
  return kd_jax.train(
    METHOD,
    "tiny",
    config=config,
    data={"graph": graph},
    workdir=workdir,
    quiet=True,
    **more,
  )


@pytest.fixture(scope="module")
def programs():
  """Compiled programs that the runs of this file share."""
  return {}


@pytest.fixture(scope="module")
def run(graph, config, programs, tmp_path_factory):
  """A finished run of three arms."""
  config = dataclasses.replace(config, arms=GOES_ON)
  workdir = tmp_path_factory.mktemp("runs") / "run"
  return start(config, graph, workdir, programs=programs)


def test_arms_that_go_on_bring_what_they_go_on_from(run):
  assert {name.split(".")[0] for name in run.metrics} == {"ote", *GOES_ON}
  rows = [r for r in run.rows() if r["kind"] == "eval"]
  assert [r["arm"] for r in rows] == ["ote", "ote_more", "gc_ote"]


def test_a_second_stage_starts_where_the_first_one_ended(run, graph):
  base = run.products["ote.train"]["params"]
  for arm in GOES_ON:
    phase = train.arm_phase(run.config, arm, graph)
    start = phase.init(run.products, np.uint32(0)).params
    for name in ("entity", "relation"):
      for a, b in zip(
        jax.tree.leaves(start[name]), jax.tree.leaves(base[name]), strict=True
      ):
        np.testing.assert_array_equal(a, b)


def test_a_run_stopped_within_an_arm_goes_on_to_the_same_bits(
  run, graph, programs, tmp_path
):

  def stop(event, step):
    if event == "saved":
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    start(run.config, graph, tmp_path, programs=programs, observer=stop)
  again = start(run.config, graph, tmp_path, programs=programs)
  assert again.metrics == run.metrics
  for a, b in zip(
    jax.tree.leaves(again.products), jax.tree.leaves(run.products), strict=True
  ):
    np.testing.assert_array_equal(a, b)


def test_devices_may_share_the_table_from_start_to_end(run, graph, tmp_path):
  config = dataclasses.replace(run.config, arms=("ote",), shard_entities=True)
  shared = start(config, graph, tmp_path)
  table = shared.products["ote.train"]["params"]["entity"]
  whole = run.products["ote.train"]["params"]["entity"]
  assert len(table) == 128
  np.testing.assert_allclose(table[: len(whole)], whole, rtol=0.1, atol=5e-3)
  for name in ("valid_mrr", "test_mrr", "test_mr"):
    np.testing.assert_allclose(
      shared.metrics[f"ote.{name}"], run.metrics[f"ote.{name}"], rtol=0.02
    )


def test_a_run_does_not_go_on_from_another_graph(run, graph):
  other = dataclasses.replace(graph, train=graph.train[::-1].copy())
  assert str(other) != str(graph)
  with pytest.raises(UsageError, match=r"another configuration .*made up"):
    start(run.config, other, run.workdir)


def test_a_folder_that_changes_under_a_run_is_refused(
  config, graph, programs, tmp_path
):
  folder = tmp_path / "facts"
  folder.mkdir()
  for split, triples in graph.splits.items():
    lines = ["\t".join(f"n{x}" for x in row) for row in triples.tolist()]
    (folder / f"{split}.txt").write_text("\n".join(lines))
  dictionary = "".join(f"{i}\tn{i}\n" for i in range(len(graph.entities)))
  (folder / "entities.dict").write_text(dictionary)
  config = dataclasses.replace(config, arms=("ote",), graph=str(folder))
  how = {"config": config, "quiet": True, "programs": programs}

  def stop(event, step):
    if event == "saved":
      raise KeyboardInterrupt

  workdir = tmp_path / "run"
  with pytest.raises(KeyboardInterrupt):
    kd_jax.train(METHOD, "tiny", workdir=workdir, observer=stop, **how)
  text = (folder / "train.txt").read_text()
  (folder / "train.txt").write_text(text.replace("n1\t", "n2\t", 1))
  with pytest.raises(UsageError, match=r"another configuration .*graph"):
    kd_jax.train(METHOD, "tiny", workdir=workdir, **how)
  (folder / "train.txt").write_text(text)
  done = kd_jax.train(METHOD, "tiny", workdir=workdir, **how)
  # Other files of the folder, a run's own say, are no part of it.
  (folder / "notes.md").write_text("not read")
  again = kd_jax.train(METHOD, "tiny", workdir=workdir, **how)
  assert again.metrics == done.metrics
  assert not (workdir / "inputs" / "graph" / "facts" / "notes.md").exists()
  # A copy answers when the folder is gone.
  shutil.rmtree(folder)
  again = kd_jax.api.open_run(workdir, METHOD)
  assert "n3 n1 ?" in again.ask("query", "n3 n1 ?")
  assert done.metrics == kd_jax.evaluate(METHOD, workdir)


@pytest.mark.parametrize(
  ("name", "wanted"),
  [
    ("kinships", {}),
    ("families:50", {}),
    ("here:50", {"graph": "here"}),
    ("a/b.tsv", {"graph": "a/b.tsv"}),
  ],
)
def test_paths_are_told_from_names(config, name, wanted):
  assert train.files(dataclasses.replace(config, graph=name)) == wanted


def test_what_did_best_on_validation_is_kept(run):
  for arm in ("ote", *GOES_ON):
    seen = [
      row["valid_mrr"]
      for row in run.rows()
      if row["kind"] == "epoch" and row["arm"] == arm
    ]
    stage = arms.stage_of(run.config, arm)
    # Before the first step, now and then, and after the last.
    assert len(seen) == stage.steps // stage.valid_every + 1
    np.testing.assert_allclose(
      run.metrics[f"{arm}.valid_mrr"], max(seen), rtol=1e-5
    )


def test_the_last_parameters_can_count_instead(graph, config):
  config = dataclasses.replace(config, keep="last")
  phase = train.arm_phase(config, "ote", graph)
  made = phase.init({}, np.uint32(0))
  assert made.best == {}
  moved = made.replace(params=jax.tree.map(lambda x: x + 1, made.params))
  assert phase.product(moved)["params"] is moved.params


def test_a_finished_run_scores_all_entities_by_itself(run, graph, monkeypatch):
  """The graph is not asked for again: it was given in Python."""
  products = run.products
  monkeypatch.setattr(train.graphs, "load", None)
  monkeypatch.setattr(kd_jax.api.Run, "products", products)
  scores, variables = kd_jax.load(run.workdir, METHOD)
  tails = scores(variables, (graph.test[:, 0], graph.test[:, 1]))
  heads = scores(variables, (graph.test[:, 2], graph.test[:, 1]), side="head")
  assert tails.shape == heads.shape == (len(graph.test), len(graph.entities))
  ranks = []
  everything = graph.known.tolist()
  for triple, *rows in zip(graph.test.tolist(), tails, heads, strict=True):
    for row, (keep, ask) in zip(rows, ((0, 2), (2, 0)), strict=True):
      known = [
        x[ask]
        for x in everything
        if x[1] == triple[1] and x[keep] == triple[keep]
      ]
      row = np.array(row)
      own = row[triple[ask]]
      row[known] = -np.inf
      ranks.append(1 + (row > own).sum())
  found = (1 / np.array(ranks)).mean()
  np.testing.assert_allclose(run.metrics["gc_ote.test_mrr"], found, rtol=1e-4)


def test_the_folder_says_what_ran(run):
  summary = json.loads((run.workdir / "summary.json").read_text())
  assert summary["metrics"].keys() == run.metrics.keys()


def test_seeds_redraw_start_and_order(graph, config):
  phase = train.arm_phase(config, "ote", graph)
  a, b = (phase.init({}, np.uint32(seed)) for seed in (0, 1))
  assert (a.params["entity"] != b.params["entity"]).any()
  step = jax.jit(phase.step)
  a = b.replace(seed=a.seed, params=jax.tree.map(jnp.copy, b.params))
  first, second = (step(s, phase.data)[1]["loss"].total for s in (a, b))
  assert float(first) != float(second)


def test_every_arm_is_described():
  assert set(METHOD.arms) == set(arms.CHANGES)
  assert set(arms.BASES) < set(arms.CHANGES)
  for preset in METHOD.presets.values():
    assert set(preset.arms) <= set(METHOD.arms)


def test_claims_name_what_is_measured(run, config):
  known = {name.split(".", 1)[1] for name in run.metrics}
  known |= {
    f"test_{side}_{place}_{kind}"
    for side in ("heads", "tails")
    for place in inputs.GROUPS
    for kind in ("mrr", "hits10")
  }
  named = set()
  for claim in METHOD.claims:
    for arm, metric in (claim.treatment, claim.baseline):
      assert metric in known
      named.add(arm)
  ran = [
    set(arms.with_bases(names)) for names in METHOD.reproduce_arms.values()
  ]
  assert named <= set.union(*ran)
  # The paper's own sentences are judged at both presets.
  for claim in METHOD.claims:
    if claim.kind == "paper":
      assert all({claim.treatment[0], claim.baseline[0]} <= one for one in ran)
  # No arm of the paper's sentences had more settings than its baseline.
  for preset, tried in METHOD.settings_tried.items():
    assert set(tried) == set(METHOD.reproduce_arms[preset])
    for claim in METHOD.claims:
      if claim.kind == "paper":
        assert tried[claim.baseline[0]] >= tried[claim.treatment[0]]


@pytest.mark.parametrize("preset", METHOD.reproduce_arms)
def test_judged_arms_start_alike_and_differ(preset):
  config = METHOD.presets[preset]
  names = METHOD.reproduce_arms[preset]
  found = [arms.of_arm(config, arm) for arm in names]
  for own in found:
    train.check(own)
  assert len({own.model.init_range for own in found}) == 1
  assert found[0].model.init_range > 0
  # No arm is another one's copy, which a claim would compare with itself.
  firsts = [
    dataclasses.replace(own, arms=(), own=())
    for arm, own in zip(names, found, strict=True)
    if arm not in arms.BASES
  ]
  assert len(set(firsts)) == len(firsts)


def test_the_published_baselines_start_as_their_authors():
  found = {
    arm: arms.of_arm(METHOD.presets["fb15k237"], arm)
    for arm in ("rotate", "distmult", "ote")
  }
  # (gamma + 2) / hidden_dim: 9 and 200 over 1,000 complex, 2,000 real numbers.
  sizes = {arm: own.model.init_range for arm, own in found.items()}
  assert sizes == {"rotate": 0.011, "distmult": 0.101, "ote": 0.01}


def test_plots_show_the_arms_and_refuse_ties(run):
  found = run.plot()
  assert {"arms", "categories", "degrees", "entities"} <= set(found)
  bars = [b.get_height() for b in found["arms"].axes[0].patches]
  wanted = [run.metrics[f"{a}.test_mrr"] for a in ("ote", *GOES_ON)]
  assert bars[:3] == wanted
  worse = {**run.metrics, "ote.test_mrr_optimistic": 1.0}
  collapsed = dataclasses.replace(
    run, summary={**run.summary, "metrics": worse}
  )
  with pytest.raises(UsageError, match="collapsed"):
    METHOD.plots(collapsed)


def test_a_leak_is_seen_in_the_last_parameters(config):
  last, leak = (arms.of_arm(config, f"gc_ote_{a}") for a in ("last", "leak"))
  assert last.keep == leak.keep == "last"
  assert last.model.remove_targets
  wanted = dataclasses.replace(last.model, remove_targets=False)
  assert leak == dataclasses.replace(last, model=wanted)


def test_plain_arms_have_no_context_whatever_the_form(config):
  for form in ("gat_dummy", "mean_self"):
    config = fields.override(config, {"model.context": form})
    assert arms.of_arm(config, "ote").model.context == "none"
    assert arms.of_arm(config, "gc_ote").model.context == form
    assert arms.of_arm(config, "gc_ote_mean").model.context == "mean_self"


def test_an_arms_own_numbers_reach_what_goes_on_from_it(config):
  own = (("ote", "model.width", 12.0), ("gc_ote", "second.margin", 3.0))
  config = dataclasses.replace(config, own=own)
  assert arms.of_arm(config, "ote").model.width == 12
  assert isinstance(arms.of_arm(config, "ote").model.width, int)
  assert arms.of_arm(config, "gc_ote").model.width == 12
  assert arms.of_arm(config, "gc_ote").second.margin == 3.0
  assert arms.of_arm(config, "ote_more").second.margin == config.second.margin
  assert arms.of_arm(config, "rotate").model.width == config.model.width


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"model.context": "none"}, "model.context is none; gc_ote needs one"),
    ({"first.steps": 7}, "even number"),
    ({"first.valid_every": 0}, "keep is best"),
    ({"model.block": 3}, "must divide"),
    ({"model.context": "mean"}, "one of"),
    ({"model.name": "quate"}, "one of"),
    ({"first.learning_rate": 0.0}, "above 0"),
    ({"own": (("otee", "first.margin", 1.0),)}, "otee"),
    ({"own": (("ote", "first.margn", 1.0),)}, "number"),
    ({"own": (("ote", "keep", 1.0),)}, "number"),
  ],
)
def test_wrong_fields_are_refused_before_data_is_read(config, values, message):
  with pytest.raises(UsageError, match=message):
    train.phases(
      fields.override(config, values), {"graph": None}, lambda line: None
    )


def test_an_unknown_role_is_named(config):
  with pytest.raises(UsageError, match="'web'"):
    train.phases(config, {"web": 1}, lambda line: None)
