"""How fast strategies step, and how fast traces are walked: 10 levels, 6 classes, 200,000 samples made at random.

    python benchmarks/replay.py

One thread of Python. `step` is the strategy alone, on observations made beforehand; `replay` is `Trace.replay`, comparisons included.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter

import numpy as np

from mobiprox_core import plugins
from mobiprox_core.adaptation import calibrate
from mobiprox_core.interfaces import Observation, Strategy
from mobiprox_core.replays import Trace

SAMPLES, LEVELS, CLASSES, ROUNDS = 200_000, 10, 6, 5

STRATEGIES = {
    "naive": {},
    "state": {},
    "confidence": {},
    "kalman": {},
    "cascade": {},
    "guarded": {"max_loss_pp": 5, "unit": "sample"},
    "rules": {"rules": [{"when": "battery < 20 and not charging", "at_least": 4}], "then": "confidence"},
}


def random_outputs(rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """Scores of levels that get worse, float32[N, K] each, and labels that last for a while."""
    labels = np.repeat(rng.integers(0, CLASSES, SAMPLES // 50), 50)
    clear = 4 * np.eye(CLASSES, dtype=np.float32)[labels]
    return [clear + rng.standard_normal(clear.shape, dtype=np.float32) * (1 + level / 6) for level in range(LEVELS)], labels


def step_us(strategy: Strategy, observations: list[list[Observation]]) -> float:
    """Microseconds of one step, each on what the level that it chose predicts."""
    step, state, level = strategy.step, strategy.start(), 0
    start = perf_counter()
    for seen in observations:
        state, level = step(state, seen[level])
    return 1e6 * (perf_counter() - start) / len(observations)


def main() -> None:
    registry = plugins.load()
    outputs, labels = random_outputs(np.random.default_rng(0))
    known = calibrate([own[:2000] for own in outputs], labels[:2000], np.linspace(10, 2, LEVELS).tolist())
    trace = Trace.of(outputs, known, labels, surroundings=[{"battery": 0.5, "charging": False}] * SAMPLES)
    predicted, confidences = trace.predicted[:, :20_000].T.tolist(), trace.confidences[:, :20_000].T.tolist()
    observations = [
        [Observation(own, sure, level, battery=0.5, charging=False) for level, (own, sure) in enumerate(zip(*row, strict=True))]
        for row in zip(predicted, confidences, strict=True)
    ]
    print(f"{'strategy':12}{'step':>10}{'replay':>22}")
    for name, options in STRATEGIES.items():
        strategy = registry.get("strategy", name).create(options, known)
        steps, rates = [], []
        for _ in range(ROUNDS):
            steps.append(step_us(strategy, observations))
            start = perf_counter()
            trace.replay(strategy)
            rates.append(SAMPLES / (perf_counter() - start))
        print(f"{name:12}{median(steps):>7.2f} us{median(rates):>14,.0f} steps/s")


if __name__ == "__main__":
    main()
