import dataclasses
import math

import matplotlib.figure
import pytest
import toy_tabular

import kd_jax
from kd_jax import report


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("report") / "run"
  return kd_jax.train(
    toy_tabular.METHOD,
    "tiny",
    arms=("constant", "decay"),
    workdir=folder,
    quiet=True,
    samples=60,
    log_every=20,
  )


def test_numbers():
  given = [None, math.nan, 0.123456, 3.0, 99999.4, 123456.7, -0.5]
  expect = ["-", "-", "0.1235", "3", "1e+05", "123,457", "-0.5"]
  assert [report.number(x) for x in given] == expect


def test_render():
  rows = [["[red]a[/red]", "1"], ["b" * 150, "22"]]
  text = report.render("Title", ["name", "value"], rows)
  lines = text.splitlines()
  assert lines[0].strip() == "Title"
  assert "[red]a[/red]" in text
  assert text.replace("\n", "").count("b") == 150  # Folded, not cut.
  assert max(map(len, lines)) <= 118
  assert "\x1b" not in text
  values = [x for x in lines if " 1 " in x or " 22 " in x]
  assert len({x.rindex("│") for x in values}) == 1


def test_the_closing_table(run):
  text = run.table()
  rows = [x for x in text.splitlines() if "│" in x]
  assert len(rows) == 3  # The shared phase has the number too.
  for name, row in zip(["exact", "constant", "decay"], rows, strict=True):
    assert name in row
    assert report.number(run.metrics[f"{name}.test_gap"]) in row
  assert "(the method)" in rows[2]
  assert "a decaying step size" in rows[2]
  assert "gap" in text
  assert str(run.workdir) in text
  assert "cpu x 4" in text


def test_a_column_without_a_number_is_left_out(run):
  more = {"test_gap": "gap", "test_fell": "falls"}
  method = dataclasses.replace(run.method, headline=more)
  wide = dataclasses.replace(run, method=method)
  assert wide.table() == run.table()
  metrics = {**run.metrics, "decay.test_fell": 0.25}
  summary = {**run.summary, "metrics": metrics}
  text = dataclasses.replace(wide, summary=summary).table()
  assert "falls" in text
  assert "0.25" in text


def test_curves_show_the_rows(run):
  figure = report.curves(run.rows(), "loss")
  assert isinstance(figure, matplotlib.figure.Figure)
  (axes,) = figure.axes
  lines = {line.get_label(): line for line in axes.get_lines()}
  assert set(lines) == {"exact", "decay.learn", "constant.learn"}
  expect = [
    (r["step"], r["loss"])
    for r in run.rows()
    if r["kind"] == "train" and r["arm"] == "decay"
  ]
  assert list(zip(*lines["decay.learn"].get_data(), strict=True)) == expect
  empty = report.curves([], "loss")
  assert not empty.axes[0].get_lines()


def test_figures_are_saved(run, tmp_path):
  paths = report.save(
    {"a": report.new_figure(), "b": report.new_figure()}, tmp_path / "x"
  )
  assert [p.name for p in paths] == ["a.png", "b.png"]
  assert all(p.read_bytes()[1:4] == b"PNG" for p in paths)
  assert [p.name for p in report.save_figures(run)] == ["loss.png"]


def test_names_that_the_font_lacks_are_drawn_without_a_word(tmp_path):
  figure = report.new_figure()
  figure.subplots().set_title("\u4eba\x00")
  assert report.save({"a": figure}, tmp_path)[0].exists()


def test_tables_fit_a_narrow_terminal(monkeypatch):
  rows = [["a " * 30, "b " * 30, "1"]]
  monkeypatch.setattr(report, "_width", lambda: 60)
  lines = report.render("T", ["x", "y", "z"], rows).splitlines()
  assert max(map(len, lines)) == 60
  assert all(line == line.rstrip() for line in lines)


def test_the_width_is_the_terminals_if_there_is_one(monkeypatch):
  assert report._width() == 118

  class Terminal:
    def isatty(self):
      return True

  monkeypatch.setattr(report.sys, "stdout", Terminal())
  for columns, width in (("72", 72), ("300", 118)):
    monkeypatch.setenv("COLUMNS", columns)
    assert report._width() == width


@pytest.mark.parametrize(("many", "spread"), [(3, 1000), (12, 10), (12, 1000)])
def test_many_curves_have_their_names_beside_the_axes(many, spread):
  rows = [
    {"kind": "train", "arm": f"a{i}", "phase": "p", "step": step, "loss": loss}
    for i in range(many)
    for step, loss in ((1, 1.0), (2, 1.0 / spread))
  ]
  figure = report.curves(rows, "loss")
  (axes,) = figure.axes
  assert len(axes.lines) == many
  assert (axes.get_legend() is None) == (many > 8)
  assert len(figure.legends) == (many > 8)
  assert axes.get_yscale() == (
    "log" if (many, spread) == (12, 1000) else "linear"
  )
  looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
  assert len(looks) == many
