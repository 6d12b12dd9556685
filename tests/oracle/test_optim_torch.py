"""Optimisers, schedules, loss and clipping beside torch's own, in one process."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from numrnn import training

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("tool", ROOT / "tools" / "make_optimizer_trajectories.py")
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)


@pytest.fixture(scope="module", params=[np.float64, np.float32], ids=["float64", "float32"])
def recorded(request):
    """What torch gives in this dtype, and its rounding."""
    return tool.make_trajectories(request.param), np.finfo(request.param).eps


def group(arrays, prefix):
    return {name: arrays[f"{prefix}/{name}"] for name in tool.SHAPES}


def worst(got, wanted):
    return np.max(np.abs(got - wanted)) / np.max(np.abs(wanted))


@pytest.mark.parametrize("case", tool.OPTIMIZERS)
def test_optimizer_follows_torch_over_50_steps(case, recorded):
    arrays, eps = recorded
    kind, arguments, _, _ = tool.OPTIMIZERS[case]
    optimizer, params = getattr(training, kind)(**arguments), group(arrays, "start")
    grads, wanted, state = group(arrays, "gradient"), group(arrays, case), optimizer.init(params)
    for step in range(tool.STEPS):
        params, state = optimizer.update(params, {name: g[step] for name, g in grads.items()}, state)
        for name in params:
            assert params[name].dtype == wanted[name].dtype
            assert worst(params[name], wanted[name][step]) < 4 * (step + 1) * eps


@pytest.mark.parametrize("case", tool.SCHEDULES)
def test_schedule_follows_torch_over_50_steps(case, recorded):
    arrays, _ = recorded
    kind, arguments, _, _ = tool.SCHEDULES[case]
    schedule = getattr(training, kind)(**arguments)
    got = np.array([schedule(step) for step in range(tool.STEPS)])
    # torch multiplies from step to step, so that its rounding grows with the step
    assert np.abs(got / arrays[f"schedule/{case}"] - 1).max() < tool.STEPS**2 * np.finfo(float).eps


def test_the_stored_trajectories_are_what_torch_gives_now():
    now = tool.make_trajectories()
    with np.load(tool.TARGET) as stored:
        assert set(stored.files) == set(now)
        for name in set(now) - {"about"}:
            assert worst(stored[name], now[name]) < tool.STEPS * np.finfo(float).eps


def test_adam_on_a_schedule_follows_torch_over_50_steps():
    start, grads = tool.problem()
    schedule = training.CosineSchedule(learning_rate=0.1, total_steps=50, warmup_steps=5)
    optimizer, params = training.Adam(schedule), dict(start)
    state = optimizer.init(params)
    tensor = torch.tensor(start["W"], requires_grad=True)
    theirs = torch.optim.Adam([tensor], lr=1.0)
    scaled = torch.optim.lr_scheduler.LambdaLR(theirs, schedule)
    for step in range(50):
        params, state = optimizer.update(params, {name: g[step] for name, g in grads.items()}, state)
        tensor.grad = torch.tensor(grads["W"][step])
        theirs.step()
        scaled.step()
    assert worst(params["W"], tensor.detach().numpy()) < 50 * np.finfo(float).eps


def test_cross_entropy_and_its_gradient_are_torchs():
    rng = np.random.default_rng(0)
    logits, labels = 5 * rng.standard_normal((7, 4)), rng.integers(0, 4, 7)
    tensor = torch.tensor(logits, requires_grad=True)
    wanted = torch.nn.functional.cross_entropy(tensor, torch.tensor(labels))
    wanted.backward()
    loss, d_logits = training.softmax_cross_entropy(logits, labels)
    assert abs(loss - wanted.item()) < 10 * np.finfo(float).eps * loss
    assert worst(d_logits, tensor.grad.numpy()) < 10 * np.finfo(float).eps


def test_clipping_scales_as_torchs_does():
    _, grads = tool.problem()
    tensors = [torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in grads.values()]
    for tensor, g in zip(tensors, grads.values(), strict=True):
        tensor.grad = torch.tensor(g)
    theirs = torch.nn.utils.clip_grad_norm_(tensors, 2.0).item()
    clipped, norm = training.clip_by_global_norm(grads, 2.0)
    assert abs(norm - theirs) < 10 * np.finfo(float).eps * norm
    for ours, tensor in zip(clipped.values(), tensors, strict=True):
        # torch divides by norm + 1e-6
        assert worst(ours, tensor.grad.numpy()) < 2e-6 / norm
