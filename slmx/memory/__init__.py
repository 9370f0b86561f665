"""Memories: what an agent keeps of its steps, `[M, ...]`. To add one: a file here, or `module:Class` in a spec."""

MEMORIES = {
    "Rollout": "slmx.memory.rollout:Rollout",
    "Episodes": "slmx.memory.episodes:Episodes",
    "Replay": "slmx.memory.replay:Replay",
    "PrioritizedReplay": "slmx.memory.prioritized:PrioritizedReplay",
    "FrameReplay": "slmx.memory.frames:FrameReplay",
    "PrioritizedFrameReplay": "slmx.memory.frames:PrioritizedFrameReplay",
    "SequenceReplay": "slmx.memory.sequence:SequenceReplay",
    "PrioritizedSequenceReplay": "slmx.memory.sequence:PrioritizedSequenceReplay",
}
