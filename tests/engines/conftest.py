"""Fixtures of the tests of worker processes."""

import pytest
import worker_pools

from numrnn.engines.cpu import processes
from numrnn.engines.cpu import tape as cpu_tape


@pytest.fixture
def pool(monkeypatch):
    """Return a pool of one worker that has started, which the engine uses for problems of any size."""
    monkeypatch.setattr(cpu_tape, "PROCESS_FLOPS", 0)
    monkeypatch.delenv(processes.VARIABLE, raising=False)
    own = processes.Pool()
    monkeypatch.setattr(processes, "pool", own)
    worker_pools.wait_for(lambda: worker_pools.started(own))
    yield own
    own.close()


@pytest.fixture(scope="module")
def lasting():
    """Return a pool whose workers a module starts once, for tests that leave them as they were."""
    own = processes.Pool()
    yield own
    own.close()


@pytest.fixture
def lasting_pool(lasting, monkeypatch):
    """Let the engine use the workers of `lasting` for problems of any size; all of them must be there at the end."""
    monkeypatch.setattr(cpu_tape, "PROCESS_FLOPS", 0)
    monkeypatch.delenv(processes.VARIABLE, raising=False)
    monkeypatch.setattr(processes, "pool", lasting)
    worker_pools.wait_for(lambda: worker_pools.started(lasting))
    before = list(lasting._workers)
    yield lasting
    assert lasting._workers[: len(before)] == before
    assert not any(worker.ended() for worker in lasting._workers)


@pytest.fixture
def calls(monkeypatch):
    """Return a list that grows by a process id whenever a worker is sent a task."""
    return worker_pools.sent_tasks(monkeypatch)
