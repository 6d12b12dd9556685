/* The page: settings from sliders and presets, results into figures, text and table. */
"use strict";

(() => {
  const STARTS = [[0, 0.5], [-0.5, -0.5], [0.5, -0.75]]; // those of the paper
  const SLIDERS = [
    // name, label, least, most, step
    ["eps", "step size ε", 0.01, 1, 0.01],
    ["gamma", "diffusion γ", 0, 4, 0.01],
    ["m", "entry m of M", -4, 4, 0.01],
    ["input", "input x, constant", -3, 3, 0.01],
    ["h1", "start, unit 1", -1.2, 1.2, 0.01],
    ["h2", "start, unit 2", -1.2, 1.2, 0.01],
    ["steps", "steps", 10, 400, 10],
    ["share", "share of S, symmetric", 0, 1, 0.01],
  ];
  const byId = (id) => document.getElementById(id);
  let settings = { ...Presets.W0.settings, start: STARTS[0].slice() };
  let preset = "W0";
  let limit = 1.2;

  /** Return a number to six digits, with a true minus. */
  function digits(value, places = 6) {
    return Number(value).toPrecision(places).replace("-", "−").replace(/e([+-])/, (_, sign) => ` · 10^${sign === "-" ? "−" : ""}`);
  }

  function complex([re, im]) {
    return `${digits(re)}${im === 0 ? "" : ` ${im < 0 ? "−" : "+"} ${digits(Math.abs(im))} i`}`;
  }

  function value(name) {
    if (name === "h1") return settings.start[0];
    if (name === "h2") return settings.start[1];
    return settings[name];
  }

  function change(name, number) {
    const start = settings.start.slice();
    if (name === "h1") start[0] = number;
    else if (name === "h2") start[1] = number;
    settings = { ...settings, start, ...(name in settings ? { [name]: number } : {}) };
    preset = null;
    render();
  }

  function choose(name) {
    settings = { ...Presets[name].settings, start: STARTS[0].slice() };
    preset = name;
    render();
  }

  function build() {
    for (const [name, { name: label }] of Object.entries(Presets)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.dataset.preset = name;
      button.addEventListener("click", () => choose(name));
      byId("presets").append(button);
    }
    for (const [name, label, min, max, step] of SLIDERS) {
      const slider = document.createElement("div");
      slider.className = "slider";
      slider.innerHTML = `<label for="${name}"><span>${label}</span><output id="${name}-value" for="${name}"></output></label>`;
      const input = Object.assign(document.createElement("input"), { type: "range", id: name, min, max, step });
      input.addEventListener("input", () => change(name, Number(input.value)));
      slider.append(input);
      byId("controls").append(slider);
    }
    for (const input of document.querySelectorAll("[name=rule]")) {
      input.addEventListener("change", () => change("rule", input.value));
    }
    byId("whole").addEventListener("change", render);
    byId("orbit").addEventListener("click", (event) => {
      const box = byId("orbit").getBoundingClientRect();
      const pixel = [event.clientX - box.left, box.bottom - event.clientY].map((v) => (v * Draw.SIZE) / box.width);
      const start = pixel.map((v) => Math.round(100 * Draw.toValue(v, limit)) / 100);
      settings = { ...settings, start };
      preset = null;
      render();
    });
  }

  function showControls() {
    for (const [name] of SLIDERS) {
      byId(name).value = value(name);
      byId(`${name}-value`).textContent = String(Math.round(1e4 * value(name)) / 1e4).replace("-", "−");
    }
    const idle = { eps: settings.rule === "vanilla", share: settings.symmetric.every((s) => s === 0) };
    for (const name of ["eps", "share"]) {
      byId(name).disabled = idle[name];
      byId(name).parentElement.classList.toggle("idle", idle[name]);
    }
    document.querySelector(`[name=rule][value=${settings.rule}]`).checked = true;
    for (const button of byId("presets").children) {
      button.setAttribute("aria-pressed", String(button.dataset.preset === preset));
    }
    byId("about").textContent = preset ? Presets[preset].about : "Your own settings.";
    const A = Model.isAntisymmetric(settings) ? "M − γ I" : "M + S − γ I";
    byId("formula").textContent = `h ← ${settings.rule === "vanilla" ? "" : "h + ε "}tanh(A h + V x), A = ${A}`;
    const [s11, s12, s22] = settings.symmetric.map((s) => digits(s * settings.share, 3));
    byId("symmetric").textContent = Model.isAntisymmetric(settings) ? "" : ` S = [${s11} ${s12}; ${s12} ${s22}].`;
  }

  /** Return what the numbers mean, in two sentences. */
  function verdict(result) {
    const factor = result.factorAtZero;
    const size = digits(factor, 5);
    const grows = factor > 1 + 1e-12 ? "grows" : factor < 1 - 1e-12 ? "shrinks" : "keeps its size";
    const far = result.growth;
    const back = far > 1e3 ? "it explodes" : far > 2 ? "it grows" : far > 0.1 ? "it arrives" : far > 1e-6 ? "it is weak" : "it has vanished";
    return `At h = 0 and without input a small change ${grows}: each step multiplies it by ${size}. The gradient is multiplied by ${digits(far, 3)} from the last step to the first: ${back}.`;
  }

  function rows(result) {
    const last = result.states[result.states.length - 1];
    const critical = result.criticalStepSize;
    return [
      ["last state", last.map((v) => digits(v)).join(", "), last],
      ["eigenvalues of a step at h = 0", result.atZero.map(complex).join(", "), result.atZero.flat()],
      ["their modulus, the factor of a step", digits(result.factorAtZero), [result.factorAtZero]],
      ["longest stable step, 2γ/(γ² + m²)", critical === null ? "no rule for this matrix" : digits(critical), critical === null ? [] : [critical]],
      ["largest factor along the orbit", digits(result.largestFactor), [result.largestFactor]],
      ["steps outside Euler's disc", `${result.stepsOutside} of ${settings.steps}`, [result.stepsOutside]],
      ["norm of dL/dh at the last step, and at the first", `${digits(result.norms[result.norms.length - 1])}, ${digits(result.norms[0])}`, [result.norms[result.norms.length - 1], result.norms[0]]],
    ];
  }

  function render() {
    const result = Model.analyse(settings);
    const others = settings.others ? STARTS.slice(1).map((start) => Model.orbit(settings, start).states) : [];
    limit = Draw.orbit(byId("orbit"), settings, [result.states, ...others]);
    Draw.disc(byId("disc"), result, byId("whole").checked || settings.rule === "vanilla");
    Draw.gradient(byId("gradient"), result.norms);
    showControls();
    const last = result.states[result.states.length - 1];
    byId("orbit-text").textContent = `It ends at (${digits(last[0], 4)}, ${digits(last[1], 4)}).`;
    byId("disc-text").textContent = `${result.stepsOutside} of ${settings.steps} steps have one outside.`;
    byId("gradient-text").textContent = `At the first step it is ${digits(result.growth, 4)} times that at the last.`;
    byId("verdict").textContent = verdict(result);
    const body = byId("numbers").tBodies[0];
    body.replaceChildren(
      ...rows(result).map(([name, text, numbers]) => {
        const row = document.createElement("tr");
        const head = Object.assign(document.createElement("th"), { scope: "row", textContent: name });
        const cell = Object.assign(document.createElement("td"), { textContent: text });
        cell.dataset.values = JSON.stringify(numbers);
        row.append(head, cell);
        return row;
      }),
    );
  }

  build();
  const asked = decodeURIComponent(location.hash.slice(1));
  if (Object.hasOwn(Presets, asked)) choose(asked);
  else render();
})();
