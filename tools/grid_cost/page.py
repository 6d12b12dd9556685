"""docs/grid_cost.md, from what was measured and simulated."""

from __future__ import annotations

from typing import Any

TEXT = """# What the paper's grid search costs

The paper chose its settings for each row of its tables from a grid: 2 optimisers, 6 sizes of the initial weights, 3
step sizes, 4 diffusions and 7 learning rates, {trials:,} settings. It does not say what that cost.
`{command}` writes this page: it measures the seconds of an update, and simulates the search.

## One run

Seconds of an update with a batch of 128, on one core of {processor}, which is what a worker of `numrnn sweep` has: the
shortest of {updates}. A run has the preset's updates, and the full grid {trials:,} runs of this length. The last
two columns are from the logs of the committed runs on a GPU, which had the card alone.

{rows}

So the full grid of one row takes {least:.1f} to {most:.1f} years of one core, or {fastest:,.0f} to {slowest:,.0f} days
of a GPU that runs one trial at a time. This is why the settings in `numrnn/experiments/presets` come from smaller
searches.

## Successive halving

`numrnn sweep` trains all settings for a few updates, a third of them three times as long, and a third of these to the
end. For {example}, with rungs that end after {lengths} updates, all trials together train for
{hours:,.0f} hours on one core in place of {full:,.0f}.

The simulation submits these trials to Dask's real scheduler, as the sweep does, with 1 to 1,000 real workers. The
workers sleep instead of training, so that hours pass in minutes. Each worker dies at a random moment, once in
{death:g} hours on average, and is replaced two minutes later; its trial starts again on another worker and continues
from its last checkpoint, of which there are ten in a rung.

{table}

- **ideal**: workers that never die, and a scheduler that takes no time. A trial runs on one worker, and the last rung
  has {last} trials, so more workers than that shorten only the first rungs.
- **scheduler**: what the scheduler adds, in real seconds, not scaled: the duration of the simulation without deaths
  beyond its sleep. It is negligible beside trials that take minutes.
- **with deaths**: the duration with deaths, without the scheduler's part, scaled back to hours.
- **repeated**: training that was lost with a worker and done again.

Dask gives a task up once its worker has died under it more than three times (`distributed.scheduler.allowed-failures`),
because the task itself may be what kills workers. `numrnn sweep` then reports the trial as failed; the same command
starts it again from its checkpoint. On machines that die often, raise this number in Dask's configuration, as the
simulation does.

Simulated on {processor}, {date}, {version}.
"""


def write(found: dict[str, Any]) -> str:
    """Return the page."""
    head = ("row", "updates", "s per update, 1 core", "hours per run", "core-years, grid", "s per update, GPU")
    rows = [f"| {' | '.join((*head, 'GPU-days, grid'))} |"]
    rows.append("|---|---:|---:|---:|---:|---:|---:|")
    cards, core_years, gpu_days = set(), [], []
    for name, row in found["rows"].items():
        hours = row["updates"] * row["seconds"] / 3600
        card = row["card"]
        gpu = ["", ""]
        if card:
            cards.add(card["machine"])
            days = found["trials"] * row["updates"] * card["seconds_per_update"] / 86400
            gpu_days.append(days)
            gpu = [f"{card['seconds_per_update']:.4f}", f"{days:,.0f}"]
        years = found["trials"] * hours / 24 / 365
        core_years.append(years)
        cells = [name, f"{row['updates']:,}", f"{row['seconds']:.3f}", f"{hours:.1f}", f"{years:.2f}", *gpu]
        rows.append(f"| {' | '.join(cells)} |")
    rows += ["", f"GPU: {', '.join(sorted(cards))}."]
    table = ["| workers | ideal, h | scheduler, s | s per task | with deaths, h | deaths | restarts | repeated, h |"]
    table.append("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for one in found["searches"]:
        calm, deadly, scale = one["calm"], one["deadly"], one["scale"]
        slack = max(0.0, calm["wall"] - one["ideal"] / scale)
        hours = (deadly["wall"] - slack) * scale / 3600
        cells = [
            f"{one['workers']:,}",
            f"{one['ideal'] / 3600:,.1f}",
            f"{slack:.1f}",
            f"{slack / calm['tasks']:.4f}",
            f"{hours:,.1f}",
            str(deadly["deaths"]),
            str(deadly["restarts"]),
            f"{deadly['repeated'] / 3600:.1f}",
        ]
        table.append(f"| {' | '.join(cells)} |")
    search = found["search"]
    return TEXT.format(
        trials=found["trials"],
        command=found["command"],
        processor=found["processor"],
        updates=found["timed_updates"],
        rows="\n".join(rows),
        example=search["row"],
        lengths=", ".join(f"{length:,}" for length in search["lengths"]),
        hours=search["training"] / 3600,
        full=found["trials"] * search["lengths"][-1] * search["seconds"] / 3600,
        death=search["hours_between_deaths"],
        table="\n".join(table),
        last=search["last"],
        least=min(core_years),
        most=max(core_years),
        fastest=min(gpu_days),
        slowest=max(gpu_days),
        date=found["date"],
        version=found["version"],
    )
