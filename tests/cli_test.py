import dataclasses
import json
import shutil
import subprocess
import sys

import processes
import pytest
import toy_tabular

import kd_jax
from kd_jax import api, cli, fields
from kd_jax.errors import UsageError

TINY = ["train", "toy_tabular", "tiny"]


def run(capsys, *words):
  """Exit code, stdout and stderr of the command."""
  with pytest.raises(SystemExit) as stopped:
    cli.main([str(w) for w in words])
  return stopped.value.code, *capsys.readouterr()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  folder = tmp_path_factory.mktemp("finished") / "run"
  api.train("toy_tabular", "tiny", workdir=folder, quiet=True, samples=50)
  return folder


BAD = {
  "verb": ("trian toy_tabular", "no verb 'trian'; there is: list, train"),
  "no method": ("train", "a name is missing"),
  "method": ("train toy_tabluar", "did you mean 'toy_tabular'?"),
  "preset": ("train toy_tabular tiyn", "did you mean 'tiny'?"),
  "far preset": ("train toy_tabular xxx", "there is: small, tiny"),
  "third name": ("train toy_tabular tiny more", "'more' is not expected"),
  "field": ("train toy_tabular --sampels 9", "did you mean 'samples'?"),
  "type": ("train toy_tabular --samples x", "a whole number, for example"),
  "fraction": ("train toy_tabular --samples 1.5", "cannot be '1.5'"),
  "value": ("train toy_tabular --samples", "cannot be 'nothing'"),
  "two values": ("train toy_tabular --samples 1 2", "cannot be '1 2'"),
  "tuple": ("train toy_seeds --rates 0.1 x", "a list of values"),
  "bool": ("train toy_net --stream maybe", "it is True or False"),
  "bare bool": ("train toy_net --stream", "it is True or False"),
  "flag": ("train toy_tabular --quiet=no", "--quiet takes no value"),
  "dash": ("train toy_tabular -s 1", "'-s' is not expected here"),
  "workdir": ("train toy_tabular --workdir", "--workdir needs a value"),
  "two": ("train toy_tabular --workdir --quiet", "--workdir needs a value"),
  "arm": ("train toy_tabular --arms decya", "did you mean 'decay'?"),
  "log": ("train toy_tabular --log-every 0", "log_every is 0; it must be at"),
  "log-": ("train toy_tabular --log-every=-5", "log_every is -5; it must be"),
  "save": ("train toy_tabular --save-every -1", "save_every is -1"),
  "eval": ("train toy_tabular --eval-every -1", "eval_every is -1"),
  "seed": ("train toy_tabular --seed -1", "seed is -1"),
  "large seed": ("train toy_tabular --seed 4294967296", "below 2**32"),
  "evaluate": ("evaluate toy_tabular", "runs holds no finished run of toy_tab"),
  "evaluate what": ("evaluate", "a name is missing"),
  "evaluate who": ("evaluate toy_tabluar", "did you mean 'toy_tabular'?"),
  "no answer": ("evaluate toy_net --policy", "'--policy' is not expected"),
  "an answer to what": ("evaluate toy_tabular --best", "--best needs a value"),
  "evaluate field": ("evaluate toy_tabular --samples 3", "'--samples' is not"),
  "nothing there": ("evaluate toy_tabular --workdir no", "no finished run"),
  "seeds": ("reproduce toy_tabular --seeds 1", "needs at least 2"),
  "seeds x": ("reproduce toy_tabular --seeds x", "--seeds is a whole number"),
  "claims": ("reproduce toy_net", "toy_net states no claims"),
  "empty workdir": ("train toy_tabular --workdir=", "--workdir needs a value"),
  "no arm": ("train toy_tabular --arms", "arms is empty; there is:"),
  "arm twice": ("train toy_tabular --arms decay decay", "'decay' twice"),
  "no seconds": ("benchmark toy_net --seconds 0", "must be above 0 and finite"),
  "endless": ("benchmark toy_net --seconds inf", "must be above 0 and finite"),
  "json": ("benchmark toy_net --json no/x.json", "No such file or directory"),
  "seconds": ("benchmark toy_tabular --seconds x", "--seconds is a number"),
  "benchmark": ("benchmark toy_tabluar", "did you mean 'toy_tabular'?"),
  "data": ("data", "a name is missing"),
  "list": ("list toy", "'toy' is not expected here"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_use(capsys, tmp_path, monkeypatch, case):
  monkeypatch.chdir(tmp_path)
  words, says = BAD[case]
  code, out, err = run(capsys, *words.split())
  assert code == 2
  assert says in err
  assert out == ""
  assert err.startswith("kd-jax: ")
  assert len(err.splitlines()) <= 2
  assert not list(tmp_path.iterdir())


def test_a_folder_of_another_run(capsys, finished):
  before = sorted(finished.rglob("*"))
  words = [*TINY, "--workdir", finished, "--samples"]
  code, _, err = run(capsys, *words, 51, "--log-every", 5)
  assert code == 2
  assert "samples: 50 there, 51 here" in err
  assert "log_every: 50 there, 5 here" in err
  assert "save_every" not in err
  assert len(err.splitlines()) == 1
  code, _, err = run(capsys, "train", "toy_seeds", "--workdir", finished)
  assert code == 2
  assert "method: 'toy_tabular' there, 'toy_seeds' here" in err
  code, _, err = run(capsys, "evaluate", "toy_seeds", "--workdir", finished)
  assert code == 2
  assert "is a run of toy_tabular, not toy_seeds" in err
  assert sorted(finished.rglob("*")) == before


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "\udcff"])
def test_a_config_that_is_none(capsys, tmp_path, text):
  path = tmp_path / "config.json"
  path.write_bytes(text.encode(errors="surrogateescape"))
  for words in ([*TINY, "--workdir"], ["evaluate", "toy_tabular", "--workdir"]):
    code, _, err = run(capsys, *words, tmp_path)
    assert code == 2
    assert "config" in err
    assert len(err.splitlines()) <= 2
  assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def test_a_config_without_its_fields(capsys, tmp_path):
  (tmp_path / "config.json").write_text("{}")
  words = ["evaluate", "toy_tabular", "--workdir"]
  code, _, err = run(capsys, *words, tmp_path)
  assert code == 2
  assert "config.json cannot be read: config is missing" in err


def test_a_batch_that_devices_do_not_divide(capsys, tmp_path):
  words = ["train", "toy_net", "--quiet", "--steps", "1", "--workdir", tmp_path]
  for more in ([], ["--stream", "True"]):
    code, _, err = run(capsys, *words, "--batch-size", "18", *more)
    assert code == 2
    assert "a global batch of 18 rows" in err
    assert "does not divide over 4 devices" in err
    assert len(err.splitlines()) == 1
  # Nothing was trained: the mistake can be put right in the same folder.
  code, _, err = run(capsys, *words, "--batch-size", "16")
  assert (code, err) == (0, "")
  code, _, err = run(capsys, *words, "--batch-size", "32")
  assert code == 2
  assert "batch_size: 16 there, 32 here" in err


def test_an_unfinished_run_is_not_evaluated(capsys, finished, tmp_path):
  text = (finished / "config.json").read_text()
  (tmp_path / "config.json").write_text(text)
  code, _, err = run(capsys, "evaluate", "toy_tabular", "--workdir", tmp_path)
  assert code == 2
  assert "holds no finished run: summary.json is missing" in err
  summary = (finished / "summary.json").read_text()
  (tmp_path / "summary.json").write_text(summary)
  code, _, err = run(capsys, "evaluate", "toy_tabular", "--workdir", tmp_path)
  assert code == 2
  assert "exact is missing" in err
  assert [p.name for p in sorted(tmp_path.iterdir())] == [
    "config.json",
    "summary.json",
  ]


def test_a_finished_run_prints_its_result_again(capsys, finished):
  before = (finished / "summary.json").stat().st_mtime_ns
  words = [*TINY, "--samples", 50, "--workdir", finished]
  code, out, err = run(capsys, *words)
  assert code == 0
  assert f"{finished} is finished" in err
  gap = json.loads((finished / "summary.json").read_text())["metrics"]
  assert f"{gap['decay.test_gap']:.4g}" in out
  assert "decay (the method)" in out
  assert str(finished) in out.replace("\n", "")
  code, again, _ = run(capsys, *words, "--quiet")
  assert again == out
  assert (finished / "summary.json").stat().st_mtime_ns == before


def test_evaluate_prints_the_numbers(capsys, finished):
  code, out, err = run(capsys, "evaluate", "toy_tabular", "--workdir", finished)
  assert (code, err) == (0, "")
  found = json.loads((finished / "summary.json").read_text())["metrics"]
  for name, value in found.items():
    (line,) = [x for x in out.splitlines() if f" {name} " in x]
    assert f"{value:.4g}" in line


def test_evaluate_takes_the_newest_run(capsys, finished, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ("toy_tabular-tiny-20260102-000000", "toy_tabular-a-20260101-1"):
    (tmp_path / "runs" / name).mkdir(parents=True)
  newest = tmp_path / "runs" / "toy_tabular-small-20260103-000000"
  shutil.copytree(finished, newest)
  (tmp_path / "runs" / "toy_tabular-a-20260101-1" / "summary.json").touch()
  code, out, err = run(capsys, "evaluate", "toy_tabular")
  assert (code, err) == (0, "")
  assert f"runs/{newest.name}" in out


def test_evaluate_answers_questions(capsys, finished):
  there = ["--workdir", finished]
  q = kd_jax.open_run(finished).products["decay.learn"]["q"]
  code, out, err = run(capsys, "evaluate", "toy_tabular", "--policy", *there)
  assert (code, err) == (0, "")
  assert json.loads(out) == q.argmax(-1).tolist()
  words = ["evaluate", "toy_tabular", "--best", "3", "--policy", *there]
  code, both, err = run(capsys, *words)
  assert (code, err) == (0, "")
  assert both == f"{q[3].argmax()}\n{out}"
  code, out, err = run(capsys, "evaluate", "toy_tabular", "--best=6", *there)
  assert (code, out) == (2, "")
  assert err == "kd-jax: there is no state '6'\n"
  with pytest.raises(UsageError, match="did you mean 'policy'"):
    kd_jax.open_run(finished).ask("polcy")
  code, out, err = run(capsys, "evaluate", "toy_tabular", "--help")
  assert (code, err) == (0, "")
  assert "--best TEXT\n      the best action of the state TEXT" in out
  assert "--policy\n" in out


def test_a_diverged_run_exits_with_one(capsys, tmp_path):
  words = [*TINY, "--explode-at", 3, "--quiet", "--workdir", tmp_path]
  code, out, err = run(capsys, *words)
  assert (code, out) == (1, "")
  assert "NaN or infinite at step 4." in err
  assert len(err.splitlines()) == 1


def test_help_lists_every_field_with_its_words(capsys):
  code, out, _ = run(capsys, *TINY, "--help")
  assert code == 0
  config = toy_tabular.METHOD.presets["tiny"]
  names = [f.name for f in dataclasses.fields(config)]
  assert {"samples", "explode_at", "seed", "arms", "save_every"} <= set(names)
  lines = out.splitlines()
  for name in names:
    option = f"  --{name.replace('_', '-')} {getattr(config, name)!r}"
    words = lines[lines.index(option) + 1].strip()
    assert words == fields.document(config, name)
    assert len(words) > 10, name


def test_help_and_version(capsys):
  for line in (" ", "--help", "-h", "help", "train --help", "data list -h"):
    words = line.split()
    code, out, err = run(capsys, *words)
    assert (code, err) == (0, "")
    assert out == cli.USAGE
  assert run(capsys, "--version")[1].startswith("kd-jax 0.")


def test_fields_of_every_kind(capsys, tmp_path):
  words = "--seeds=3 --rates 0.01 0.2 --steps 5 --log_every 7 --quiet"
  code, _, err = run(
    capsys, "train", "toy_seeds", *words.split(), "--workdir", tmp_path
  )
  assert (code, err) == (0, "")
  config = json.loads((tmp_path / "config.json").read_text())["config"]
  assert config == {
    "seed": 0,
    "arms": ["search"],
    "log_every": 7,
    "eval_every": 0,
    "save_every": 500,
    "seeds": 3,
    "rates": [0.01, 0.2],
    "steps": 5,
  }


def test_interrupts_have_their_codes(capsys, monkeypatch):
  def stop(error):
    def verb(words):
      raise error

    monkeypatch.setattr(cli, "_list", verb)
    return run(capsys, "list")

  assert stop(cli.Interrupted(15, "stopped by SIGTERM"))[0] == 143
  assert stop(cli.Interrupted(2, "x"))[0] == 130
  assert stop(KeyboardInterrupt())[::2] == (130, "kd-jax: stopped\n")
  full = OSError(28, "No space left on device", "runs/x")
  code, _, err = stop(full)
  assert (code, err) == (2, "kd-jax: No space left on device (runs/x)\n")


def test_real_processes(tmp_path):
  """The installed command: nothing but the one line, and nothing written."""
  for words, code in ((["train", "toy_tabluar"], 2), (["--version"], 0)):
    done = subprocess.run(
      [sys.executable, "-c", "from kd_jax.cli import main; main()", *words],
      capture_output=True,
      text=True,
      env=processes.environment(),
      cwd=tmp_path,
    )
    assert done.returncode == code
    assert len((done.stdout + done.stderr).splitlines()) == 1
  assert not list(tmp_path.iterdir())


def test_a_wrong_use_leaves_no_folder(capsys, tmp_path, monkeypatch):
  def phases(config, data, say):
    raise cli.UsageError("bad data")

  method = dataclasses.replace(toy_tabular.METHOD, phases=phases)
  there = tmp_path / "there"
  there.mkdir()
  for folder in (tmp_path / "new" / "run", there):
    with pytest.raises(cli.UsageError, match="bad data"):
      api.train(method, "tiny", workdir=folder, quiet=True)
  assert not (tmp_path / "new" / "run").exists()
  assert there.is_dir()


def test_what_the_devices_must_divide_is_checked_first(tmp_path):
  method = dataclasses.replace(
    toy_tabular.METHOD, divided=("samples",), phases=None
  )
  with pytest.raises(
    cli.UsageError,
    match=r"samples is 50, a global batch .* 4 devices; 48 does",
  ):
    api.train(method, "tiny", workdir=tmp_path / "run", samples=50)
  assert not (tmp_path / "run").exists()


def test_an_interrupted_run_says_its_folder(tmp_path):
  def stop(event, step):
    raise cli.Interrupted(2, "stopped; the same command goes on")

  with pytest.raises(cli.Interrupted, match=r"goes on, with --workdir .*run"):
    api.train(
      "toy_tabular",
      "tiny",
      workdir=tmp_path / "run",
      quiet=True,
      observer=stop,
    )


def test_a_full_disk_in_one_line(tmp_path):
  def full(event, step):
    raise OSError(28, "No space left on device")

  with pytest.raises(
    cli.UsageError, match=r"cannot write .*run: No space left .*goes on from it"
  ):
    api.train(
      "toy_tabular",
      "tiny",
      workdir=tmp_path / "run",
      quiet=True,
      observer=full,
    )


def test_a_summary_without_its_fields(capsys, finished, tmp_path):
  text = (finished / "config.json").read_text()
  (tmp_path / "config.json").write_text(text)
  (tmp_path / "summary.json").write_text("{}")
  words = [*TINY, "--samples", 50, "--workdir", tmp_path]
  code, out, err = run(capsys, *words)
  assert (code, out) == (2, "")
  assert "summary.json cannot be read: compile_s is missing" in err
  assert len(err.splitlines()) == 1


def test_a_full_memory_in_one_line(capsys, monkeypatch):
  def verb(error):
    def fail(words):
      raise error

    monkeypatch.setattr(cli, "_list", fail)
    return run(capsys, "list")

  for error in (
    MemoryError("Unable to allocate 9 TiB"),
    RuntimeError("RESOURCE_EXHAUSTED: 9 TiB\nmore"),
  ):
    code, _, err = verb(error)
    assert code == 2
    assert "take smaller batches" in err
    assert "9 TiB" in err
    assert len(err.splitlines()) == 1
  monkeypatch.setattr(cli, "_list", lambda words: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    cli.main(["list"])


def test_a_reader_that_leaves_early(tmp_path):
  command = "from kd_jax.cli import main; main()"
  child = subprocess.Popen(
    [sys.executable, "-c", command, "list", "--losses"],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    env=processes.environment(),
    cwd=tmp_path,
  )
  child.stdout.close()
  assert child.stderr.read() == b""
  child.stderr.close()
  assert child.wait() == 141


def test_losses_are_listed_once_each(capsys):
  code, out, _ = run(capsys, "list", "--losses")
  assert code == 0
  assert "\nnt_xent(" in out
  assert "nt_xentnt_xent" not in out
