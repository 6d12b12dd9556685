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


@pytest.fixture
def calls(monkeypatch):
    """Return a list that grows by a process id whenever a worker is sent a task."""
    return worker_pools.sent_tasks(monkeypatch)
