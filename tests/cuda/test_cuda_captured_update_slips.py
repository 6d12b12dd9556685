"""Slips planted in the captured update of a training are found by tests of test_cuda_captured_update.py."""

import functools
import inspect
import types

import numpy as np
import pytest
import standin_cupy
import standin_graph
import test_cuda_captured_update
from captured_runs import install
from standin import missing

from numrnn.training import DivergenceError, captured_update, capturing, static_arrays
from numrnn.training import trainer as trainer_module

pytestmark = pytest.mark.skipif(
    missing() is not None or standin_cupy.COMPILER is None, reason="the stand-ins need g++ on the path"
)


@pytest.fixture
def cupy(monkeypatch):
    return install(monkeypatch)


BATCH = "self._batch.x[...], self._batch.y[...] = batch.x, batch.y"
WORK = "                    self._work()\n                    stream"
SLIPS = {
    captured_update: {
        "x is not copied in": (
            "self._batch.x[...], self._batch.y[...] = batch.x, batch.y",
            "self._batch.y[...] = batch.y",
        ),
        "y is not copied in": (
            "self._batch.x[...], self._batch.y[...] = batch.x, batch.y",
            "self._batch.x[...] = batch.x",
        ),
        "the state of the last replay is not copied in": ("self._before[...] = block", "pass"),
        "the state of a plain update is not copied in": ("self._old[group][name][...] = state[group][name]", "pass"),
        "the last replay's state is taken always": ("if all(", "if handed_out or all("),
        "the run gets the graph's arrays": ("self._after.copy()", "self._after"),
        "the first place in the ledger": ("[self._ledger.row, ", "[0, "),
        "the number of the update before": ("run.step + 1, 1 - weight", "run.step, 1 - weight"),
        "the optimiser's number of the update before": ('["step"] + 1, run.seconds', '["step"] or 1, run.seconds'),
        "the weights of the average are exchanged": ("1 - weight, weight]", "weight, 1 - weight]"),
        "scales of the steps are not copied in": ("to[...] = constant", "pass"),
        "the numbers of one parameter for all": ("constants[k * count : (k + 1) * count]", "constants[:count]"),
        "nothing runs before the capture": (WORK, WORK.replace("self._work()", "pass")),
        "memory from the pool of all": ("cuda.using_allocator(self._pool.malloc)", "np.errstate()"),
        "the graph's memory is dropped": (
            "                _wait(cuda, self._stream, stream)",
            "                self._pool = None",
        ),
        "a blocking stream captures": ("non_blocking=True", "non_blocking=False"),
        "the capture does not wait for its inputs": ("            _wait(cuda, stream, self._stream)\n", ""),
        "nobody waits for the update before the capture": ("_wait(cuda, self._stream, stream)", "pass"),
        "the graph is launched elsewhere": ("launch(self._stream)", "launch(array_namespace(batch.x).cuda.Stream())"),
        "the optimiser does not count": ('{"step": run.optimizer["step"] + 1', '{"step": run.optimizer["step"]'),
        "no clipping": ("grads, norm = clipped(plan, grads)", "_, norm = clipped(plan, grads)"),
        "the parameters before are checked": ('norm, new["params"], self', 'norm, old["params"], self'),
        "the average is of the parameters before": ('old["average"], new["params"]', 'old["average"], old["params"]'),
        "predictions are not counted": ("scored=self._scored", "scored=False"),
        "the average stays": ('run.params, run.average = new["params"], new["average"]', 'run.params = new["params"]'),
    },
    static_arrays: {
        "numbers are not copied": ("self._device[...] = asarray(self._host, like=self._device)", "pass"),
        "all arrays in one place": ("self.size += ", "self.size = "),
    },
    capturing: {
        "shapes are not looked at": ("(*shapes, batch.lengths is None)", "None"),
        "numbers of the cell are not looked at": ("return *numbers, ledger", "return ledger"),
        "the ledger is not looked at": ("*numbers, ledger, array", "*numbers, array"),
        "the stream is not looked at": ("get_current_stream().ptr", "get_current_stream"),
    },
}
CHECKS = (
    test_cuda_captured_update.test_callbacks_keep_what_they_are_given_and_may_change_the_cell,
    functools.partial(test_cuda_captured_update.test_a_number_that_is_not_finite_is_noticed_at_the_same_update, 16),
    lambda cupy, _, out: test_cuda_captured_update.test_streams_and_ledgers_take_turns(cupy, out),
)


def found(cupy, monkeypatch, out, changed=None, old="", new=""):
    """Tell whether one of the tests above fails with a change of one of the files."""
    made = {}
    for module in (static_arrays, captured_update, capturing):
        text = inspect.getsource(module)
        if module is changed:
            assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
            text = text.replace(old, new)
        made[module] = types.ModuleType(module.__name__)
        exec(compile(text, f"{module.__name__}.py", "exec"), made[module].__dict__)
    made[captured_update].Block, made[captured_update].Numbers = made[static_arrays].Block, made[static_arrays].Numbers
    made[capturing].CapturedUpdate = made[captured_update].CapturedUpdate
    for number, check in enumerate(CHECKS):
        standin_graph.state = standin_graph.State()
        (out / str(number)).mkdir()
        with monkeypatch.context() as patch, np.errstate(all="ignore"):
            patch.setattr(trainer_module, "CapturedUpdates", made[capturing].CapturedUpdates)
            patch.setattr(capturing, "CapturedUpdates", made[capturing].CapturedUpdates)
            try:
                check(cupy, patch, out / str(number))
            except (AssertionError, DivergenceError, KeyError, OverflowError, TypeError, ValueError):
                return True
    return False


def test_the_files_as_they_are_pass_where_the_slips_fail(cupy, monkeypatch, tmp_path):
    assert not found(cupy, monkeypatch, tmp_path)


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, slips in SLIPS.items() for name in slips])
def test_a_slip_is_found(module, name, cupy, monkeypatch, tmp_path):
    assert found(cupy, monkeypatch, tmp_path, module, *SLIPS[module][name])
