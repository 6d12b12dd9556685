"""Workers of a sweep that die, that do not come back, or that are taken for dead, and a scheduler that is lost."""

import itertools
import os
import threading
import time
from types import SimpleNamespace

import dask
import pytest
from distributed import Client, KilledWorker

from numrnn.experiments import sweep, trials, workers
from numrnn.locks import locked

SETS = {"data": "embedded", "hidden_size": "3", "batch_size": "20", "validation_size": "20"}
CONFIG = sweep.Config(
    sets=tuple(SETS.items()),
    optimizers=("adam",),
    weight_stds=(1.0, 4.0),
    step_sizes=(0.03,),
    diffusions=(0.001,),
    adam_rates=(0.003,),
    images=200,
    iterations=20,
    rungs=1,
)
TRIALS = sweep.make_trials(CONFIG)


class Future:
    """A future that has ended: with a result, an exception, or, given neither, cancelled."""

    def __init__(self, result=None, error=None):
        self.given = result, error

    def add_done_callback(self, function):
        function(self)

    def cancelled(self):
        return self.given == (None, None)

    def exception(self):
        return self.given[1]

    def result(self):
        return self.given[0]

    def release(self):
        pass


class Scripted:
    """A client whose tasks end as a script says, one list of ends for each trial."""

    def __init__(self, script):
        self.script = {name: list(ends) for name, ends in script.items()}
        self.scheduler, self.cluster = SimpleNamespace(address="tcp://there:1"), None

    def nthreads(self):
        return {"tcp://worker:1": 1, "tcp://worker:2": 1}

    def submit(self, _work, trial, _rung, _out, *, key):
        assert key.startswith(trial.name)
        return Future(*self.script[trial.name].pop(0))


def died():
    return None, KilledWorker("task", SimpleNamespace(address="tcp://worker:1"), 3)


def test_a_trial_whose_workers_die_is_submitted_again_as_long_as_it_makes_progress():
    going, stuck = TRIALS
    steps = {going.name: iter([0, 5, 5, 9, 9]), stuck.name: iter([4, 4])}
    script = {going.name: [died(), died(), ({"trial": going.name, "status": "finished"}, None)], stuck.name: [died()]}
    client, said = Scripted(script), []
    found = workers.results(client, TRIALS, 0, "", say=said.append, reached=lambda t, *_: next(steps[t.name]))
    lines = {line["trial"]: line for line in found}
    assert lines[going.name]["status"] == "finished"
    assert client.script == {going.name: [], stuck.name: []}
    assert [line.rpartition(" ")[2] for line in said] == ["5", "9"]
    assert lines[stuck.name]["status"] == "failed"
    assert lines[stuck.name]["error"].startswith("KilledWorker: Attempted to run task 'task'")


def test_an_error_of_a_trial_itself_is_not_tried_again():
    client, steps = Scripted({trial.name: [(None, ValueError("no images"))] for trial in TRIALS}), itertools.count()
    lines = list(workers.results(client, TRIALS, 0, "", reached=lambda *_: next(steps)))
    assert [(line["status"], line["error"]) for line in lines] == [("failed", "ValueError: no images")] * 2


def test_a_scheduler_that_is_lost_ends_the_sweep_with_one_error():
    client = Scripted({trial.name: [(None, None)] for trial in TRIALS})
    with pytest.raises(ConnectionError, match="lost the scheduler at tcp://there:1; the same command continues"):
        list(workers.results(client, TRIALS, 0, "", reached=lambda *_: 0))


def answer(trial, _rung, _out):
    """Stand in for `train`."""
    return {"trial": trial.name, "pid": os.getpid()}


@pytest.mark.timeout(120)
def test_a_worker_that_dask_does_not_start_again_is_replaced(monkeypatch):
    monkeypatch.setattr(workers, "SECONDS_BETWEEN_LOOKS", 0.1)
    said = []
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "0.1 s"}),
        workers.local_cluster(1) as cluster,
        Client(cluster) as client,
    ):
        (nanny,) = cluster.workers.values()
        cluster.sync(nanny.close)  # as it does when the process cannot be started again
        (line,) = workers.results(client, TRIALS[:1], 0, "", say=said.append, work=answer, reached=lambda *_: 0)
    assert line["trial"] == TRIALS[0].name
    assert said == [
        f"no worker is connected to the scheduler at {cluster.scheduler_address}",
        f"workers are again connected to the scheduler at {cluster.scheduler_address}",
    ]


def test_a_trial_waits_for_the_worker_that_was_taken_for_dead(tmp_path):
    trial = TRIALS[0]
    folder = tmp_path / "trials" / trial.name
    folder.mkdir(parents=True)
    lines = []
    with locked(folder):
        second = threading.Thread(target=lambda: lines.append(trials.train(trial, 0, str(tmp_path))))
        second.start()
        time.sleep(0.5)
        assert not list(folder.glob("*.npz"))
        first = trials.train(trial, 0, str(tmp_path))  # in the thread that has the lock
    second.join(60)
    (line,) = lines
    assert (first["status"], first["since"]) == ("finished", 0)
    assert (line["status"], line["since"]) == ("finished", 20)
    assert line["validation_accuracy"] == first["validation_accuracy"]
    assert trials.step_reached(trial, 0, str(tmp_path)) == 20
