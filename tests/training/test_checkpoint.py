"""Checkpoints: exact round trips, atomic writing, and refusal of whatever is not whole."""

import dataclasses
import json
import os
import pickle
import zipfile

import array_api_strict as xp
import numpy as np
import pytest

from numrnn.training import (
    Adam,
    Checkpoint,
    CheckpointError,
    checkpoint_path,
    generator_from_state,
    generator_state,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)

BIT_GENERATORS = ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"]


@pytest.fixture
def checkpoint(rng):
    params = {"W": rng.standard_normal((3, 2)).astype(np.float32), "b": rng.standard_normal(3)}
    optimizer = Adam(0.1)
    params, state = optimizer.update(params, params, optimizer.init(params))
    return Checkpoint(
        step=469,
        params=params,
        optimizer=state,
        generators={"batches": generator_state(rng)},
        config={"optimizer": optimizer.config(), "clip": None, "seed": 2**70},
        progress={"loss": 0.1 + 0.2},
    )


@pytest.fixture
def saved(checkpoint, tmp_path):
    return save_checkpoint(checkpoint_path(tmp_path, checkpoint.step), checkpoint)


def assert_same_arrays(got, wanted):
    assert got.keys() == wanted.keys()
    for name in wanted:
        assert got[name].dtype == wanted[name].dtype
        assert np.array_equal(got[name], wanted[name])


def rewrite(path, **changes):
    """Write the archive again with some entries changed, or left out where the change is None."""
    with np.load(path) as archive:
        entries = {name: archive[name] for name in archive.files} | changes
    np.savez(path, **{name: array for name, array in entries.items() if array is not None})


def test_parameters_come_back_bit_for_bit(checkpoint, saved):
    assert_same_arrays(load_checkpoint(saved).params, checkpoint.params)


def test_the_optimizers_state_comes_back_bit_for_bit(checkpoint, saved):
    got = load_checkpoint(saved).optimizer
    assert got.keys() == checkpoint.optimizer.keys()
    assert got["step"] == 1
    for slot in ("mean", "square_mean"):
        assert_same_arrays(got[slot], checkpoint.optimizer[slot])


def test_step_config_and_progress_come_back_equal(checkpoint, saved):
    got = load_checkpoint(saved)
    assert (got.step, got.config, got.progress, got.path) == (469, checkpoint.config, checkpoint.progress, saved)


def test_a_generator_goes_on_exactly_where_it_stood(checkpoint, saved, rng):
    restored = generator_from_state(load_checkpoint(saved).generators["batches"])
    assert np.array_equal(restored.integers(0, 2**63, 20), rng.integers(0, 2**63, 20))


@pytest.mark.parametrize("name", BIT_GENERATORS)
def test_the_state_of_every_bit_generator_survives_json(name):
    generator = np.random.Generator(getattr(np.random, name)(7))
    generator.integers(0, 2**32, 5, dtype=np.uint32)  # leaves half of a 64-bit number in the buffer
    restored = generator_from_state(json.loads(json.dumps(generator_state(generator))))
    assert np.array_equal(restored.integers(0, 2**32, 9, np.uint32), generator.integers(0, 2**32, 9, np.uint32))
    assert np.array_equal(restored.standard_normal(9), generator.standard_normal(9))


def test_a_state_of_an_unknown_bit_generator_is_refused():
    with pytest.raises(ValueError, match="bit_generator must be one of .*, got 'system'"):
        generator_from_state({"bit_generator": "system"})


def test_one_state_gives_one_file_byte_for_byte(checkpoint, saved, tmp_path):
    again = save_checkpoint(tmp_path / "again.npz", checkpoint)
    assert again.read_bytes() == saved.read_bytes()


def test_a_checkpoint_needs_no_pickle(saved):
    with np.load(saved, allow_pickle=False) as archive:
        assert {"params/W", "params/b", "optimizer/mean/W", "metadata", "checksum"} <= set(archive.files)
        assert all(archive[name].dtype != object for name in archive.files)


def test_the_arrays_of_another_library_are_moved_to_the_host(checkpoint, tmp_path):
    device = xp.Device("device1")
    moved = {name: xp.asarray(array, device=device) for name, array in checkpoint.params.items()}
    path = save_checkpoint(tmp_path / "a.npz", dataclasses.replace(checkpoint, params=moved))
    assert_same_arrays(load_checkpoint(path, backend="numpy").params, checkpoint.params)


def test_arrays_that_are_not_contiguous_come_back_equal(checkpoint, tmp_path, rng):
    params = {"W": np.asfortranarray(rng.standard_normal((4, 3))), "V": rng.standard_normal((4, 6))[::2, ::3]}
    path = save_checkpoint(tmp_path / "a.npz", dataclasses.replace(checkpoint, params=params))
    assert_same_arrays(load_checkpoint(path).params, params)


def test_a_checkpoint_is_written_over_an_older_one_of_the_same_name(checkpoint, saved):
    save_checkpoint(saved, dataclasses.replace(checkpoint, progress={"loss": 7.0}))
    assert load_checkpoint(saved).progress == {"loss": 7.0}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", ["params", "optimizer"])
def test_a_state_that_is_not_finite_is_never_written(checkpoint, tmp_path, bad, place):
    target = checkpoint.params if place == "params" else checkpoint.optimizer["mean"]
    target["W"][1, 1] = bad
    name = "params/W" if place == "params" else "optimizer/mean/W"
    with pytest.raises(ValueError, match=f"finite numbers only, got NaN or infinity in {name}"):
        save_checkpoint(tmp_path / "a.npz", checkpoint)
    assert list(tmp_path.iterdir()) == []


def test_progress_that_is_not_finite_is_never_written(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        save_checkpoint(tmp_path / "a.npz", dataclasses.replace(checkpoint, progress={"loss": np.nan}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_rest(checkpoint, saved, monkeypatch, call):
    before = saved.read_bytes()

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(saved, dataclasses.replace(checkpoint, progress={}))
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_content_reaches_the_disk_before_the_name_and_the_name_before_the_end(checkpoint, tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))[1])
    save_checkpoint(tmp_path / "a.npz", checkpoint)
    assert calls == ["fsync", "replace", "fsync"]


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.npz: no such file"):
        load_checkpoint(tmp_path / "none.npz")
    with pytest.raises(CheckpointError, match=r"is a folder; name a checkpoint, such as final\.npz of a run$"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused_by_name(saved, kept):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(CheckpointError, match=r"checkpoint_00000469\.npz: truncated"):
        load_checkpoint(saved)


def test_a_flipped_bit_is_refused_or_changes_nothing(checkpoint, saved, rng):
    content, refusals = saved.read_bytes(), []
    for position in rng.integers(0, len(content), 300):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        saved.write_bytes(damaged)
        try:
            got = load_checkpoint(saved)
        except CheckpointError as error:
            refusals.append(str(error))
            continue
        # The bit was one of the archive's dates or attributes.
        assert_same_arrays(got.params, checkpoint.params)
        assert (got.step, got.config, got.progress) == (checkpoint.step, checkpoint.config, checkpoint.progress)
    assert len(refusals) > 100
    assert all(text.startswith(f"{saved}: ") for text in refusals)


def test_changed_numbers_in_a_sound_archive_are_refused(saved):
    rewrite(saved, **{"params/b": np.array([1.0, 2.0, 3.0])})
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        load_checkpoint(saved)


def test_a_changed_shape_in_a_sound_archive_is_refused(saved, checkpoint):
    rewrite(saved, **{"params/W": checkpoint.params["W"].reshape(2, 3)})
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        load_checkpoint(saved)


def test_a_changed_dtype_in_a_sound_archive_is_refused(saved, checkpoint):
    rewrite(saved, **{"params/W": checkpoint.params["W"].view(np.int32)})
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        load_checkpoint(saved)


def test_a_missing_entry_is_refused(saved):
    rewrite(saved, **{"params/b": None})
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        load_checkpoint(saved)


def test_a_renamed_entry_is_refused(saved, checkpoint):
    rewrite(saved, **{"params/b": None, "params/c": checkpoint.params["b"]})
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        load_checkpoint(saved)


def test_an_npz_file_of_other_origin_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", W=np.ones(3))
    with pytest.raises(CheckpointError, match=r"a\.npz: not a numrnn checkpoint"):
        load_checkpoint(tmp_path / "a.npz")


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(CheckpointError, match=r"a\.npy: truncated, corrupted or not an \.npz file"):
        load_checkpoint(tmp_path / "a.npy")


def test_text_is_refused(tmp_path):
    (tmp_path / "a.npz").write_text("step,loss\n1,0.5\n")
    with pytest.raises(CheckpointError, match=r"a\.npz: truncated, corrupted or not an \.npz file"):
        load_checkpoint(tmp_path / "a.npz")


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("bomb",)


@pytest.mark.parametrize("inside", [False, True], ids=["pickle", "pickle in an archive"])
def test_a_pickle_is_refused_and_never_run(tmp_path, monkeypatch, inside):
    monkeypatch.chdir(tmp_path)
    if inside:
        np.savez("a.npz", metadata=np.array([Bomb()], dtype=object), checksum=np.zeros(32, np.uint8))
    else:
        (tmp_path / "a.npz").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match=r"a\.npz: "):
        load_checkpoint("a.npz")
    assert not (tmp_path / "bomb").exists()


def test_a_zip_file_of_other_things_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"a\.npz: "):
        load_checkpoint(tmp_path / "a.npz")


def test_a_checkpoint_of_another_version_is_refused(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("numrnn.training.checkpoint.VERSION", 2)
    path = save_checkpoint(tmp_path / "a.npz", checkpoint)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="expected numrnn checkpoint version 1, got numrnn checkpoint version 2"):
        load_checkpoint(path)


def save_steps(checkpoint, directory, *steps):
    return [save_checkpoint(checkpoint_path(directory, s), dataclasses.replace(checkpoint, step=s)) for s in steps]


def test_the_latest_checkpoint_is_the_one_of_the_highest_step(checkpoint, tmp_path):
    save_steps(checkpoint, tmp_path, 30, 123_456_789, 7)
    assert latest_checkpoint(tmp_path).step == 123_456_789


def test_there_is_no_latest_checkpoint_in_an_empty_directory(tmp_path):
    assert latest_checkpoint(tmp_path) is None


def test_there_is_no_latest_checkpoint_where_there_is_no_directory(tmp_path):
    assert latest_checkpoint(tmp_path / "none") is None


def test_files_of_other_names_are_no_checkpoints(checkpoint, tmp_path):
    save_steps(checkpoint, tmp_path, 5)
    for name in ("checkpoint_6.npz", "checkpoint_00000006.npz.bak", ".checkpoint_00000006.npz.tmp", "notes.txt"):
        (tmp_path / name).write_text("x")
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint_00000005.npz"]


def test_a_damaged_checkpoint_is_refused_with_a_warning_and_the_one_before_it_is_used(checkpoint, tmp_path):
    _, newest = save_steps(checkpoint, tmp_path, 10, 20)
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.warns(RuntimeWarning, match=r"refused .*checkpoint_00000020\.npz: truncated.*before it"):
        assert latest_checkpoint(tmp_path).step == 10


def test_pruning_keeps_the_newest_two(checkpoint, tmp_path):
    save_steps(checkpoint, tmp_path, 30, 9, 100, 20)
    prune_checkpoints(tmp_path)
    assert [load_checkpoint(path).step for path in list_checkpoints(tmp_path)] == [30, 100]


def test_pruning_removes_what_killed_writers_left_and_nothing_else(checkpoint, tmp_path):
    save_steps(checkpoint, tmp_path, 5)
    for name in (".checkpoint_00000006.npz.tmp", "metrics.jsonl", ".hidden.tmp"):
        (tmp_path / name).write_text("x")
    prune_checkpoints(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint_00000005.npz", "metrics.jsonl", ".hidden.tmp"}


def test_keeping_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match="keep must be an integer >= 1, got 0"):
        prune_checkpoints(tmp_path, keep=0)


def test_a_negative_step_is_refused(tmp_path):
    with pytest.raises(ValueError, match="step must be an integer >= 0, got -1"):
        checkpoint_path(tmp_path, -1)
