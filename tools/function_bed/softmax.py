"""The softmax family, by rows. p is the softmax of x."""

import numpy as np

from tools.function_bed.base import UP_TO_ONE, Function, family, normal

LABELS = np.array([2, 0, 3])

ROWS = np.arange(3)

CLASS_WEIGHTS = np.array([0.5, 2.0, 1.5, 0.8])


def log_softmax(x):
    """Return x - log sum exp x along the last axis."""
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.sum(np.exp(x), -1, keepdims=True))


def softmax(x):
    """Return exp x / sum exp x along the last axis."""
    return np.exp(log_softmax(x))


def onehot(x):
    """Return 1 at the label of each row, 0 elsewhere."""
    return np.eye(x.shape[1], dtype=x.dtype)[LABELS]


def _softmax(c, x, mistake="", temperature=1.0):
    p = softmax(x / temperature)
    if mistake == "diagonal of the Jacobian only":
        return c * p * (1 - p)
    terms = c if mistake == "p forgotten in the sum" else c * p
    inner = np.sum(terms, 0 if mistake == "wrong axis" else -1, keepdims=True)
    g = p * (c if mistake == "sum forgotten" else c - inner)
    if mistake == "times the temperature":
        return g * temperature
    return g if mistake == "temperature forgotten" else g / temperature


def _log_softmax(c, x, mistake=""):
    p = softmax(x)
    if mistake == "sum of c forgotten":
        return c - p
    if mistake == "gradient of the softmax":
        return _softmax(c, x)
    return c - p * np.sum(c, 0 if mistake == "wrong axis" else -1, keepdims=True)


def _cross_entropy(c, x, mistake="", smoothing=0.0):
    """Return c (p - t), with t the one-hot labels, smoothed."""
    t = (1 - smoothing) * onehot(x) + (0 if mistake == "smoothing not spread" else smoothing) / x.shape[1]
    if mistake == "smoothing forgotten":
        t = onehot(x)
    if mistake == "label off by one":
        t = np.roll(t, 1, -1)
    if mistake == "1 forgotten at the label":
        t = 0 * t
    g = c[:, None] * (t - softmax(x) if mistake == "wrong sign" else softmax(x) - t)
    return g / len(x) if mistake == "mean for sum" else g


def _smooth_labels_value(x, smoothing=0.1):
    logs = log_softmax(x)
    return -(1 - smoothing) * logs[ROWS, LABELS] - smoothing * logs.mean(-1)


def _weighted_value(x):
    return -CLASS_WEIGHTS.astype(x.real.dtype)[LABELS] * log_softmax(x)[ROWS, LABELS]


def _weighted(c, x, mistake=""):
    w = CLASS_WEIGHTS.astype(x.dtype)
    if mistake == "weight of each class, not of the label":
        return c[:, None] * w * (softmax(x) - onehot(x))
    if mistake == "weight at the label only":
        return c[:, None] * (softmax(x) - onehot(x) * w[LABELS][:, None])
    return (1 if mistake == "weights forgotten" else w[LABELS][:, None]) * _cross_entropy(c, x)


def _focal(c, x, mistake="", gamma=2):
    """-(1 - p)^gamma log p, with p the probability of the label."""
    p = softmax(x)[ROWS, LABELS]
    outer = (1 - p) ** gamma / p
    inner = gamma * (1 - p) ** (gamma - 1) * np.log(p)
    if mistake == "modulation detached":
        inner = 0 * inner
    if mistake == "gamma forgotten":
        inner = inner / gamma
    dp = -outer - inner if mistake == "minus for plus" else inner - outer
    return (c * dp * p)[:, None] * (onehot(x) - softmax(x))


def _divergence_value(x, y):
    """KL(softmax x || softmax y)."""
    return np.sum(softmax(x) * (log_softmax(x) - log_softmax(y)), -1)


def _divergence(c, x, y, mistake=""):
    p, q = softmax(x), softmax(y)
    logs = log_softmax(x) - log_softmax(y)
    dx = c[:, None] * p * (logs - np.sum(p * logs, -1, keepdims=True))
    dy = c[:, None] * (q - p)
    if mistake == "mean log forgotten":
        dx = c[:, None] * p * logs
    if mistake == "dx as of the cross-entropy":
        dx = c[:, None] * (p - q)
    return dx, -dy if mistake == "dy with a minus" else dy


def _entropy(c, x, mistake=""):
    p, logs = softmax(x), log_softmax(x)
    mean = np.sum(p * logs, -1, keepdims=True)
    g = c[:, None] * p * ((logs if mistake == "mean forgotten" else logs - mean) + (mistake == "1 not cancelled"))
    return g if mistake == "wrong sign" else -g


def _contrastive_value(x, y):
    """Cross-entropy of the inner products of each x with all y, the right one on the diagonal."""
    return -np.diag(log_softmax(x @ y.T / 0.5))


def _contrastive(c, x, y, mistake=""):
    p = softmax(x @ y.T / 0.5)
    d = c[:, None] * (p - (0 if mistake == "positives forgotten" else np.eye(len(x), dtype=x.dtype)))
    d = d if mistake == "temperature forgotten" else d / 0.5
    return d @ y, (d if mistake == "dy not transposed" else d.T) @ x


FUNCTIONS = family(
    "softmax and cross-entropy",
    Function(
        "softmax",
        softmax,
        _softmax,
        {"x": normal(3, 4)},
        ("diagonal of the Jacobian only", "sum forgotten", "wrong axis"),
        UP_TO_ONE,
    ),
    Function(
        "softmax with temperature 2",
        lambda x: softmax(x / 2),
        lambda c, x, mistake="": _softmax(c, x, mistake, 2.0),
        {"x": normal(3, 4)},
        ("temperature forgotten", "times the temperature", "p forgotten in the sum"),
        UP_TO_ONE,
    ),
    Function(
        "log-softmax",
        log_softmax,
        _log_softmax,
        {"x": normal(4, 4)},
        ("sum of c forgotten", "gradient of the softmax", "wrong axis"),
        UP_TO_ONE,
    ),
    Function(
        "cross-entropy with labels",
        lambda x: -log_softmax(x)[ROWS, LABELS],
        _cross_entropy,
        {"x": normal(3, 4)},
        ("label off by one", "1 forgotten at the label", "mean for sum"),
        UP_TO_ONE,
    ),
    Function(
        "cross-entropy with smoothed labels",
        _smooth_labels_value,
        lambda c, x, mistake="": _cross_entropy(c, x, mistake, 0.1),
        {"x": normal(3, 4)},
        ("smoothing forgotten", "smoothing not spread", "wrong sign"),
        UP_TO_ONE,
    ),
    Function(
        "cross-entropy with class weights",
        _weighted_value,
        _weighted,
        {"x": normal(3, 4)},
        ("weights forgotten", "weight of each class, not of the label", "weight at the label only"),
        UP_TO_ONE,
    ),
    Function(
        "focal loss",
        lambda x: -((1 - softmax(x)[ROWS, LABELS]) ** 2) * log_softmax(x)[ROWS, LABELS],
        _focal,
        {"x": normal(3, 4)},
        ("modulation detached", "gamma forgotten", "minus for plus"),
        UP_TO_ONE,
    ),
    Function(
        "Kullback-Leibler divergence of two softmaxes",
        _divergence_value,
        _divergence,
        {"x": normal(3, 4), "y": normal(3, 4)},
        ("mean log forgotten", "dx as of the cross-entropy", "dy with a minus"),
    ),
    Function(
        "entropy of the softmax",
        lambda x: -np.sum(softmax(x) * log_softmax(x), -1),
        _entropy,
        {"x": normal(3, 4)},
        ("mean forgotten", "1 not cancelled", "wrong sign"),
    ),
    Function(
        "contrastive cross-entropy",
        _contrastive_value,
        _contrastive,
        {"x": normal(3, 2), "y": normal(3, 2)},
        ("positives forgotten", "temperature forgotten", "dy not transposed"),
        UP_TO_ONE,
    ),
)
