"""An engine of another checkout, in a process that imports only the numrnn of that checkout."""

from __future__ import annotations

import multiprocessing.connection
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.worker import Worker
from benchmarks.workloads import Workload

HERE = Path(__file__).resolve().parent.parent
SERVER = Path(__file__).with_name("serve_checkout.py")
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class _Process:
    """A subprocess with the methods of a multiprocessing.Process that `Worker` uses."""

    def __init__(self, arguments: list[str], **options: Any) -> None:
        self._popen = subprocess.Popen(arguments, **options)
        self.pid, self.terminate, self.kill = self._popen.pid, self._popen.terminate, self._popen.kill

    @property
    def exitcode(self) -> int | None:
        return self._popen.poll()

    def is_alive(self) -> bool:
        return self._popen.poll() is None

    def join(self, timeout: float) -> None:
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return


class CheckoutWorker(Worker):
    """The process of a checkout's engine; see `Worker`.

    Parameters
    ----------
    checkout : pathlib.Path
        Its root.
    contender : str
        One of numrnn's engines.
    workload : Workload
        The workload to run.
    cores : int
        Number of cores to which it is bound, the first of this process's, and of threads of its BLAS.
    """

    def __init__(self, checkout: Path, contender: str, workload: Workload, cores: int) -> None:
        self.checkout = checkout
        super().__init__(contender, workload, cores)

    def _start(self, pipe: multiprocessing.connection.Connection, threads: int) -> Any:
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads]))
        process = _Process(
            [sys.executable, str(SERVER), str(self.checkout), str(pipe.fileno()), cores],
            pass_fds=(pipe.fileno(),),
            env=os.environ | dict.fromkeys(THREADS, str(threads)),
            stdin=subprocess.DEVNULL,
        )
        self._pipe.send((self.contender, self.workload, threads))
        return process
