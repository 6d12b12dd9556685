/*
 * The cell with two units, and what can be said of it: pure functions, for play.js and for the tests.
 *
 *   feedback    h_t = h_{t-1} + eps tanh(A h_{t-1} + V x)         A = M + S - gamma I,  M = [0 m; -m 0]
 *   vanilla     h_t = tanh(A h_{t-1} + V x)
 *
 * S is symmetric and zero but in presets of the paper's Figure 1 whose matrix is not antisymmetric; V = (1, -0.5).
 * A setting is an object {rule, eps, gamma, m, share, symmetric: [s11, s12, s22], input, start: [h1, h2], steps}; S is
 * `symmetric` times `share`.
 */
"use strict";

const Model = (() => {
  const V = [1, -0.5];

  /** Return {m, symmetric} of a matrix W: its antisymmetric and its symmetric part. */
  function split(W) {
    return { m: (W[0][1] - W[1][0]) / 2, symmetric: [W[0][0], (W[0][1] + W[1][0]) / 2, W[1][1]] };
  }

  /** Return A as [[a11, a12], [a21, a22]]. */
  function matrix(p) {
    const [s11, s12, s22] = p.symmetric.map((s) => s * p.share);
    return [
      [s11 - p.gamma, p.m + s12],
      [-p.m + s12, s22 - p.gamma],
    ];
  }

  /** Return tanh(A h + V x), the candidate. */
  function candidate(A, p, h) {
    return [0, 1].map((i) => Math.tanh(A[i][0] * h[0] + A[i][1] * h[1] + V[i] * p.input));
  }

  /** Return {states: h_0..h_T, candidates: c_1..c_T} from a start point. */
  function orbit(p, start = p.start) {
    const A = matrix(p);
    const states = [start.slice()];
    const candidates = [];
    for (let t = 0; t < p.steps; t += 1) {
      const h = states[t];
      const c = candidate(A, p, h);
      candidates.push(c);
      states.push(p.rule === "vanilla" ? c : [h[0] + p.eps * c[0], h[1] + p.eps * c[1]]);
    }
    return { states, candidates };
  }

  /** Return the two eigenvalues [re, im] of a real 2 x 2 matrix; that of the larger imaginary or real part first. */
  function eigenvalues(J) {
    const mean = (J[0][0] + J[1][1]) / 2;
    const half = (J[0][0] - J[1][1]) / 2;
    const square = half * half + J[0][1] * J[1][0];
    const root = Math.sqrt(Math.abs(square));
    return square < 0 ? [[mean, root], [mean, -root]] : [[mean + root, 0], [mean - root, 0]];
  }

  /** Return diag(1 - c^2) A. */
  function flowJacobian(A, c) {
    return [0, 1].map((i) => [0, 1].map((j) => (1 - c[i] * c[i]) * A[i][j]));
  }

  /** Return the eigenvalues of the step's Jacobian where the candidate is c: 1 + eps lambda, or lambda. */
  function stepEigenvalues(p, c) {
    const values = eigenvalues(flowJacobian(matrix(p), c));
    return p.rule === "vanilla" ? values : values.map(([re, im]) => [1 + p.eps * re, p.eps * im]);
  }

  /** Return dL/dh_t for t = 0..T of L = the sum of h_T, by the adjoint of each step: (B1), (B2). */
  function gradients(p, candidates) {
    const A = matrix(p);
    const g = [[1, 1]];
    for (let t = candidates.length - 1; t >= 0; t -= 1) {
      const c = candidates[t];
      const next = g[0];
      const scale = p.rule === "vanilla" ? 1 : p.eps;
      const delta = [0, 1].map((i) => scale * (1 - c[i] * c[i]) * next[i]);
      const back = [0, 1].map((j) => A[0][j] * delta[0] + A[1][j] * delta[1]);
      g.unshift(p.rule === "vanilla" ? back : [next[0] + back[0], next[1] + back[1]]);
    }
    return g;
  }

  /** Return the length of a pair. */
  function norm(v) {
    return Math.hypot(v[0], v[1]);
  }

  /** Tell whether the matrix is antisymmetric but for the diffusion. */
  function isAntisymmetric(p) {
    return p.share === 0 || p.symmetric.every((s) => s === 0);
  }

  /** Return the longest step of Euler's method that is stable at h = 0: 2 gamma / (gamma^2 + omega^2). */
  function criticalStepSize(p) {
    return (2 * p.gamma) / (p.gamma * p.gamma + p.m * p.m);
  }

  /** Return everything that the page shows. */
  function analyse(p) {
    const { states, candidates } = orbit(p);
    const g = gradients(p, candidates);
    const steps = candidates.map((c) => stepEigenvalues(p, c));
    const atZero = stepEigenvalues(p, [0, 0]);
    const largest = steps.map((pair) => Math.max(...pair.map(norm)));
    return {
      states,
      norms: g.map(norm),
      eigenvalues: steps,
      atZero,
      factorAtZero: Math.max(...atZero.map(norm)),
      largestFactor: Math.max(...largest),
      stepsOutside: largest.filter((value) => value > 1 + 1e-12).length,
      growth: norm(g[0]) / norm(g[g.length - 1]),
      criticalStepSize: p.rule === "feedback" && isAntisymmetric(p) ? criticalStepSize(p) : null,
    };
  }

  return { V, split, matrix, candidate, orbit, stepEigenvalues, gradients, norm, isAntisymmetric, analyse };
})();

if (typeof module !== "undefined") module.exports = Model;
