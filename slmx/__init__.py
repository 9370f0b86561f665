"""slmx: a laboratory for deep reinforcement learning. Nothing is imported until it is needed."""
