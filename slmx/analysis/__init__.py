"""Fitness, statistics and graphs from the files of a run alone; never imports torch, so it works on old files."""
