"""The last kernel of a step and the first of the next one as one: where they may be, and that slips are found."""

import numpy as np
import pytest
from test_cuda_trace import CELLS, assert_agree, draw, reference, traced

from numrnn.engines.cuda.trace.graph import Graph
from numrnn.engines.cuda.trace.joint import joint_of
from numrnn.engines.cuda.trace.plan import CARRIED, Group, Plan
from numrnn.engines.cuda.trace.run import Run

SHAPE = (3, 2)


def plan_with(read, *, carried=(0, 2), kept=(), written=0):
    """Return a plan: u = 2 g in the first group, a product u W, and out = u W + what `read` makes of u in the last.

    The state has four columns: g is its columns `carried`, out takes the place of two from `written` on.
    """
    graph = Graph()
    state, weights = graph.leaf(CARRIED, (3, 4)), graph.leaf("W", (2, 2))
    g = graph.columns(state, *carried)
    u = graph.elementwise("multiply", graph.scalar(2), g)
    product = graph.node("matmul", (u, weights), None, SHAPE)
    seen = read(graph, u)
    out = graph.elementwise("add", product, seen)
    others = graph.columns(state, 2, 4)
    to = graph.join([out, others] if written == 0 else [others, out])
    first = Group(SHAPE, (g,), ((u, u, 0),))
    last = Group(SHAPE, (product, seen), ((out, to, written),))
    return Plan({CARRIED: to}, (first, product, last), (), frozenset([u] if kept else []), frozenset())


def whole(graph, u):
    return u


def view(graph, u):
    return graph.node("index", (u,), (slice(None), slice(0, 2)), SHAPE)


def test_an_element_that_a_thread_reads_and_writes_itself_may_be_overwritten():
    joint = joint_of(plan_with(whole))
    assert joint is not None
    assert joint.of_next == ()  # g is taken from the last group


def test_what_another_thread_may_read_is_not_overwritten():
    assert joint_of(plan_with(view)) is None
    assert joint_of(plan_with(view, kept=True)) is not None  # each step has an array of its own


def test_columns_of_the_state_that_another_kernel_has_written_are_read_from_its_array():
    joint = joint_of(plan_with(whole, carried=(2, 4)))
    assert joint is not None
    assert len(joint.of_next) == 1
    assert joint.group.inputs[-1].op == "leaf"


@pytest.mark.parametrize(("carried", "written"), [((1, 3), 0), ((1, 3), 2)])
def test_columns_that_the_last_kernel_writes_in_part_are_not_joined(carried, written):
    assert joint_of(plan_with(whole, carried=carried, written=written)) is None


def test_one_group_is_not_joined_to_itself():
    plan = plan_with(whole)
    assert joint_of(Plan(plan.outputs, plan.steps[:1], (), plan.kept, plan.varying)) is None
    assert joint_of(Plan(plan.outputs, plan.steps[1:], (), plan.kept, plan.varying)) is None


def reading_this_step(run, joint, t, following):
    last, first = run.plan.groups[-1], run.plan.groups[0]
    inputs = [run._at(node, t) for node in (*last.inputs, *joint.of_next)]
    run.executor.group(joint.group, inputs, [*run._outputs(last, t), *run._outputs(first, following)])


def writing_this_step(run, joint, t, following):
    last, first = run.plan.groups[-1], run.plan.groups[0]
    inputs = [run._at(node, t) for node in last.inputs] + [run._at(node, following) for node in joint.of_next]
    run.executor.group(joint.group, inputs, [*run._outputs(last, t), *run._outputs(first, t)])


@pytest.mark.parametrize("slip", [reading_this_step, writing_this_step])
def test_a_joint_kernel_with_the_arrays_of_the_wrong_step_is_found(slip, monkeypatch, rng):
    cell = CELLS["gated, full"]
    case = draw(cell, rng)
    assert_agree(traced(cell, *case), reference(cell, *case), np.float64)
    monkeypatch.setattr(Run, "_launch_joint", slip)
    with pytest.raises((AssertionError, ValueError)), np.errstate(all="ignore"):
        assert_agree(traced(cell, *case), reference(cell, *case), np.float64)
