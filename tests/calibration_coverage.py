"""How often 95 % percentile bootstrap intervals of ECE and Brier score hold the true value: the table of the page.

One label, 300 sets of 80 to 1,000 rows, logits of standard deviation 2 that are T times too large.  About a minute:
`python tests/calibration_coverage.py`.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from medzoo.evaluation.calibration.metrics import brier, ece
from medzoo.evaluation.predictions import Predictions
from medzoo.evaluation.uncertainty.counted import prepare_counted

SETS, RESAMPLES, MANY = 300, 250, 2_000_000


def draw(generator: np.random.Generator, count: int, temperature: float) -> Predictions:
    """Draw rows whose calibrated scores are the sigmoid of their logits divided by a temperature."""
    logits = generator.normal(0, 2, (count, 1))
    labels = (generator.uniform(size=logits.shape) < expit(logits / temperature)).astype(np.float64)
    names = np.zeros(count, dtype=np.str_)
    return Predictions(names, labels, expit(logits), ("a",), np.full(count, "test"), exclusive=False)


def main() -> None:
    """Print a line for each true error and number of rows."""
    generator = np.random.default_rng(1)
    for temperature in (1.0, 1.4, 3.0):
        population = draw(generator, MANY, temperature)
        true = {"ece": 0.0 if temperature == 1 else ece(population), "brier": brier(population)}
        for count in (80, 150, 300, 1000):
            held = dict.fromkeys(true, 0)
            for _ in range(SETS):
                rows = draw(generator, count, temperature)
                counts = generator.multinomial(count, np.full(count, 1 / count), RESAMPLES).T.astype(
                    np.float64
                )
                for name, metric in (("ece", ece), ("brier", brier)):
                    low, high = np.quantile(prepare_counted(metric, rows)(counts), [0.025, 0.975])
                    held[name] += bool(low <= true[name] <= high)
            shares = "  ".join(f"{name} {true[name]:.4f}: {held[name] / SETS:6.1%}" for name in true)
            print(f"T {temperature}  {count:5,} rows  {shares}", flush=True)


if __name__ == "__main__":
    main()
