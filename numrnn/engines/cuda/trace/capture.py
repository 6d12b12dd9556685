"""The loop over the steps as a CUDA graph: captured once, then started by one call in place of one per kernel.

    capture   while a stream captures, launches are not run but recorded, with the addresses that they read and write:
              those of all steps
    replay    copy what the loop reads into the captured arrays, start the graph, copy what it has written out of them

What has to hold, and how it does:

- A graph writes to the addresses that it was captured with. So the arrays are the loop's own, and live as long as it.
  Nobody else sees them: what a tape gets is a copy, which a later replay cannot change.
- While a stream captures, nothing may be allocated, compiled, copied to the host or waited for. So the arrays are made
  before, and two steps are run before, which compiles and loads each of their kernels.
- A replay must not overwrite what the last one is still computing with. So a captured loop belongs to one thread and
  one stream: its copies and replays are in the order of that stream, and no events are needed.
- The next pass must find the loop again. So its key is what is captured (the plan, which is one object for all traces
  that are the same; the number of steps; the shapes), not the arrays or the problem.

A pass whose key is new runs step by step: most shapes of a short script never come back, and a capture costs memory.
The second pass captures. Either gives the same bits: the kernels are the same.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Hashable
from dataclasses import dataclass

from numrnn.backend import Array, array_namespace, empty
from numrnn.checks import check_switch
from numrnn.engines.cuda.trace.graph import Node
from numrnn.engines.cuda.trace.run import Run

VARIABLE = "NUMRNN_CUDA_CAPTURE"
MOST_LOOPS = 32  # captured at the same time in a thread: both passes of sixteen layers
PATIENCE = 4 * MOST_LOOPS  # a loop that was used among so many passes is not dropped for a new one
MOST_KEYS = 1024  # that are remembered
OF_A_STEP = ("matmul", "sum")  # operations that are a launch of a kernel of ours, besides groups

_warned: set[str] = set()


def capture_is_wanted() -> bool:
    """Tell whether loops may be captured, which NUMRNN_CUDA_CAPTURE=0 forbids.

    Raises
    ------
    ValueError
        If the variable is neither "0" nor "1".
    """
    return check_switch(VARIABLE, default=True)


def run_loop(run: Run) -> None:
    """Run the loop of a run: on CuPy arrays by a captured one from the second time on, else step by step."""
    run.prepare()
    captured = _captured(run) if run.xp.__name__ == "cupy" and capture_is_wanted() else None
    if captured is None:
        run.allocate()
        run.run_steps(run.n_steps)
    else:
        captured.replay(run)


def release_captured_loops() -> None:
    """Drop the captured loops of this thread: their memory goes back to CuPy's pool. Passes capture them again."""
    _loops.by_key.clear()


class Input:
    """An array of a captured loop for one that it reads; an axis along which that one only repeats has one element."""

    def __init__(self, like: Array) -> None:
        self._numbers = empty([1 if repeats else n for n, repeats in _extents(like)], like)
        self.array = array_namespace(like).broadcast_to(self._numbers, like.shape)

    def fill(self, value: Array) -> None:
        """Copy an array of the same form."""
        self._numbers[...] = value[tuple(slice(0, 1) if repeats else slice(None) for _, repeats in _extents(value))]


def _extents(array: Array) -> list[tuple[int, bool]]:
    """Return for each axis its extent, and whether the array repeats along it."""
    return [(n, n > 1 and stride == 0) for n, stride in zip(array.shape, array.strides, strict=True)]


class CapturedLoop:
    """The loop of a run, captured with arrays of its own, for all runs with the same key.

    Its memory is a second copy of all that the loop reads and writes.
    """

    def __init__(self, run: Run) -> None:
        cuda = run.xp.cuda
        self._stream = cuda.get_current_stream()  # held: another stream must not get its handle
        self._inputs = {node: Input(value) for node, value in run.inputs().items()}
        self._loop = run.over({node: one.array for node, one in self._inputs.items()})
        self._loop.allocate()
        self._copy_in(run)
        self._loop.run_steps(2)  # with one step the kernel between two would not run
        # A blocking stream would stop other threads from using the default stream during the capture.
        stream = cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            try:
                self._loop.run_steps(run.n_steps)
            finally:
                self._graph = stream.end_capture()

    def _copy_in(self, run: Run) -> None:
        for node, value in run.inputs().items():
            self._inputs[node].fill(value)
        first = -1 if run.reverse else 0
        self._loop.carried[first] = run.carried[first]

    def replay(self, run: Run) -> None:
        """Run the loop of another run with this key."""
        self._copy_in(run)
        self._graph.launch(self._stream)
        filled = slice(None, -1) if run.reverse else slice(1, None)
        run.carried[filled] = self._loop.carried[filled]
        run.own = {node: array.copy() for node, array in self._loop.own.items() if node in run.plan.kept}


@dataclass
class Entry:
    """What is known of a key: its captured loop, whether a capture was refused, and the number of its last pass."""

    loop: CapturedLoop | None = None
    refused: bool = False
    last_pass: int = 0


class Loops(threading.local):
    """The loops of a thread by key, the one used last at the end."""

    def __init__(self) -> None:
        self.by_key: dict[Hashable, Entry] = {}
        self.passes = 0

    def entry(self, key: Hashable) -> tuple[Entry, bool]:
        """Return the entry of a key, and whether the key is new."""
        self.passes += 1
        new = key not in self.by_key
        entry = self.by_key[key] = Entry() if new else self.by_key.pop(key)
        entry.last_pass = self.passes
        if new and len(self.by_key) > MOST_KEYS:
            del self.by_key[next(one for one, other in self.by_key.items() if other.loop is None)]
        return entry, new

    def make_room(self) -> bool:
        """Tell whether a loop may be captured; drop the one that has not been used for the longest time if need be."""
        captured = [entry for entry in self.by_key.values() if entry.loop is not None]
        if len(captured) < MOST_LOOPS:
            return True
        if self.passes - captured[0].last_pass < PATIENCE:
            return False
        captured[0].loop = None
        return True


_loops = Loops()


def _captured(run: Run) -> CapturedLoop | None:
    """Return the captured loop of a run, captured now if the key has been seen before, or None."""
    entry, new = _loops.entry(_key(run))
    if not new and entry.loop is None and not entry.refused and _loops.make_room():
        try:
            _check(run)
            entry.loop = CapturedLoop(run)
        except (RuntimeError, MemoryError) as error:  # CuPy's errors of CUDA and of its memory are such
            entry.refused = True
            warn_of_refusal("a loop over the steps of a traced cell", f"{type(error).__name__}: {error}")
    return entry.loop


def _key(run: Run) -> Hashable:
    """Return all that a captured loop depends on but the numbers in the arrays."""
    arrays = [run.carried, *run.inputs().values()]
    forms = tuple((str(array.dtype), *_extents(array)) for array in arrays)
    launched = run.plan, run.executor.fuses, run.n_steps, run.reverse
    return *launched, run.carried.device.id, run.xp.cuda.get_current_stream().ptr, forms


def _check(run: Run) -> None:
    others = [one.op for one in run.plan.steps if isinstance(one, Node) and one.op not in OF_A_STEP]
    if others:
        raise NotImplementedError(f"a step needs {others[0]}, for which there is no kernel")
    if not hasattr(run.xp.cuda.Stream, "begin_capture"):
        raise NotImplementedError(f"CuPy {run.xp.__version__} has no Stream.begin_capture")


def warn_of_refusal(what: str, reason: str) -> None:
    """Warn, once for each text, that something is not captured although it was tried."""
    text = f"{what} cannot be captured as a CUDA graph, so that each kernel is launched from Python ({reason})"
    if text not in _warned:
        _warned.add(text)
        warnings.warn(f"{text}; {VARIABLE}=0 makes no attempt", RuntimeWarning, stacklevel=2)
