"""A world of one's own, as gymnasium has them: a cart is pushed to the middle of a track."""

import gymnasium
import numpy as np


class Track(gymnasium.Env):
    """Sees place and speed, and is pushed left, not at all, or right."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = np.array([self.np_random.uniform(-1, 1), 0.0], np.float32)
        return self.state.copy(), {}

    def step(self, action):
        self.state[1] = 0.9 * self.state[1] + 0.05 * (action - 1)
        self.state[0] += self.state[1]
        return self.state.copy(), 1.0 - abs(float(self.state[0])), False, False, {}


gymnasium.register("Track-v0", Track, max_episode_steps=50)
