"""Random sequences of what can happen to a run and its folder: whatever comes, nothing is lost and no number is wrong.

After every operation either the command was refused in one line, or metrics and parameters are those of a run that
nothing disturbed. By hand, 1,000 sequences:

    HYPOTHESIS_PROFILE=by-hand-1000 python -m pytest tests/training/test_run_states.py --timeout 0
"""

import contextlib
import errno
import os
import shutil
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
import training_run
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from training_run import Crash, crash_at, encode, make_trainer

from numrnn.training import CheckpointError, FolderInUseError, list_checkpoints, load_checkpoint, metrics

BY_HAND = os.environ.get("HYPOTHESIS_PROFILE", "ci") != "ci"
CALLS = st.integers(1, 27)  # of the encoder in a whole run
MOMENTS = st.sampled_from(["training", "half a line", "half a checkpoint", "fsync", "replace"])
LEFT = st.sampled_from([b'{"kind": "training", "st', b"\0\0\0", b'{"kind": "training", "step": 99, "loss": 1}\n'])
REFUSALS = (CheckpointError, FileExistsError, FolderInUseError)


def no_space(*arguments, **named):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_only(*arguments, **named):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


class Backwards:
    """A clock that jumps back now and then."""

    def __init__(self, jumps):
        self.now, self.jumps = 1000.0, iter(jumps * 1000)

    def __call__(self):
        self.now += next(self.jumps)
        return self.now


class Disturbed(RuleBasedStateMachine):
    """A folder, and what happens to it."""

    reference = None

    @initialize()
    def begin(self):
        if Disturbed.reference is None:
            with tempfile.TemporaryDirectory() as folder:
                result = make_trainer(Path(folder)).run()
                Disturbed.reference = result.metrics.read_bytes(), result.params
        self.top = Path(tempfile.mkdtemp())
        self.out = self.top / "run"
        self.spoiled = None  # metrics as they were before somebody changed them

    def teardown(self):
        if hasattr(self, "top"):
            self.attempt(resume=True, must_work=self.can_resume())
            self.attempt(overwrite=True, must_work=True)
            shutil.rmtree(self.top)

    # -------------------------------------------------------- the judge

    def attempt(self, *, must_work=False, expected=(), encoder=encode, clock=None, **how):
        """Run, and demand that the result is right or the refusal one line; return whether it came to its end."""
        trainer = make_trainer(self.out, encoder=encoder, **({} if clock is None else {"clock": clock}))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # of a damaged checkpoint that is passed over
                result = trainer.run(**how)
        except (*REFUSALS, *expected) as error:
            refusal, ours = str(error), isinstance(error, REFUSALS)
        else:
            refusal = None
        if refusal is not None:
            assert not must_work, refusal
            assert "\n" not in refusal
            assert not ours or str(self.out) in refusal
            return False
        assert result.metrics.read_bytes() == self.reference[0]
        assert all(np.array_equal(result.params[name], value) for name, value in self.reference[1].items())
        self.spoiled = None
        return True

    def sound(self):
        """Return the checkpoints that can be read."""
        found = []
        for path in list_checkpoints(self.out):
            with contextlib.suppress(CheckpointError):
                found.append(load_checkpoint(path))
        return found

    def can_resume(self):
        """Tell whether resuming must succeed: there is a sound checkpoint, or nothing at all, and sound metrics."""
        if self.spoiled is not None:
            return False
        traces = list_checkpoints(self.out) or (self.out / "metrics.jsonl").exists()
        return bool(self.sound()) or not traces

    # -------------------------------------------------------- what a user does

    @rule()
    def start(self):
        empty = not self.out.exists() or not any(self.out.iterdir())
        self.attempt(must_work=empty)

    @rule()
    def resume(self):
        self.attempt(resume=True, must_work=self.can_resume())

    @rule()
    def overwrite(self):
        self.attempt(overwrite=True, must_work=True)

    @rule(call=CALLS)
    def start_a_second_run_meanwhile(self, call):
        seen = []

        def second(images, rng):
            if len(seen) == call:
                with ThreadPoolExecutor() as pool:
                    for how in ({"resume": True}, {"overwrite": True}, {}):
                        assert isinstance(pool.submit(make_trainer(self.out).run, **how).exception(), FolderInUseError)
            seen.append(1)
            return encode(images, rng)

        second.config = encode.config
        self.attempt(resume=True, encoder=second, must_work=self.can_resume())

    # -------------------------------------------------------- what ends a run

    @rule(call=CALLS, overwrite=st.booleans())
    def crash(self, call, overwrite):
        how = {"overwrite": True} if overwrite else {"resume": True}
        self.attempt(encoder=crash_at(call), expected=(Crash,), **how)
        if overwrite:
            self.spoiled = None

    @precondition(lambda self: hasattr(os, "fork"))
    @rule(moment=MOMENTS, n=st.integers(1, 12))
    def kill(self, moment, n):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside the threads of BLAS
            child = os.fork()
        if child == 0:
            try:
                warnings.simplefilter("ignore")
                encoder = training_run.arm(moment, n)
                encoder.config = encode.config
                make_trainer(self.out, encoder=encoder).run(resume=True)
                os._exit(0)
            except BaseException:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):  # a refusal
            assert not self.can_resume()

    @rule(where=st.sampled_from(["savez", "append", "fsync", "replace"]), n=st.integers(1, 6))
    def fill_the_disk(self, where, n):
        target, name = {
            "savez": (np, "savez"),
            "append": (metrics.JsonLines, "append"),
            "fsync": (os, "fsync"),
            "replace": (os, "replace"),
        }[where]
        real, calls = getattr(target, name), []

        def full(*arguments, **named):
            calls.append(1)
            return (no_space if len(calls) >= n else real)(*arguments, **named)

        with mock.patch.object(target, name, full):
            self.attempt(resume=True, expected=(OSError,))

    @rule()
    def make_it_read_only(self):
        before = self.content()
        with mock.patch("numrnn.locks.os.open", read_only):
            assert not self.attempt(resume=True, expected=(OSError,))
        assert self.content() == before

    @rule(jumps=st.lists(st.floats(-100, 100), min_size=1, max_size=5))
    def move_the_clock_back(self, jumps):
        self.attempt(resume=True, clock=Backwards(jumps), must_work=self.can_resume())

    # -------------------------------------------------------- what happens to files

    @precondition(lambda self: self.out.exists() and list_checkpoints(self.out))
    @rule(share=st.floats(0, 1), bit=st.integers(0, 7), cut=st.booleans())
    def damage_the_newest_checkpoint(self, share, bit, cut):
        path = list_checkpoints(self.out)[-1]
        content = bytearray(path.read_bytes())
        place = int(share * (len(content) - 1)) if content else 0
        if cut or not content:
            content = content[:place]
        else:
            content[place] ^= 1 << bit
        path.write_bytes(content)

    @precondition(lambda self: self.spoiled is None and self.sound())
    @rule(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def change_a_bit_of_the_metrics(self, share, bit):
        path = self.out / "metrics.jsonl"
        counted = min(one.progress["metrics_size"] for one in self.sound())
        if not counted:
            return
        self.spoiled = path.read_bytes()
        content = bytearray(self.spoiled)
        content[int(share * counted)] ^= 1 << bit
        path.write_bytes(content)

    @precondition(lambda self: self.spoiled is not None)
    @rule()
    def put_the_metrics_back(self):
        (self.out / "metrics.jsonl").write_bytes(self.spoiled)
        self.spoiled = None

    @precondition(lambda self: self.out.exists() and self.spoiled is None)
    @rule(left=LEFT)
    def leave_half_a_line_and_half_a_checkpoint(self, left):
        if (self.out / "metrics.jsonl").exists() and self.sound():
            with open(self.out / "metrics.jsonl", "ab") as file:
                file.write(left)
        (self.out / ".checkpoint_00000003.npz.0123abcd.tmp").write_bytes(b"PK half an archive")
        (self.out / "lock").write_bytes(b"of a process that was killed")

    @invariant()
    def what_checkpoints_count_on_is_there(self):
        if not hasattr(self, "out") or self.spoiled is not None or not self.out.exists():
            return
        for checkpoint in self.sound():
            size = checkpoint.progress["metrics_size"]
            path = self.out / "metrics.jsonl"
            content = path.read_bytes() if path.exists() else b""
            assert content[:size] == self.reference[0][:size]

    def content(self):
        if not self.out.exists():
            return {}
        return {path.name: path.read_bytes() for path in self.out.iterdir() if path.is_file()}


TestRunStates = Disturbed.TestCase
if BY_HAND:
    TestRunStates.settings = settings(stateful_step_count=12)
else:
    TestRunStates.settings = settings(max_examples=25, stateful_step_count=6)
