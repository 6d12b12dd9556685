"""The slips of docs/kill_matrix.md, by what they are planted in: name, text that stands there, text in its place."""

from edits import Edit


def at(place: str, *slips: tuple[str, str, str]) -> tuple[Edit, ...]:
    """Return the slips of one function."""
    return tuple(Edit(name, place, old, new) for name, old, new in slips)


EULER = "cells.antisymmetric:EulerStep"
GATED_EULER = "cells.gated:GatedEulerStep"
MATRIX = "cells.antisymmetric:AntisymmetricMatrix"
UNSTRUCTURED_MATRIX = "cells.unstructured:UnstructuredMatrix"
ENGINE_PASS = "engines.cpu.passes:"
ENGINE_SLICES = "engines.cpu.slices:"
ENGINE_STEPS = "engines.cpu.steps:"
ENGINE_LIPSCHITZ = "engines.cpu.lipschitz:"
LIPSCHITZ_MODULE = "cells.lipschitz:"
TRIANGULAR = (
    *at(
        f"{MATRIX}.adjoint",
        ("entries that are no parameters get a gradient", "self._free(dA - dA.T)", "dA - dA.T"),
        ("- dA^T forgotten", "dA - dA.T", "dA"),
    ),
    *at(
        f"{EULER}.step_vjp",
        ("c for c * c", "1 - c * c", "1 - c"),
        ("state off by one in dA", "delta.T @ h ", "delta.T @ (h + self.step_size * c) "),
    ),
)
ANTISYMMETRIC = (
    *at(
        f"{MATRIX}.adjoint",
        ("+ dA^T for - dA^T", "dA - dA.T", "dA + dA.T"),
    ),
    *at(
        f"{MATRIX}.value",
        ("- gamma I forgotten", " - self.diffusion * eye(self.hidden_size, like=W)", ""),
    ),
    *at(
        f"{EULER}.step_vjp",
        (
            "- gamma I forgotten on the way back",
            "delta @ A ",
            "delta @ (A + self.diffusion * eye(self.hidden_size, like=A)) ",
        ),
        ("A not transposed", "delta @ A ", "delta @ A.T "),
        ("identity forgotten", "dh_next + delta @ A", "delta @ A"),
        ("step size forgotten", "self.step_size * (1", "(1"),
        ("slope of tanh forgotten", "(1 - c * c) * ", ""),
        ("slope of tanh with a plus", "1 - c * c", "1 + c * c"),
        ("factors of dA in the wrong order", "delta.T @ h ", "h.T @ delta "),
        ("db a mean over the batch", "xp.sum(delta, axis=0)", "xp.mean(delta, axis=0)"),
        ("dx without the slope", 'delta @ params["V"]', 'dh_next @ params["V"]'),
        (
            "bias forgotten where c is recomputed",
            "self._candidate(params,",
            'self._candidate({**params, "b": 0 * params["b"]},',
        ),
    ),
)
GATED = (
    *at(
        f"{GATED_EULER}.step_vjp",
        ("(1 - z) forgotten", "z * (1 - z) * c", "z * c"),
        ("candidate forgotten in the gate", "z * (1 - z) * c", "z * (1 - z)"),
        ("gate forgotten in the candidate", "z * (1 - c * c)", "(1 - c * c)"),
        ("gate detached", "delta_z = self.step_size", "delta_z = 0 * self.step_size"),
        ("state through the candidate only", "delta + delta_z", "delta"),
        ("dA without the gate", "both.T @ h", "delta.T @ h"),
        ("the other gate's V in dx", 'delta_z @ params["V_z"]', 'delta_z @ params["V"]'),
        ("dx without the gate", ' + delta_z @ params["V_z"]', ""),
        ("dV_z from the other delta", "delta_z.T @ x", "delta.T @ x"),
        ("db and db_z swapped", '"b": db, "V_z": dV_z, "b_z": db_z', '"b": db_z, "V_z": dV_z, "b_z": db'),
        ("V and V_z swapped", '"V": dV, "b": db, "V_z": dV_z', '"V": dV_z, "b": db, "V_z": dV'),
    ),
    *at(
        f"{GATED_EULER}._candidate_and_gate",
        ("the candidate's bias in the gate", 'params["b_z"]', 'params["b"]'),
    ),
)
GATED_TRIANGULAR = (
    *at(
        f"{GATED_EULER}.step_vjp",
        ("A not transposed", "both @ A ", "both @ A.T "),
        ("identity forgotten", "dh_next + both", "both"),
        ("step size forgotten in the gate", "delta_z = self.step_size * ", "delta_z = "),
    ),
)
UNSTRUCTURED = (
    *at(
        f"{UNSTRUCTURED_MATRIX}.adjoint",
        ("dW transposed", "return dA", "return dA.T"),
        ("dW made antisymmetric", "return dA", "return dA - dA.T"),
    ),
    *at(
        f"{UNSTRUCTURED_MATRIX}.value",
        ("+ gamma I for - gamma I", "W - self", "W + self"),
    ),
    *at(
        f"{EULER}.step_vjp",
        ("sign of dx", 'delta @ params["V"]', '-delta @ params["V"]'),
    ),
)
GATED_UNSTRUCTURED = (
    *at(
        f"{GATED_EULER}.step_vjp",
        ("z^2 for z", "z * (1 - c * c)", "z * z * (1 - c * c)"),
        ("db_z a mean over the batch", "xp.sum(delta_z, axis=0)", "xp.mean(delta_z, axis=0)"),
        ("step size twice", "both @ A ", "self.step_size * both @ A "),
    ),
)
ELMAN = (
    *at(
        "cells.elman:ElmanCell.step_vjp",
        ("c for c * c", "1 - c * c", "1 - c"),
        ("W not transposed", "delta @ W,", "delta @ W.T,"),
        ("dW transposed", "delta.T @ h,", "h.T @ delta,"),
        ("an identity that is not there", "delta @ W,", "dh_next + delta @ W,"),
        ("db of the first row only", "xp.sum(delta, axis=0)", "xp.sum(delta[:1], axis=0)"),
    ),
)
LSTM = (
    *at(
        "cells.lstm:LSTMCell.step_vjp",
        ("slope of tanh(c) forgotten", "o * (1 - s * s) *", "o *"),
        ("cotangent of the memory forgotten", "dh_next[:, n:] + o", "o"),
        (
            "cotangent of the output forgotten in the memory",
            "dc = dh_next[:, n:] + o * (1 - s * s) * dh_next[:, :n]",
            "dc = dh_next[:, n:]",
        ),
        ("(1 - i) forgotten", "i * (1 - i) * g", "i * g"),
        ("new memory for old in the forget gate", "f * (1 - f) * c_part", "f * (1 - f) * (f * c_part + i * g)"),
        ("g for g * g", "1 - g * g", "1 - g"),
        ("forget gate for input gate", "(1 - g * g) * i", "(1 - g * g) * f"),
        ("tanh forgotten in the output gate", "(1 - o) * s *", "(1 - o) * (f * c_part + i * g) *"),
        ("memory passed on without the forget gate", "f * dc)", "dc)"),
        ("total cotangent in the output gate", "o * (1 - o) * s * dh_next[:, :n]", "o * (1 - o) * s * dc"),
    ),
    *at(
        "cells.lstm:LSTMCell._quarters",
        ("gates in another order", "u[:, :n], u[:, n : 2 * n]", "u[:, n : 2 * n], u[:, :n]"),
    ),
)
LIPSCHITZ = (
    *at(
        f"{LIPSCHITZ_MODULE}SymmetricSkewMatrix.adjoint",
        ("transposed part forgotten in dM", "self._linear(dS)", "dS"),
        ("dM transposed", "self._linear(dS)", "self._linear(dS.T)"),
        ("+ gamma I in dM", "self._linear(dS)", "self._linear(dS) - self.diffusion * dS"),
    ),
    *at(
        f"{LIPSCHITZ_MODULE}Rate.adjoint",
        ("c for c * c", "1 - c * c", "1 - c"),
        ("linear part forgotten on the way back", "df @ self.A + ", ""),
        ("A not transposed", "df @ self.A ", "df @ self.A.T "),
        ("W not transposed", "delta @ self.W", "delta @ self.W.T"),
        ("slope forgotten in W", "delta @ self.W", "df @ self.W"),
    ),
    *at(
        f"{LIPSCHITZ_MODULE}LipschitzCell.step_vjp",
        ("identity forgotten", "dh_next + dk, delta", "dk, delta"),
        ("step size forgotten", "df = eps * dh_next", "df = dh_next"),
        ("slope in dA", "df.T @ k, delta.T @ k", "delta.T @ k, delta.T @ k"),
        ("no slope in dW", "df.T @ k, delta.T @ k", "df.T @ k, df.T @ k"),
        ("M_A and M_W swapped", '"M_A": dM_A, "M_W": dM_W', '"M_A": dM_W, "M_W": dM_A'),
        ("beta of the other matrix", "self.matrix_A.adjoint(dA)", "self.matrix_W.adjoint(dA)"),
        ("db a mean over the batch", ".sum(du", ".mean(du"),
    ),
)
LIPSCHITZ_RK2 = (
    *at(
        f"{LIPSCHITZ_MODULE}LipschitzCell.step_vjp",
        ("h for k in dA", "df.T @ k,", "df.T @ h,"),
        ("h for k in dW", "delta.T @ k  # (B37)", "delta.T @ h"),
        ("a whole step for the half in df", "df = eps / 2 * dk", "df = eps * dk"),
        ("a whole step for the half in k", "k = h + eps / 2 * f", "k = h + eps * f"),
        ("slope at k for that at h", "rate.adjoint(c_h, df)", "rate.adjoint(c, df)"),
        ("first evaluation forgotten in the input", "du + delta", "du"),
        ("first evaluation forgotten in dA", "dA + df.T @ h", "dA"),
        ("first evaluation forgotten in dW", "dW + delta.T @ h", "dW"),
        ("first evaluation forgotten in dh", "dh + by_h", "dh"),
        ("dk counted twice", "dh + by_h", "dh + dk + by_h"),
        ("cotangent of k passed on as that of f(h)", "df = eps / 2 * dk", "df = eps / 2 * dh_next"),
    ),
)
STACK = (
    *at(
        "cells.stack:Stack.step_vjp",
        ("what the layer above has read forgotten", "add_to_hidden(dh_next_l, dx)", "dh_next_l"),
        ("what the layer above has read twice", "add_to_hidden(dh_next_l, dx)", "add_to_hidden(dh_next_l, 2 * dx)"),
    ),
    *at(
        "cells.stack:add_to_hidden",
        ("the memory's columns", "total[..., : dx.shape[-1]] += dx", "total[..., -dx.shape[-1] :] += dx"),
        (
            "in place of the state's own cotangent",
            "total[..., : dx.shape[-1]] += dx",
            "total[..., : dx.shape[-1]] = dx",
        ),
    ),
    *at(
        "cells.stack:Stack._inputs_and_outputs",
        (
            "the old state of the layer below is read",
            "x = outputs[-1][:, : cell.hidden_size]",
            "x = part[:, : cell.hidden_size]",
        ),
        (
            "the memory of the layer below is read",
            "outputs[-1][:, : cell.hidden_size]",
            "outputs[-1][:, -cell.hidden_size :]",
        ),
    ),
)
LAYERED = (
    *at(
        "layered:LayeredTape._propagate",
        ("what the layer above has read last forgotten", "add_to_hidden(end, read[-1, ...])", "end"),
        ("what the layer above has read forgotten", "_with_reading(given, read, end)", "given"),
        (
            "the loss's own derivative for the top layer only",
            "_with_reading(given, read, end)",
            "_with_reading(None, read, end)",
        ),
    ),
    *at(
        "layered:_with_reading",
        ("read a step too early", "total[1:, :,", "total[:-1, :,"),
        ("read for the loss's own", "total[1:, :, : read.shape[2]] += read", "total[1:, :, : read.shape[2]] = read"),
    ),
    *at(
        "layered:LayeredTape._run",
        ("states off by one", "tape.states[1:, :,", "tape.states[:-1, :,"),
        (
            "lengths for the lowest layer only",
            "Problem(cell, params, x, h0, active, None)",
            "Problem(cell, params, x, h0, active if x is problem.x else None, None)",
        ),
    ),
)
LAYERED_CHECKPOINTS = (
    *at(
        "layered:LayeredTape.propagate",
        ("last segment only", "v + part.params[k]", "v"),
        ("segments in the wrong order", "reversed(self.starts())", "self.starts()"),
        ("cotangent of the end for every segment", "g = part.h0", "g = g if start else part.h0"),
        (
            "the loss's own derivatives of the first segment",
            "direct[start : steps.stop + 1, ...]",
            "direct[: steps.stop - start + 1, ...]",
        ),
    ),
    *at(
        "layered:LayeredTape._run",
        ("the first checkpoint for all", "self._kept[start // self.every]", "self._kept[0]"),
    ),
)
TIME = (
    *at(
        "bptt:ReferenceTape.propagate",
        ("sum over time forgotten", "dparams[name] += value", "dparams[name] = value"),
        ("first step forgotten in the sum", "dparams[name] += value", "dparams[name] += value * (t > 0)"),
        ("truncated after one step", "g = g + direct[t, ...]", "g = direct[t, ...]"),
        ("the loss's own derivative off by one", "direct[t, ...]", "direct[t + 1, ...]"),
        ("the loss's own derivative forgotten on the way", "if direct is not None", "if direct is None"),
        ("dx reversed in time", "dx[t, ...] = dx_t", "dx[-1 - t, ...] = dx_t"),
    ),
    *at(
        "bptt:ReferenceTape.states_backwards",
        ("state off by one", "states[t - start, ...]", "states[t - start + 1, ...]"),
    ),
    *at(
        "bptt:ReferenceTape.step_back",
        ("input off by one", "(params, x[t, ...], h, g)  # (B26)", "(params, x[t - 1, ...], h, g)"),
    ),
    *at(
        "problem:check_cotangents",
        ("cotangents of the last state not added", "g = g + d_final", "g = 0 * g + d_final"),
    ),
)
LENGTHS = (
    *at(
        "bptt:ReferenceTape.step_back",
        ("held rows also get gradient", "h_t, where(runs, g, 0))", "h_t, g)"),
        ("held rows lose their cotangent", "where(runs, dh, g)", "dh"),
        ("mask of the step before", "h_t, where(runs, g, 0))", "h_t, where(active[t - 1, ...], g, 0))"),
    ),
    *at(
        "problem:_active_steps",
        ("one step too many", "< host[None", "<= host[None"),
        ("one step too few", "np.arange(n_steps)", "np.arange(1, n_steps + 1)"),
    ),
)
CHECKPOINTS = (
    *at(
        "bptt:ReferenceTape.states_backwards",
        ("segments in the wrong order", "reversed(self.starts())", "self.starts()"),
    ),
    *at(
        "bptt:ReferenceTape.propagate",
        (
            "first step of every segment forgotten",
            "dparams[name] += value",
            "dparams[name] += value * (t % self.every > 0)",
        ),
    ),
    *at(
        "bptt:ReferenceTape.run",
        (
            "the next checkpoint",
            "self._kept[start // self.every]",
            "self._kept[(start // self.every + 1) % len(self._kept)]",
        ),
        (
            "first state for a whole segment",
            "[t, ...], h)  # (F16)",
            "[t, ...], h if states is None else states[0, ...])",
        ),
        ("one input for a whole segment", "problem.x[t, ...]", "problem.x[t if states is None else start, ...]"),
        ("checkpoints a step late", "(t + 1) % self.every == 0", "(t % self.every == 0 and t > 0)"),
    ),
)
FUSED = (
    *at(
        f"{ENGINE_STEPS}GatedEulerSlice.fill_slopes",
        ("factor 1/2 forgotten in the slope of the gate", "slope_z *= 0.5", "pass"),
        ("c for c^2", "np.multiply(acts, acts, out=slopes)", "np.copyto(slopes, acts)"),
        ("candidate forgotten in the gate", "slope_z *= c", "pass"),
    ),
    *at(
        f"{ENGINE_STEPS}GatedEulerSlice.steps_back",
        ("held rows also get gradient", "zero_ended(deltas, active[t])", "pass"),
    ),
    *at(
        f"{ENGINE_SLICES}Slice.backward",
        ("state off by one in dA", "(states[at : at + count, :, :", "(states[at + 1 : at + count + 1, :, :"),
        (
            "chunks in the wrong order",
            "in reversed(range(start, stop, self.chunk))",
            "in range(start, stop, self.chunk)",
        ),
        ("input off by a chunk", "self.x[first : first + count]", "self.x[:count]"),
    ),
    *at(
        f"{ENGINE_STEPS}GatedEulerSlice.add_products",
        ("dA without the gate", "[both, *deltas]", "[deltas[0], *deltas]"),
    ),
    *at(
        f"{ENGINE_STEPS}GatedEulerSlice.steps_back",
        ("A not transposed", "product(both, A, from_deltas)", "product(both, A.T, from_deltas)"),
    ),
    *at(
        f"{ENGINE_SLICES}Slice.add_direct_gradient",
        ("the loss's own derivative off by one", "out.direct[t,", "out.direct[t + 1,"),
    ),
    *at(
        f"{ENGINE_SLICES}BackwardBuffers.add",
        ("sum over the chunks forgotten", "total += product", "total[...] = product"),
    ),
    *at(
        f"{ENGINE_STEPS}GatedEulerSlice.gradients",
        ("V and V_z swapped", '"V": dV, "b": db, "V_z": dV_z', '"V": dV_z, "b": db, "V_z": dV'),
    ),
)
FUSED_CHECKPOINTS = (
    *at(
        f"{ENGINE_PASS}Pass._recompute",
        ("the first checkpoint for all", "[start // self.every, part.rows]", "[0, part.rows]"),
    ),
    *at(
        f"{ENGINE_PASS}Pass.backward",
        (
            "segments in the wrong order",
            "reversed(range(0, self.n_steps, self.every))",
            "range(0, self.n_steps, self.every)",
        ),
    ),
)
FUSED_LIPSCHITZ = (
    *at(
        f"{ENGINE_LIPSCHITZ}LipschitzSlice.fill_slopes",
        ("c for c^2", "np.multiply(c, c, out=slopes)", "np.copyto(slopes, c)"),
    ),
    *at(
        f"{ENGINE_LIPSCHITZ}LipschitzSlice.steps_back",
        ("held rows also get gradient", "zero_ended(deltas, active[t])", "zero_ended(deltas[1:], active[t])"),
        ("held rows give gradient to A", "zero_ended(deltas, active[t])", "zero_ended(deltas[:1], active[t])"),
        ("linear part forgotten", "add(q, products[1], q)", "pass"),
        ("tanh's part forgotten", "add(q, products[0], q)", "pass"),
        ("matrices not transposed", "W_A, products", "W_A.swapaxes(-1, -2), products"),
    ),
    *at(
        f"{ENGINE_LIPSCHITZ}LipschitzSlice.add_products",
        ("dA and dW swapped", "[*deltas, deltas[0]]", "[deltas[1], deltas[0], deltas[0]]"),
        ("db without the slope", "[*deltas, deltas[0]]", "[*deltas, deltas[1]]"),
    ),
)
FUSED_LIPSCHITZ_RK2 = (
    *at(
        f"{ENGINE_LIPSCHITZ}MidpointSlice.steps_back",
        ("factor 1/2 forgotten", "multiply(dk, 0.5, deltas[4])", "multiply(dk, 1, deltas[4])"),
        ("slopes swapped", "(slope, slope_h)", "(slope_h, slope)"),
        ("dk not passed on", "add(q, dk, q)", "pass"),
        (
            "first evaluation forgotten in the input",
            "add(deltas[1], deltas[3], deltas[0])",
            "np.copyto(deltas[0], deltas[1])",
        ),
    ),
    *at(
        f"{ENGINE_LIPSCHITZ}MidpointSlice.add_products",
        ("h for k", "[k, k, h, h, x_1]", "[h, h, h, h, x_1]"),
        ("deltas of the other evaluation", "[k, k, h, h, x_1]", "[h, h, k, k, x_1]"),
    ),
    *at(
        f"{ENGINE_LIPSCHITZ}MidpointSlice.gradients",
        ("first evaluation forgotten in dA", "totals[1] + totals[3]", "totals[1]"),
        ("first evaluation forgotten in dW", "totals[0] + totals[2]", "totals[0]"),
    ),
    *at(
        f"{ENGINE_LIPSCHITZ}MidpointSlice.fill_slopes",
        ("k over eps for k", "self.constants.scale", "1"),
    ),
)
READ_OUT = (
    *at(
        "training.losses:softmax_cross_entropy",
        ("sum for mean", "(e / total - hit) / batch", "(e / total - hit)"),
        ("averaged twice", "(e / total - hit) / batch", "(e / total - hit) / batch / batch"),
        ("mean over the classes", "(e / total - hit) / batch", "(e / total - hit) / hit.shape[1]"),
        ("label forgotten", "(e / total - hit)", "(e / total)"),
        ("softmax not normalised", "e / total - hit", "e - hit"),
        ("sign of the softmax", "e / total - hit", "hit - e / total"),
    ),
    *at(
        "training.readout:ReadOut._readout_vjp",
        ("db_out a mean", "xp.sum(flat", "xp.mean(flat"),
        ("memory for hidden state", "h = states[..., :n]", "h = states[..., n:]"),
        ("gradient to the memory", "d_states[..., :n]", "d_states[..., n:]"),
    ),
    *at(
        "training.readout:ReadOut._read",
        ("last state off by one", "states[-1, ...]", "states[-2, ...]"),
    ),
    *at(
        "training.readout:ReadOut.loss_and_gradient",
        ("lengths forgotten", "lengths=lengths", "lengths=None"),
    ),
)
SQUARES = (
    *at(
        "training.losses:mean_squared_error",
        ("factor 2 forgotten", "2 / size", "1 / size"),
        ("mean over the batch only", "2 / size", "2 / difference.shape[0]"),
        ("sign of the difference", "return loss, difference", "return loss, -difference"),
    ),
)
CLIP = (
    *at(
        "training.clipping:clip_by_global_norm",
        ("scaled by the inverse", "factor = max_norm / norm", "factor = norm / max_norm"),
        ("not clipped", "norm <= max_norm", "norm >= max_norm"),
    ),
    *at(
        "training.clipping:norm_on_device",
        ("square root forgotten", "peak * xp.sqrt(total)", "peak * total"),
        ("norm without the largest element", "peak * xp.sqrt(total)", "xp.sqrt(total)"),
        ("norm of the last array only", "total = total + xp.sum", "total = xp.sum"),
    ),
)
UPDATE = (
    *at(
        "training.optim.sgd:SGD._one",
        ("momentum dampened", "v = momentum * v + g", "v = momentum * v + (1 - momentum) * g"),
        ("old velocity forgotten", "v = momentum * v + g", "v = g"),
        ("gradient and velocity swapped", "g + momentum * v if", "v + momentum * g if"),
        ("sign of the step", "p - rate", "p + rate"),
    ),
    *at(
        "training.optim.adam:Adam._one",
        ("Adam's mean of squares", "rest1 * g", "rest1 * g * g"),
        ("beta2 for beta1", "rest1 * g", "rest2 * g"),
    ),
)
EULER_TANGENT = (
    *at(
        f"{EULER}.step_jvp",
        ("tangent of A forgotten", " + h @ A_dot.T", ""),
        ("c for c * c", "1 - c * c", "1 - c"),
    ),
    *at(
        f"{MATRIX}.tangent",
        ("- W_dot^T forgotten", "U_dot - U_dot.T", "U_dot"),
    ),
    *at(
        f"{EULER}.jacobian",
        ("step size forgotten in the Jacobian", "self.step_size * ", ""),
    ),
)
GATED_TANGENT = (
    *at(
        f"{GATED_EULER}.step_jvp",
        ("(1 - z) forgotten", "z * (1 - z)", "z"),
        ("the gate's tangent forgotten", "z_dot * c + ", ""),
        ("the other gate's V", 'x_dot @ params["V_z"].T', 'x_dot @ params["V"].T'),
    ),
    *at(
        f"{GATED_EULER}.jacobian",
        ("the gate's part of the Jacobian forgotten", " + c * z * (1 - z)", ""),
    ),
)
LSTM_TANGENT = (
    *at(
        "cells.lstm:LSTMCell.step_jvp",
        ("the forget gate's tangent forgotten", "f_dot * h[:, n:] + ", ""),
        ("slope of tanh(c) forgotten", "o * (1 - s * s)", "o"),
    ),
    *at(
        "cells.lstm:LSTMCell.jacobian",
        ("output gate forgotten in the Jacobian", " + (o * (1 - o) * s)[:, :, None] * W_o", ""),
        ("identity for the forget gate in the Jacobian", "J[:, n:, n:] = f[:, :, None] *", "J[:, n:, n:] ="),
    ),
)
ELMAN_TANGENT = (
    *at(
        "cells.elman:ElmanCell.step_jvp",
        ("bias forgotten", ' + params_dot["b"]', ""),
    ),
)
LIPSCHITZ_TANGENT = (
    *at(
        f"{LIPSCHITZ_MODULE}Rate.tangent",
        ("tangent of A forgotten", " + h @ dot.A.T", ""),
        ("tangent of W forgotten", " + h @ dot.W.T", ""),
        ("slope forgotten", "(1 - c * c) * ", ""),
    ),
    *at(
        f"{LIPSCHITZ_MODULE}SymmetricSkewMatrix.tangent",
        ("transposed part forgotten", "self._linear(M_dot)", "M_dot"),
    ),
    *at(
        f"{LIPSCHITZ_MODULE}Rate.jacobian",
        ("linear part forgotten in the Jacobian", "self.A + ", ""),
        ("slope of the columns", "[:, :, None] * self.W", "[:, None, :] * self.W"),
    ),
)
LIPSCHITZ_RK2_TANGENT = (
    *at(
        f"{LIPSCHITZ_MODULE}LipschitzCell.step_jvp",
        ("tangent of k forgotten", "h_dot + eps / 2 * rate.tangent(h, c, dot, h_dot)", "h_dot"),
        ("a whole step for the half", "h_dot + eps / 2 *", "h_dot + eps *"),
    ),
    *at(
        f"{LIPSCHITZ_MODULE}LipschitzCell.jacobian",
        (
            "first evaluation forgotten in the Jacobian",
            "rate.jacobian(c) @ (identity + eps / 2 * G)",
            "rate.jacobian(c)",
        ),
        (
            "factors in the wrong order",
            "rate.jacobian(c) @ (identity + eps / 2 * G)",
            "(identity + eps / 2 * G) @ rate.jacobian(c)",
        ),
    ),
)
STACK_TANGENT = (
    *at(
        "cells.stack:Stack.step_jvp",
        (
            "every layer's tangent by that of x",
            "x_dot = tangents[-1][:, : cell.hidden_size]",
            "x_dot = 0 * tangents[-1][:, : cell.hidden_size]",
        ),
        (
            "tangent of the old state below",
            "x_dot = tangents[-1][:, : cell.hidden_size]",
            "x_dot = h_l_dot[:, : cell.hidden_size]",
        ),
    ),
    *at(
        "cells.stack:Stack.jacobian",
        ("influence of the layers below forgotten", "by_input(cell, own, x_l, h_l) @ read", "0"),
        (
            "read from the memory",
            "columns.start : columns.start + cell.hidden_size",
            "columns.stop - cell.hidden_size : columns.stop",
        ),
    ),
)
