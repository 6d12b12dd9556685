"""numrnn sweep: what is tried, who goes on, and that a worker that dies loses nothing."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from distributed import Client

from numrnn.experiments import sweep, sweep_report, trials, workers
from numrnn.experiments.trials import Space, rung_lengths, survivors
from numrnn.locks import FolderInUseError, locked
from numrnn.training import read_json_lines

SETS = {"data": "embedded", "hidden_size": "3", "batch_size": "20", "validation_size": "20"}
FIRST_RUNG = 60
SMALL = {
    "sets": tuple(SETS.items()),
    "optimizers": ("adam",),
    "weight_stds": (1.0, 4.0),
    "step_sizes": (0.03,),
    "diffusions": (0.001,),
    "adam_rates": (0.003, 0.03),
    "images": 200,
    "iterations": 3 * FIRST_RUNG,
    "rungs": 2,
    "workers": 2,
}


def results(out):
    return [r for r in read_json_lines(out / sweep.RESULTS_FILE) if r["kind"] == "result"]


def test_the_grid_is_the_papers():
    grid = Space(optimizers=("sgd", "adagrad")).grid()
    assert len(grid) == 2 * 6 * 3 * 4 * 7
    assert len({tuple(point.values()) for point in grid}) == len(grid)
    point = {"optimizer": "sgd", "weight_std": 16.0, "step_size": 0.1, "diffusion": 1.0, "learning_rate": 0.75}
    assert point in grid


def test_adam_has_learning_rates_of_its_own():
    grid = Space(optimizers=("adam",), adam_rates=(0.25, 0.5)).grid()
    assert {point["learning_rate"] for point in grid} == {0.25, 0.5}


def test_random_settings_lie_between_the_ends_and_belong_to_the_seed():
    space = Space()
    drawn = space.draw(200, seed=1)
    assert drawn == space.draw(200, seed=1)
    assert drawn != space.draw(200, seed=2)
    for point in drawn:
        rates = space.rates(point["optimizer"])
        assert min(rates) <= point["learning_rate"] <= max(rates)
        assert 0.01 <= point["step_size"] <= 1
        assert 0.001 <= point["diffusion"] <= 1
        assert 0 <= point["weight_std"] <= 16
    below = sum(point["step_size"] < 0.1 for point in drawn)
    assert 70 < below < 130  # half of them, evenly in the logarithm; 3 standard deviations are 21


def test_rungs_end_at_the_iterations_and_grow_by_the_reduction():
    assert rung_lengths(1800, 3, 3) == [200, 600, 1800]
    assert rung_lengths(5, 1, 2) == [5]


@pytest.mark.parametrize("numbers", [(0, 1, 3), (9, 0, 3), (9, 2, 1), (8, 3, 3)])
def test_rungs_that_cannot_be_are_refused(numbers):
    with pytest.raises(ValueError, match="must be >= "):
        rung_lengths(*numbers)


def test_the_best_go_on_and_those_that_diverged_do_not():
    accuracies = [("a", 0.5), ("b", 0.9), ("c", 0.7), ("d", 0.7)]
    lines = [{"trial": name, "status": "finished", "validation_accuracy": value} for name, value in accuracies]
    lines.append({"trial": "e", "status": "diverged", "validation_accuracy": 1.0})
    assert survivors(lines, 2) == ["b", "c"]
    assert survivors(lines, 3) == ["b", "c"]
    assert survivors(lines[4:], 2) == []


@pytest.mark.parametrize("seed", range(5))
def test_the_table_shows_the_best_however_many_diverged(seed):
    """Also in the last rung, whose results come first."""
    rng, lines = np.random.default_rng(seed), []
    searched = {"optimizer": "adam", "weight_std": 1.0, "step_size": 0.1, "diffusion": 0.01, "learning_rate": 0.01}
    for number in rng.permutation(40):
        rung, diverged = int(rng.integers(3)), number < 20
        found = {"status": "diverged"} if diverged else {"status": "finished", "training_accuracy": rng.random()}
        accuracy = 0.0 if diverged else rng.random()
        common = {"trial": str(number), "rung": rung, "step": 7 + rung, "validation_accuracy": accuracy}
        lines.append(common | found | searched)
    ranked = trials.ranking(lines)
    finished = [line for line in lines if line["status"] == "finished"]
    best_first = sorted(((line["rung"], line["validation_accuracy"]) for line in finished), reverse=True)
    assert [(line["rung"], line["validation_accuracy"]) for line in ranked[:20]] == best_first
    assert all(line["status"] == "diverged" for line in ranked[20:])
    _, *rows, last = sweep_report.table(ranked).splitlines()
    assert [row.split()[0] for row in rows] == [f"{100 * accuracy:.2f}" for _, accuracy in best_first[:10]]
    assert last == "40 trials, 20 diverged"


def test_settings_that_matter_make_another_trial_and_folders_do_not():
    config = sweep.Config(**SMALL)

    def names(**changes):
        return {trial.name for trial in sweep.make_trials(dataclasses.replace(config, **changes))}

    assert len(names()) == 4
    assert names() == names(out="elsewhere", workers=7, scheduler="tcp://nowhere:1")
    for changes in ({"images": 100}, {"iterations": 90}, {"seed": 1}, {"preset": "mnist-gated"}):
        assert not names() & names(**changes)
    assert len(names(adam_rates=(0.003, 0.03, 0.1)) - names()) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "mnist-gru"}, "preset must be one of mnist-antisymmetric"),
        ({"sets": (("colour", "1"),)}, "--set: unknown keys colour; known are cell"),
        ({"sets": (("hidden_size", "few"),)}, "--set: hidden_size must be an integer >= 1, got 'few'"),
        ({"step_sizes": (0.0, 1.0)}, r"step_sizes\[0\] must be a finite number > 0, got 0.0"),
        ({"weight_stds": (-1.0,)}, r"weight_stds\[0\] must be a finite number >= 0, got -1"),
        ({"optimizers": ()}, "optimizers must hold one value at least"),
        ({"trials": 0}, "trials must be an integer >= 1, got 0"),
        ({"iterations": 1}, "iterations must be >= 3 for 2 rungs, got 1"),
        ({"images": 20}, "images must be more than the validation_size, which is 20, got 20"),
        ({"images": 3, "sets": ()}, "images must be more than the validation_size, which is 5000, got 3"),
        ({"sets": (("validation_size", "0"),)}, "validation_size must be >= 1, as trials are compared on these images"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_any_work(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        sweep.run(sweep.Config(**{**SMALL, **changes}, out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("adam_rate", [0.003, 0.02])
def test_a_trial_that_was_discarded_may_survive_in_a_sweep_of_more_trials(tmp_path, adam_rate):
    short = {"adam_rates": (adam_rate,), "weight_stds": (1.0,), "iterations": 6}
    (trial,) = sweep.make_trials(sweep.Config(**SMALL | short))
    lines = {}
    for name in ("kept", "discarded"):
        first = trials.train(trial, 0, str(tmp_path / name))
        if name == "discarded":
            trials.discard_checkpoints(trial, str(tmp_path / name))
        lines[name] = trials.train(trial, 1, str(tmp_path / name))
        assert lines[name]["since"] == (first["step"] if name == "kept" else 0)
    # The training accuracy is a mean since the last line of metrics, which the end of a rung writes.
    how = ("since", "seconds", "pid", "training_accuracy")
    kept, discarded = ({key: value for key, value in line.items() if key not in how} for line in lines.values())
    assert discarded == kept


def test_a_trial_that_diverges_is_a_result(tmp_path):
    config = sweep.Config(**{**SMALL, "adam_rates": (1e38,), "weight_stds": (4.0,)})
    line = trials.train(sweep.make_trials(config)[0], 0, str(tmp_path))
    assert (line["status"], line["validation_accuracy"]) == ("diverged", 0.0)
    assert 1 <= line["step"] < FIRST_RUNG


def half_way(client, out):
    """Return a worker and the trial that it is in the middle of, as soon as there is one."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for address, keys in client.processing().items():
            for trial in (key.split("-")[0] for key in keys):
                path = out / "trials" / trial / "metrics.jsonl"
                lines = path.read_bytes().splitlines() if path.exists() else []
                if lines and lines[-1].endswith(b"}") and 10 <= json.loads(lines[-1])["step"] < FIRST_RUNG - 15:
                    return address, trial
        time.sleep(0.005)
    pytest.fail("no trial was seen in its middle within half a minute")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Return a sweep of which one worker was killed: its folder, ranking and lines, and what it left in os.environ."""
    out, said, killed = tmp_path_factory.mktemp("sweep"), [], []
    before, environment = signal.getsignal(signal.SIGINT), dict(os.environ)

    with workers.local_cluster(2) as cluster, Client(cluster) as client:
        pids = client.run(os.getpid)
        # A terminal sends Ctrl-C to all processes; the sweep alone is to answer.
        assert set(client.run(lambda: signal.getsignal(signal.SIGINT)).values()) == {signal.SIG_IGN}
        assert signal.getsignal(signal.SIGINT) == before

        def say(text):
            said.append(text)
            if text.startswith("rung 0: ") and not killed:
                address, trial = half_way(client, out)
                os.kill(pids[address], signal.SIGKILL)
                killed.append((pids[address], trial))

        config = sweep.Config(**SMALL, out=str(out), scheduler=cluster.scheduler_address)
        ranked = sweep.run(config, say=say)
    left = {name: value for name, value in os.environ.items() if environment.get(name) != value}
    return config, out, ranked, said, killed[0], left


def test_a_worker_that_is_killed_loses_nothing_and_nothing_runs_twice(swept):
    config, out, _, _, (killed, interrupted), _ = swept
    lines = results(out)
    assert all(line["status"] == "finished" for line in lines)
    keys = [(line["trial"], line["rung"]) for line in lines]
    assert len(set(keys)) == len(keys) == 4 + 2
    (line,) = [line for line in lines if (line["trial"], line["rung"]) == (interrupted, 0)]
    assert line["pid"] != killed
    assert 0 < line["since"] < FIRST_RUNG
    first = [line for line in lines if line["rung"] == 0]
    assert {line["trial"] for line in first} == {trial.name for trial in sweep.make_trials(config)}
    for line in first:
        metrics = read_json_lines(out / "trials" / line["trial"] / "metrics.jsonl")
        steps = [record["step"] for record in metrics if record["kind"] == "training"]
        assert sorted(set(steps)) == steps
        timings = read_json_lines(out / "trials" / line["trial"] / "timings.jsonl")
        assert [record["step"] for record in timings] == steps  # each update is that of one process
    # The later rung goes on from the first, and begins no trial anew.
    assert {line["since"] for line in lines if line["rung"] == 1} == {FIRST_RUNG}


def test_processes_that_are_started_after_a_sweep_have_the_environment_of_before(swept):
    """Dask sets OPENBLAS_NUM_THREADS=1 for its workers, which would give later runs of this process other bits."""
    assert swept[-1] == {}


def test_a_second_cluster_on_this_machine_starts_without_a_warning():
    with socket.socket() as other:
        with contextlib.suppress(OSError):  # another scheduler has it already
            other.bind(("127.0.0.1", 8787))
            other.listen()
        with workers.local_cluster(1) as cluster:  # warnings are errors here
            assert len(cluster.workers) == 1


def test_rungs_are_recorded_with_those_that_go_on(swept):
    _, out, ranked, *_ = swept
    (rung,) = [r for r in read_json_lines(out / sweep.RESULTS_FILE) if r["kind"] == "rung"]
    assert (rung["rung"], rung["step"], rung["of"], len(rung["kept"])) == (0, FIRST_RUNG, 4, 2)
    best = sorted((r for r in results(out) if r["rung"] == 0), key=lambda r: -r["validation_accuracy"])[:2]
    assert sorted(r["validation_accuracy"] for r in best) == sorted(
        r["validation_accuracy"] for r in results(out) if r["trial"] in rung["kept"] and r["rung"] == 0
    )
    assert {r["trial"] for r in ranked[:2]} == set(rung["kept"])


def test_the_end_is_a_table_and_a_picture(swept):
    _, out, ranked, said, *_ = swept
    assert "4 trials, 0 diverged" in said[-1]
    assert f"{100 * ranked[0]['validation_accuracy']:.2f} %" in said[-1].splitlines()[1]
    assert (out / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_a_sweep_that_is_started_again_skips_what_is_done(swept):
    config, out, ranked, *_ = swept
    before = (out / sweep.RESULTS_FILE).read_bytes()
    said = []
    # No scheduler is there any more: where nothing is left to do, none is asked.
    assert sweep.run(config, say=said.append) == ranked
    assert said[0].startswith("4 trials, 4 of them begun before")
    assert (out / sweep.RESULTS_FILE).read_bytes() == before


def test_half_a_line_of_a_killed_sweep_is_cut_off(swept, tmp_path):
    config, out, ranked, *_ = swept
    (tmp_path / sweep.RESULTS_FILE).write_bytes((out / sweep.RESULTS_FILE).read_bytes() + b'{"kind": "res')
    assert sweep.run(dataclasses.replace(config, out=str(tmp_path))) == ranked


def test_two_sweeps_in_one_folder_are_refused(swept):
    config, out, *_ = swept
    with (
        locked(out),
        ThreadPoolExecutor() as pool,
        pytest.raises(FolderInUseError, match=rf"{out} is in use by process {os.getpid()} on .*, since 20"),
    ):
        pool.submit(sweep.run, config).result()


def test_a_damaged_line_of_results_is_named_and_nothing_is_cut_off(swept, tmp_path):
    config, out, *_ = swept
    lines = (out / sweep.RESULTS_FILE).read_bytes().splitlines(keepends=True)
    content = b"".join([lines[0], b"{" + lines[1], *lines[2:]])
    (tmp_path / sweep.RESULTS_FILE).write_bytes(content)
    with pytest.raises(ValueError, match=r"results\.jsonl: line 2 is not JSON"):
        sweep.run(dataclasses.replace(config, out=str(tmp_path)))
    assert (tmp_path / sweep.RESULTS_FILE).read_bytes() == content


@pytest.mark.parametrize("seed", range(4))
def test_a_line_that_lacks_a_part_of_a_result_is_named(swept, tmp_path, seed):
    config, out, *_ = swept
    draw, lines = np.random.default_rng(seed), read_json_lines(out / sweep.RESULTS_FILE)
    number = int(draw.choice([k for k, line in enumerate(lines) if line["kind"] == "result"]))
    lost = str(draw.choice(trials.RESULT_KEYS)) if seed else "kind"
    del lines[number][lost]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / sweep.RESULTS_FILE).write_text(content)
    with pytest.raises(ValueError, match=rf"results\.jsonl: line {number + 1} must be a result of .* lacks {lost}$"):
        sweep.run(dataclasses.replace(config, out=str(tmp_path)))
    assert (tmp_path / sweep.RESULTS_FILE).read_text() == content
