"""docs/play: its pure functions against numrnn in node, and what the page draws against numrnn in Chromium."""

import importlib.util
import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

import numrnn
from numrnn.experiments.figures import simulation
from numrnn.stability import critical_step_size, step_eigenvalues
from tools import browser

PLAY = pathlib.Path(__file__).parents[2] / "docs" / "play"
SCRIPTS = [PLAY / name for name in ("model.js", "presets.js", "draw.js", "play.js")]
V = np.array([[1.0], [-0.5]])
EPS = np.finfo(float).eps
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
needs_browser = pytest.mark.skipif(
    browser.find() is None or importlib.util.find_spec("playwright") is None, reason="no Chromium or no Playwright"
)


def cell_and_params(setting):
    """Return the numrnn cell of a setting of the page, and its parameters."""
    s11, s12, s22 = setting["share"] * np.array(setting["symmetric"])
    M, S = setting["m"] * np.array([[0.0, 1.0], [-1.0, 0.0]]), np.array([[s11, s12], [s12, s22]])
    gamma = setting["gamma"]
    if setting["rule"] == "vanilla":
        cell, W = numrnn.ElmanCell(1, 2), M + S - gamma * np.eye(2)
    elif S.any():
        cell, W = numrnn.UnstructuredCell(1, 2, step_size=setting["eps"], diffusion=gamma), M + S
    else:
        cell, W = numrnn.AntisymmetricCell(1, 2, step_size=setting["eps"], diffusion=gamma), np.triu(M)
    return cell, {"W": W, "V": V, "b": np.zeros(2)}


class Reference:
    """What numrnn computes for a setting, and how far rounding may take another program from it."""

    def __init__(self, setting):
        self.cell, params = cell_and_params(setting)
        x = np.full((setting["steps"], 1, 1), float(setting["input"]))
        states, tape = numrnn.forward(self.cell, params, x, np.array([setting["start"]], float), engine="reference")
        totals = numrnn.backward(tape, d_final=np.ones((1, 2)), wrt=("states",)).states
        self.states, self.norms = states[:, 0], np.hypot(totals[:, 0, 0], totals[:, 0, 1])
        self.eigenvalues = step_eigenvalues(self.cell, params, x, states)[:, 0]
        zero = np.zeros((2, 1, 2))
        self.at_zero = step_eigenvalues(self.cell, params, np.zeros((1, 1, 1)), zero)[0, 0]
        # A rounding at step t comes to h_T through the Jacobians after t: the sum of their norms is how it may grow.
        product, growth = np.eye(2), 1.0
        for t in reversed(range(len(x))):
            product = product @ self.cell.jacobian(params, x[t], states[t])[0]
            growth += np.linalg.norm(product, 2)
        self.allowed = 100 * EPS * growth * max(1.0, np.abs(self.states).max())
        # Where a unit is saturated, a rounding of c is one of 1 - c^2 that is larger by 1 / (1 - c^2).
        A = params["W"] if setting["rule"] == "vanilla" else self.cell.matrix.value(params["W"])
        slopes = 1 - np.tanh(self.states[:-1] @ A.T + V[:, 0] * setting["input"]) ** 2
        lost = 1 / np.maximum(slopes.min(axis=1), EPS)
        self.allowed_of_norms = self.allowed + 10 * EPS * np.append(np.cumsum(lost[::-1])[::-1], 0.0)

    def check_states(self, states):
        assert np.abs(np.array(states) - self.states).max() <= self.allowed

    def check_norms(self, norms):
        seen = (self.norms > 1e-280) & (self.allowed_of_norms < 1e-6)  # the page draws nothing below 1e-300
        error = np.abs(np.array(norms)[seen] / self.norms[seen] - 1)
        assert np.all(error <= self.allowed_of_norms[seen])
        return np.mean(seen)

    def check_eigenvalues(self, pairs, wanted):
        """Compare pairs [re, im]; near a double eigenvalue an error e of the matrix becomes sqrt(e)."""
        found = np.sort_complex(np.array(pairs)[..., 0] + 1j * np.array(pairs)[..., 1])
        wanted = np.sort_complex(wanted)
        gap = np.abs(wanted[..., 0] - wanted[..., 1])
        error = np.abs(found - wanted).max(axis=-1)
        assert np.all((error <= self.allowed) | (error * gap <= self.allowed))


def random_settings(count=60):
    rng = np.random.default_rng(22)
    for _ in range(count):
        yield {
            "rule": str(rng.choice(["feedback", "feedback", "vanilla"])),
            "eps": float(rng.uniform(0.01, 0.3)),
            "gamma": float(rng.uniform(0, 2)),
            "m": float(rng.uniform(-3, 3)),
            "share": float(rng.choice([0.0, rng.uniform(0, 1)])),
            "symmetric": [0.0, 0.0, 0.0] if rng.uniform() < 0.6 else rng.normal(0, 0.3, 3).tolist(),
            "input": float(rng.choice([0.0, rng.uniform(-2, 2)])),
            "start": rng.uniform(-1.2, 1.2, 2).tolist(),
            "steps": int(rng.integers(10, 201)),
        }


def in_node(expression, argument=None):
    """Return the value of an expression that may use Model, Presets and `given`."""
    files = [json.dumps(str(path)) for path in SCRIPTS[:2]]
    lines = [
        f"globalThis.Model = require({files[0]}); globalThis.Presets = require({files[1]});",
        "const given = JSON.parse(require('fs').readFileSync(0, 'utf8'));",
        f"process.stdout.write(JSON.stringify({expression}));",
    ]
    done = subprocess.run(
        ["node", "-e", "\n".join(lines)], input=json.dumps(argument), check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


@needs_node
def test_orbits_eigenvalues_and_gradients_are_numrnns():
    settings = list(random_settings())
    assert {type(cell_and_params(s)[0]).__name__ for s in settings} == {
        "AntisymmetricCell",
        "UnstructuredCell",
        "ElmanCell",
    }
    for setting, found in zip(settings, in_node("given.map(Model.analyse)", settings), strict=True):
        wanted = Reference(setting)
        wanted.check_states(found["states"])
        assert wanted.check_norms(found["norms"]) > 0.1
        wanted.check_eigenvalues(found["eigenvalues"], wanted.eigenvalues)
        wanted.check_eigenvalues(found["atZero"], wanted.at_zero)
        assert np.isclose(found["factorAtZero"], np.abs(wanted.at_zero).max(), rtol=100 * EPS)
        if found["criticalStepSize"] is not None:
            critical = critical_step_size(setting["gamma"], abs(setting["m"]))
            assert np.isclose(found["criticalStepSize"], critical, rtol=10 * EPS)


@needs_node
def test_presets_are_the_panels_of_figure_1():
    presets = in_node("Presets")
    panels = {**simulation.matrices(0), **simulation.FEEDBACK}
    assert set(panels) <= set(presets)
    for name, W in panels.items():
        setting = presets[name]["settings"] | {"start": [0.0, 0.5]}
        cell, params = cell_and_params(setting)
        A = cell.matrix.value(params["W"]) if setting["rule"] == "feedback" else params["W"]
        assert np.abs(A - W).max() <= 100 * EPS, name  # matrices(0) has another last digit with another LAPACK
        assert (setting["eps"], setting["steps"], setting["input"]) == (0.1, 50, 0)
        assert (setting["rule"] == "vanilla") == (name not in simulation.FEEDBACK)


@needs_node
def test_the_preset_of_the_critical_step_is_critical():
    found = in_node("Model.analyse({...Presets.critical.settings, start: [0, 0.5]})")
    assert abs(found["factorAtZero"] - 1) <= 4 * EPS
    assert np.isclose(found["criticalStepSize"], 0.2, rtol=4 * EPS)


def test_the_page_loads_nothing_from_elsewhere():
    for path in [*SCRIPTS, PLAY / "index.html", PLAY / "play.css"]:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert re.findall(r"https?:|//[\w.-]+\.\w+/|@import|fetch\(|XMLHttpRequest|import\(", text) == [], path.name


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def test_text_and_curves_stand_out_in_both_schemes():
    blocks = re.findall(r":root \{(.*?)\}", (PLAY / "play.css").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        colours = dict(re.findall(r"--(\w+): (#\w{6});", block))
        for name, least in (("ink", 7), ("quiet", 4.5), ("first", 4.5), ("second", 4.5), ("third", 4.5)):
            low, high = sorted(luminance(colours[key]) for key in (name, "paper"))
            assert (high + 0.05) / (low + 0.05) >= least, name


@pytest.fixture(scope="module")
def chromium():
    with browser.Browser() as opened:
        yield opened


READ = """(() => {
  const number = (element, ...names) => names.map((name) => Number(element.getAttribute(name)));
  const points = (id) => [...document.querySelectorAll(`#${id} circle[data-t]`)].map((c) => number(c, "cx", "cy"));
  const data = (id) => ({...document.getElementById(id).dataset});
  return {
    orbit: points("orbit"), disc: points("disc"), orbitData: data("orbit"), discData: data("disc"),
    curve: document.querySelector("#gradient .curve").getAttribute("d"), gradientData: data("gradient"),
    sliders: Object.fromEntries([...document.querySelectorAll("[type=range]")].map((s) => [s.id, Number(s.value)])),
    rule: document.querySelector("[name=rule]:checked").value,
    numbers: [...document.querySelectorAll("#numbers td")].map((cell) => JSON.parse(cell.dataset.values)),
    verdict: document.getElementById("verdict").textContent,
  };
})()"""


def check_drawing(drawn, setting):
    """Compare what is drawn with numrnn: coordinates of points and curve, turned back into numbers, and the table."""
    wanted = Reference(setting)
    limit, pixels = float(drawn["orbitData"]["limit"]), np.array(drawn["orbit"])
    wanted.check_states(np.stack([pixels[:, 0] / 200 - 1, 1 - pixels[:, 1] / 200], axis=1) * limit)
    limit, centre = float(drawn["discData"]["limit"]), float(drawn["discData"]["centre"])
    pixels = np.array(drawn["disc"]).reshape(-1, 2, 2)
    pairs = np.stack([pixels[..., 0] / 200 - 1, 1 - pixels[..., 1] / 200], axis=-1) * limit
    wanted.check_eigenvalues(pairs + np.array([centre, 0.0]), wanted.eigenvalues)
    low, high = float(drawn["gradientData"]["low"]), float(drawn["gradientData"]["high"])
    heights = np.array([float(point.split()[1]) for point in drawn["curve"][1:].split("L")])
    wanted.check_norms(10 ** (high - (heights - 14) * (high - low) / (400 - 14 - 34)))
    last, at_zero, factor, critical, largest, outside, norms = drawn["numbers"]
    assert np.abs(np.array(last) - wanted.states[-1]).max() <= wanted.allowed
    wanted.check_eigenvalues([at_zero[:2], at_zero[2:]], wanted.at_zero)
    assert np.isclose(factor[0], np.abs(wanted.at_zero).max(), rtol=100 * EPS)
    assert np.isclose(largest[0], np.abs(wanted.eigenvalues).max(), rtol=wanted.allowed)
    assert outside == [int(np.sum(np.abs(wanted.eigenvalues).max(axis=1) > 1 + 1e-12))]
    wanted.check_norms([norms[1], *wanted.norms[1:-1], norms[0]])
    if critical:
        assert np.isclose(critical[0], critical_step_size(setting["gamma"], abs(setting["m"])), rtol=10 * EPS)


def setting_of(sliders, rule="feedback"):
    start = [sliders.pop("h1"), sliders.pop("h2")]
    return {"rule": rule, "symmetric": [0.0, 0.0, 0.0], "start": start, **sliders, "steps": int(sliders["steps"])}


def drag_slider(chromium, name, share):
    """Drag a slider with the mouse to a share of its width, and return what is drawn before and after."""
    before = chromium.evaluate(READ)
    x, y, width = chromium.evaluate(
        f"(() => {{ const b = document.getElementById('{name}').getBoundingClientRect();"
        " return [b.left, b.top + b.height / 2, b.width]; })()"
    )
    least, most = chromium.evaluate(f"['min', 'max'].map((k) => Number(document.getElementById('{name}')[k]))")
    at = (before["sliders"][name] - least) / (most - least)
    thumb = 16  # pixels: the middle of the thumb runs over the width without half a thumb on either side
    chromium.drag((x + thumb / 2 + at * (width - thumb), y), (x + thumb / 2 + share * (width - thumb), y))
    after = chromium.evaluate(READ)
    assert after["sliders"][name] != before["sliders"][name], name
    assert after["sliders"][name] == pytest.approx(least + share * (most - least), abs=0.05 * (most - least))
    others = [key for key in before["sliders"] if key != name]
    assert [after["sliders"][key] for key in others] == [before["sliders"][key] for key in others]
    assert after["orbit"] != before["orbit"]
    return after


@needs_browser
def test_a_slider_that_is_dragged_moves_what_is_drawn_to_numrnns_numbers(chromium):
    chromium.open((PLAY / "index.html").as_uri())
    first = chromium.evaluate(READ)
    check_drawing(first, setting_of(dict(first["sliders"])))
    moves = {"gamma": 0.1, "eps": 0.2, "m": 0.8, "input": 0.7, "h1": 0.9, "h2": 0.2, "steps": 0.3}
    for name, share in moves.items():
        after = drag_slider(chromium, name, share)
        check_drawing(after, setting_of(dict(after["sliders"])))
    assert chromium.errors == []


@needs_browser
def test_the_symmetric_part_of_a_preset_can_be_taken_away(chromium):
    chromium.open((PLAY / "index.html").as_uri() + "#W+")
    preset = chromium.evaluate("({...Presets['W+'].settings, start: [0, 0.5]})")
    half = drag_slider(chromium, "share", 0.5)
    check_drawing(half, preset | {"share": half["sliders"]["share"]})
    none = drag_slider(chromium, "share", 0.0)
    check_drawing(none, preset | {"share": 0})
    assert "M − γ I" in chromium.evaluate("document.getElementById('formula').textContent")


@needs_browser
def test_every_preset_draws_its_panel(chromium):
    chromium.open((PLAY / "index.html").as_uri())
    for name in chromium.evaluate("Object.keys(Presets)"):
        chromium.evaluate(f"document.querySelector('[data-preset=\"{name}\"]').click()")
        setting = chromium.evaluate(f"({{...Presets['{name}'].settings, start: [0, 0.5]}})")
        check_drawing(chromium.evaluate(READ), setting)
        pressed = "[...document.querySelectorAll('[aria-pressed=true]')].map((b) => b.dataset.preset)"
        assert chromium.evaluate(pressed) == [name]
    assert chromium.errors == []


@needs_browser
def test_the_verdict_names_the_growth_of_the_papers_wdiff(chromium):
    chromium.open((PLAY / "index.html").as_uri() + "#Wdiff")
    assert "grows: each step multiplies it by 1.0051" in chromium.evaluate(READ)["verdict"]


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window_and_every_control_has_a_name(chromium, width, dark):
    chromium.open((PLAY / "index.html").as_uri(), width=width, dark=dark)
    assert chromium.evaluate("document.documentElement.scrollWidth <= innerWidth")
    outside = (
        "[...document.querySelectorAll('*')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert chromium.evaluate(outside) == 0
    nameless = (
        "[...document.querySelectorAll('input')].filter((i) => !i.labels.length || !i.labels[0].textContent.trim())"
    )
    assert chromium.evaluate(f"{nameless}.length") == 0
    assert chromium.evaluate("[...document.querySelectorAll('svg')].every((s) => s.querySelector('title'))")
    paper = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") != dark
    assert chromium.errors == []


@needs_browser
def test_a_click_sets_the_start(chromium):
    chromium.open((PLAY / "index.html").as_uri() + "#stable")
    left, top, width = chromium.evaluate(
        "(() => { const s = document.getElementById('orbit'); s.scrollIntoView({block: 'center'});"
        " const b = s.getBoundingClientRect(); return [b.left, b.top, b.width]; })()"
    )
    limit = float(chromium.evaluate("document.getElementById('orbit').dataset.limit"))
    point = (left + 0.75 * width, top + 0.25 * width)
    chromium.drag(point, point)
    sliders = chromium.evaluate(READ)["sliders"]
    assert [sliders["h1"], sliders["h2"]] == pytest.approx([0.5 * limit, 0.5 * limit], abs=0.02)
