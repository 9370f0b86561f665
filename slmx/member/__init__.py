"""What makes the member axis safe: hyperparameters that may vary, random streams, schedules, optimisers."""
