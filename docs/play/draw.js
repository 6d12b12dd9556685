/* Drawing: each function fills one SVG from the results of Model.analyse. Coordinates keep all their digits. */
"use strict";

const Draw = (() => {
  const SIZE = 400;
  const FIELD = 13; // arrows along a side
  const FAINTEST = 0.12;
  const INSET = { left: 46, right: 12, top: 14, bottom: 34 }; // of the plot of the gradient
  const SVG = "http://www.w3.org/2000/svg";

  function add(parent, name, attributes, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.appendChild(element);
    return element;
  }

  /** Remove everything but the title. */
  function clear(svg) {
    for (const child of [...svg.children]) if (child.tagName !== "title") child.remove();
  }

  /** Return half the width of the orbit's axes: the paper's 1.2, or more for an orbit that leaves them. */
  function halfWidth(orbits) {
    const reach = Math.max(...orbits.flat().map((h) => Math.max(Math.abs(h[0]), Math.abs(h[1]))));
    return reach <= 1.2 ? 1.2 : Math.ceil(2.2 * reach) / 2;
  }

  function toPixel(value, limit) {
    return (SIZE / 2) * (1 + value / limit);
  }

  function toValue(pixel, limit) {
    return (pixel / (SIZE / 2) - 1) * limit;
  }

  function arrow(svg, x, y, dx, dy) {
    const [tx, ty] = [x + dx, y + dy];
    const head = `M${tx - 0.35 * dx - 0.18 * dy} ${ty - 0.35 * dy + 0.18 * dx}L${tx} ${ty}L${tx - 0.35 * dx + 0.18 * dy} ${ty - 0.35 * dy - 0.18 * dx}`;
    add(svg, "path", { class: "arrow", d: `M${x} ${y}L${tx} ${ty}${head}` });
  }

  function shape(svg, kind, x, y, attributes) {
    if (kind === 0) return add(svg, "circle", { cx: x, cy: y, r: 3.4, ...attributes });
    if (kind === 1) return add(svg, "rect", { x: x - 3, y: y - 3, width: 6, height: 6, ...attributes });
    return add(svg, "path", { d: `M${x - 4} ${y + 3}L${x} ${y - 4}L${x + 4} ${y + 3}Z`, ...attributes });
  }

  /** Draw orbits, each a list of states, over the field of the candidate; return half the width of the axes. */
  function orbit(svg, p, orbits) {
    clear(svg);
    const limit = halfWidth(orbits);
    const A = Model.matrix(p);
    add(svg, "path", { class: "axis", d: `M0 ${SIZE / 2}H${SIZE}M${SIZE / 2} 0V${SIZE}` });
    for (let i = 0; i < FIELD; i += 1) {
      for (let j = 0; j < FIELD; j += 1) {
        const h = [i, j].map((k) => limit * ((2 * k) / (FIELD - 1) - 1) * 0.96);
        const c = Model.candidate(A, p, h);
        arrow(svg, toPixel(h[0], limit), SIZE - toPixel(h[1], limit), 12 * c[0], -12 * c[1]);
      }
    }
    orbits.forEach((states, which) => {
      const place = (h) => [toPixel(h[0], limit), SIZE - toPixel(h[1], limit)];
      const name = ["first", "second", "third"][which];
      const line = states.map((h) => place(h).join(" ")).join("L");
      add(svg, "path", { class: `path ${name}`, d: `M${line}` });
      states.forEach((h, t) => {
        const opacity = Math.max(FAINTEST, 1 - (states.length - 1 - t) / (states.length - 1));
        shape(svg, which, ...place(h), { class: name, opacity: opacity.toFixed(3), "data-t": t });
      });
      const [x, y] = place(states[0]);
      add(svg, "path", { class: "cross", d: `M${x - 6} ${y - 6}L${x + 6} ${y + 6}M${x - 6} ${y + 6}L${x + 6} ${y - 6}` });
    });
    add(svg, "text", { x: SIZE - 6, y: SIZE - 8, "text-anchor": "end" }, `unit 1, to ${limit}`);
    add(svg, "text", { x: 6, y: 16 }, `unit 2, to ${limit}`);
    Object.assign(svg.dataset, { limit });
    return limit;
  }

  /** Draw eigenvalues of the steps and, as diamonds, those at h = 0, over the unit disc: all of it, or the part near 1. */
  function disc(svg, result, whole) {
    clear(svg);
    const all = [...result.eigenvalues.flat(), ...result.atZero];
    const centre = whole ? 0 : 1;
    const reach = Math.max(...all.map((z) => Math.max(Math.abs(z[0] - centre), Math.abs(z[1]))));
    const limit = Math.max(whole ? 1.25 : 0.05, 1.3 * reach);
    const place = (z) => [toPixel(z[0] - centre, limit), SIZE - toPixel(z[1], limit)];
    const [x0, y0] = place([0, 0]);
    add(svg, "circle", { class: "euler", cx: x0, cy: y0, r: SIZE / 2 / limit });
    add(svg, "path", { class: "axis", d: `M0 ${y0}H${SIZE}M${place([1, 0])[0]} 0V${SIZE}` });
    result.eigenvalues.forEach((pair, t) => {
      const opacity = Math.max(FAINTEST, (t + 1) / result.eigenvalues.length);
      for (const z of pair) shape(svg, 0, ...place(z), { class: "first", opacity: opacity.toFixed(3), "data-t": t + 1 });
    });
    for (const z of result.atZero) {
      const [x, y] = place(z);
      add(svg, "path", { class: "mark", d: `M${x - 7} ${y}L${x} ${y - 7}L${x + 7} ${y}L${x} ${y + 7}Z` });
    }
    add(svg, "text", { x: place([1, 0])[0] + 5, y: y0 + 16 }, "1");
    add(svg, "text", { x: SIZE - 6, y: SIZE - 8, "text-anchor": "end" }, `real part, to ${(centre + limit).toPrecision(3)}`);
    add(svg, "text", { x: 6, y: 16 }, `imaginary part, to ${limit.toPrecision(3)}`);
    Object.assign(svg.dataset, { limit, centre });
  }

  /** Draw the norms of dL/dh_t on a logarithmic scale. */
  function gradient(svg, norms) {
    clear(svg);
    const logs = norms.map((value) => Math.log10(Math.max(value, 1e-300)));
    const low = Math.floor(Math.min(...logs, -1));
    const high = Math.ceil(Math.max(...logs, 1));
    const every = Math.ceil((high - low) / 8);
    const x = (t) => INSET.left + ((SIZE - INSET.left - INSET.right) * t) / (norms.length - 1);
    const y = (log) => INSET.top + ((SIZE - INSET.top - INSET.bottom) * (high - log)) / (high - low);
    for (let power = high; power >= low; power -= every) {
      add(svg, "path", { class: "axis", d: `M${INSET.left} ${y(power)}H${SIZE - INSET.right}` });
      const label = add(svg, "text", { x: INSET.left - 6, y: y(power) + 4, "text-anchor": "end" }, "10");
      add(label, "tspan", { dy: -5, "font-size": 10 }, String(power).replace("-", "−"));
    }
    add(svg, "path", { class: "curve", d: `M${logs.map((log, t) => `${x(t)} ${y(log)}`).join("L")}` });
    add(svg, "text", { x: INSET.left, y: SIZE - 10 }, "0");
    add(svg, "text", { x: SIZE - INSET.right, y: SIZE - 10, "text-anchor": "end" }, `step ${norms.length - 1}`);
    Object.assign(svg.dataset, { low, high });
  }

  return { orbit, disc, gradient, toValue, SIZE };
})();
