import pytest

from benchmarks import compare, worker


class HereWorker:
    """A worker in this process, for tests that take a contender of their own."""

    def __init__(self, contender, workload, threads):
        self.session = worker._Session(contender, workload, threads)

    def ask(self, name, *arguments, timeout=None):
        return getattr(self.session, name)(*arguments)

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """Let measurements, which no test compares, follow one another at once."""
    monkeypatch.setattr(compare, "PAUSE", 0)


@pytest.fixture
def here(monkeypatch):
    """Let comparisons run without processes; the class that stands for `Worker`."""
    monkeypatch.setattr(compare, "Worker", HereWorker)
    return HereWorker
