"""The columns of fitness by name: what tables show and what a search can look for."""

from __future__ import annotations

SEED_COLUMNS = ("strength", "speed", "stability")
V4_COLUMNS = ("max_strength", "final_strength", "sample_efficiency", "training_efficiency")
RETURN_COLUMNS = ("final_return", "return_ma")
RAW_COLUMNS = (*RETURN_COLUMNS, "max_strength", "final_strength")
"""In the units of the environment's return: not to be averaged over environments."""
CORRECTED_COLUMNS = tuple(f"{name}_corrected" for name in SEED_COLUMNS + V4_COLUMNS)
SESSION_COLUMNS = ("final_return", "final_return_std", "return_ma", *SEED_COLUMNS, *V4_COLUMNS, *CORRECTED_COLUMNS)

SEED_METRICS = tuple(name for name in SESSION_COLUMNS if name != "final_return_std")
"""What each seed of a trial has by itself."""
TRIAL_METRICS = (
    *("final_return_low", "final_return_high", "consistency", "fitness"),
    *("consistency_corrected", "fitness_corrected"),
)
"""What only all seeds of a trial have together."""
METRICS = (*SEED_METRICS, *TRIAL_METRICS)
NEED_STANDARD = (*SEED_COLUMNS, *CORRECTED_COLUMNS, *TRIAL_METRICS[2:])
"""What is unknown where an environment has no standard return."""
NEED_FRAMES = ("speed", "speed_corrected", "fitness", "fitness_corrected")
"""What is unknown besides where nobody knows how many frames the standard takes."""
