import io

import pytest

from kd_jax.training import progress
from kd_jax.training.progress import Reporter, duration


class Clock:
  now = 0.0

  def monotonic(self):
    return self.now


class Terminal(io.StringIO):
  def isatty(self):
    return True


@pytest.fixture
def clock(monkeypatch):
  fake = Clock()
  monkeypatch.setattr(progress, "time", fake)
  return fake


def test_plain_lines(clock):
  out = io.StringIO()
  reporter = Reporter(out)
  reporter.begin("[1/2] teacher", 100, 10)
  clock.now = 5.0
  reporter.update(20, {"loss": 0.5}, 8)
  assert out.getvalue() == ""  # Not more often than every ten seconds.
  clock.now = 25.0
  reporter.update(60, {"loss": 0.25}, 8)
  # 40 steps in 20 s: 16 examples a second, 40 steps left take 20 s. What came
  # before the first news was compilation.
  line = "[1/2] teacher: step 60/100  loss 0.25  16 examples/s  20 s left\n"
  assert out.getvalue() == line
  clock.now = 34.0
  reporter.update(70, {}, 8)
  reporter.say("news")
  reporter.close()
  assert out.getvalue() == line + "news\n"


def test_a_bar_on_a_terminal(clock):
  out = Terminal()
  reporter = Reporter(out)
  reporter.say("before [any] phase")
  assert out.getvalue() == "before [any] phase\n"  # No bar yet to take away.
  reporter.begin("teacher", 100, 0)
  clock.now = 60.0
  reporter.update(10, {"loss": 0.7}, 1)
  clock.now = 68.0
  reporter.update(50, {"loss": 0.5}, 1)
  reporter._bar.refresh()  # It paints itself ten times a second.
  reporter.say("beside the bar [x]")
  reporter.begin("student", 10, 0)
  reporter.close()
  text = out.getvalue()
  assert "teacher" in text
  assert "50/100  loss 0.5  5 examples/s  10 s left" in text
  assert "beside the bar [x]" in text
  assert "student" in text
  assert text.rstrip().endswith("\x1b[2K")  # The bar is gone.
  reporter.close()


@pytest.mark.parametrize("out", [io.StringIO(), Terminal()])
def test_quiet(clock, out):
  reporter = Reporter(out, quiet=True)
  reporter.begin("a", 10, 0)
  clock.now = 60.0
  reporter.update(5, {}, 1)
  reporter.say("b")
  reporter.close()
  assert out.getvalue() == ""


def test_no_rate_from_the_time_of_compilation(clock):
  out = io.StringIO()
  reporter = Reporter(out)
  reporter.begin("kd3", 100, 0)
  clock.now = 60.0
  reporter.update(1, {"loss": 0.5}, 8)
  assert out.getvalue() == "kd3: step 1/100  loss 0.5\n"


def test_durations():
  assert duration(7.6) == "8 s"
  assert duration(200) == "3 min 20 s"
  assert duration(2 * 3600 + 310) == "2 h 5 min"
