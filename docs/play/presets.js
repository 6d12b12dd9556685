/* The presets of the page: settings, and what to see in them. */
"use strict";

const Presets = (() => {
  const cell = { rule: "feedback", eps: 0.1, gamma: 0, m: -2, share: 0, symmetric: [0, 0, 0], input: 0, steps: 50 };

  /** Return a panel of Figure 1: three start points, 50 steps, no input. */
  function panel(rule, W, gamma = 0) {
    const { m, symmetric } = Model.split(W);
    return { ...cell, rule, m, symmetric, share: symmetric.some((s) => s !== 0) ? 1 : 0, gamma, others: true };
  }

  const all = {
    stable: {
      name: "stable step",
      about: "Enough diffusion for this step size: every change shrinks a little, and the orbit winds inwards.",
      settings: { ...cell, gamma: 0.4, steps: 100 },
    },
    critical: {
      name: "critical step",
      about: "The step size is 2γ/(γ² + ω²), the longest stable one: at h = 0 the factor is exactly 1.",
      settings: { ...cell, eps: 0.2, gamma: 1, m: -3, steps: 100 },
    },
    forgetful: {
      name: "too much diffusion",
      about: "The step is stable, and the gradient vanishes: what happened at the start has no influence on the end.",
      settings: { ...cell, gamma: 3, steps: 100 },
    },
    driven: {
      name: "with input",
      about: "A constant input moves the centre of the orbit and saturates the units: their slopes shrink the eigenvalues.",
      settings: { ...cell, gamma: 0.15, input: 1.5, steps: 200 },
    },
    random: {
      name: "random W",
      about: "Figure 1, top row: an Elman network with random weights. The state falls into the origin.",
      settings: panel("vanilla", [
        [0.1257302210933933, -0.1321048632913019],
        [0.6404226504432821, 0.10490011715303971],
      ]),
    },
    identity: {
      name: "W = I",
      about: "Figure 1, top row: even the identity forgets, because tanh shrinks every state.",
      settings: panel("vanilla", [[1, 0], [0, 1]]),
    },
    reflection: {
      name: "reflection",
      about: "Figure 1, top row: an orthogonal matrix with determinant -1. The orbit jumps from side to side and shrinks.",
      settings: panel("vanilla", [
        [-0.3799782909340539, 0.9249954045393066],
        [0.9249954045393066, 0.3799782909340539],
      ]),
    },
    rotation: {
      name: "rotation",
      about: "Figure 1, top row: an orthogonal matrix with determinant 1. The orbit turns and shrinks.",
      settings: panel("vanilla", [
        [0.7486060729621851, -0.6630150432110388],
        [0.6630150432110388, 0.7486060729621851],
      ]),
    },
    "W+": {
      name: "W+",
      about: "Figure 1, bottom row: eigenvalues 2. The step multiplies by 1.2, and the state leaves.",
      settings: panel("feedback", [[2, -2], [0, 2]]),
    },
    "W-": {
      name: "W−",
      about: "Figure 1, bottom row: eigenvalues -2. The step multiplies by 0.8, and the state dies.",
      settings: panel("feedback", [[-2, 2], [0, -2]]),
    },
    W0: {
      name: "W0",
      about: "Figure 1, bottom row: antisymmetric, eigenvalues ±2i. The ODE's curves are closed; Euler spirals outwards.",
      settings: panel("feedback", [[0, -2], [2, 0]]),
    },
    Wdiff: {
      name: "Wdiff",
      about: "Figure 1, bottom row: a diffusion of 0.15 is less than this step needs. Only saturation keeps the radius.",
      settings: panel("feedback", [[0, -2], [2, 0]], 0.15),
    },
  };
  return all;
})();

if (typeof module !== "undefined") module.exports = Presets;
