"""Algorithms: one file each, none imports another. To add one: a file here, or `module:Class` in a spec."""

ALGORITHMS = {
    "Random": "slmx.algorithm.random:Random",
    "REINFORCE": "slmx.algorithm.reinforce:REINFORCE",
    "A2C": "slmx.algorithm.a2c:A2C",
    "PPO": "slmx.algorithm.ppo:PPO",
    "SARSA": "slmx.algorithm.sarsa:SARSA",
    "DQN": "slmx.algorithm.dqn:DQN",
    "DDPG": "slmx.algorithm.ddpg:DDPG",
    "TD3": "slmx.algorithm.td3:TD3",
    "SAC": "slmx.algorithm.sac:SAC",
    "CrossQ": "slmx.algorithm.crossq:CrossQ",
}
