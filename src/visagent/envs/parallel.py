"""PettingZoo's parallel environments both ways: worlds of options for other libraries, and others' environments with
options of one's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from visagent.envs.border import WorldError, described, failed, finite, finite_copy, fitting
from visagent.envs.option_worlds import IDLE, OptionSpaces, OptionStep, OptionWorldFactory
from visagent.errors import ConfigError


class OptionParallelEnv(ParallelEnv[str, NDArray[np.float32], int]):
    """A world of options as a parallel environment: one `step` is one low-level step, given each agent's option.

    An agent whose option goes on keeps it whatever is given, or if nothing is. `infos[agent]` says `option_done`,
    whether the agent is to choose next, `option`, the one that ran in this step, and `action_mask`, what it may choose.
    Observations are those of the world: of most worlds, made anew when an option ends.

    Args:
        worlds: makes the world.
        name: of the environment.
    """

    metadata = {"render_modes": ["rgb_array"], "name": "options"}
    render_mode = "rgb_array"

    def __init__(self, worlds: OptionWorldFactory, name: str) -> None:
        self.spaces = worlds.spaces()
        self.metadata = {**type(self).metadata, "name": name}
        self.possible_agents = list(self.spaces.agents)
        self.agents: list[str] = []
        self.world = worlds.make(1)
        self._running = np.zeros((1, len(self.possible_agents)), np.int64)
        self._done = np.ones((1, len(self.possible_agents)), bool)
        low, high = np.finfo(np.float32).min, np.finfo(np.float32).max
        self._observed = {
            a: gymnasium.spaces.Box(low, high, (size,), np.float32)
            for a, size in zip(self.possible_agents, self.spaces.observations, strict=True)
        }
        if self.spaces.state:
            self.state_space = gymnasium.spaces.Box(low, high, (self.spaces.state,), np.float32)
        self._chosen = {
            a: gymnasium.spaces.Discrete(size) for a, size in zip(self.possible_agents, self.spaces.sizes, strict=True)
        }

    def observation_space(self, agent: str) -> gymnasium.Space[Any]:
        return self._observed[agent]

    def action_space(self, agent: str) -> gymnasium.Space[Any]:
        return self._chosen[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, dict[str, Any]]]:
        self.agents = list(self.possible_agents)
        self.world.reset(
            np.ones(1, bool), [int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed]
        )
        self._done[:] = True
        return self._observations(), self._infos()

    def step(self, actions: dict[str, int]) -> tuple[Any, Any, Any, Any, Any]:
        if not self.agents:
            raise ValueError("step: the episode is over or has not begun; call reset first")
        missing = [
            agent
            for agent, done in zip(self.possible_agents, self._done[0], strict=True)
            if done and agent not in actions
        ]
        if missing:
            raise ValueError(f"step: expected an option of each agent that is to choose, got none of {missing}")
        given = np.array([[actions.get(agent, 0) for agent in self.possible_agents]], np.int64)
        sizes = np.array(self.spaces.sizes)
        if ((given < 0) | (given >= sizes)).any():
            raise ValueError(f"step: expected options from 0 to below {sizes.tolist()}, got {given[0].tolist()}")
        self._running = np.where(self._done, given, self._running)
        step = self.world.step(self._running, np.ones(1, bool))
        self._done = step.done
        returned = (
            self._observations(),
            {agent: float(step.reward[0]) for agent in self.agents},
            {agent: bool(step.terminated[0]) for agent in self.agents},
            {agent: bool(step.truncated[0]) for agent in self.agents},
            self._infos(),
        )
        if step.terminated[0] or step.truncated[0]:
            self.agents = []
        return returned

    def _observations(self) -> dict[str, NDArray[np.float32]]:
        return {agent: part[0].copy() for agent, part in zip(self.possible_agents, self.world.observation, strict=True)}

    def _infos(self) -> dict[str, dict[str, Any]]:
        masks = np.split(self.world.available()[0], np.cumsum(self.spaces.sizes)[:-1])
        return {
            agent: {
                "option_done": bool(self._done[0, index]),
                "option": int(self._running[0, index]),
                "action_mask": masks[index].astype(np.int8),
            }
            for index, agent in enumerate(self.possible_agents)
        }

    def state(self) -> NDArray[np.float32]:
        """`[S]`, what the agents do not see."""
        state: NDArray[np.float32] = self.world.state[0]
        return state

    def render(self) -> NDArray[np.uint8]:
        return self.world.picture(0)

    def close(self) -> None:
        self.world.close()


class Option(Protocol):
    """A way to act that lasts: what it does follows from what its agent sees and how long it has lasted."""

    @property
    def name(self) -> str:
        """The option's name."""
        ...

    def available(self, observation: Any) -> bool:
        """Whether it may begin here."""
        ...

    def act(self, observation: Any, elapsed: int) -> Any:
        """The low-level action after `elapsed` steps of it."""
        ...

    def ends(self, observation: Any, elapsed: int) -> bool:
        """Whether it ends after `elapsed` steps, at least one."""
        ...


@dataclass(frozen=True)
class Primitive:
    """One low-level action for one step.

    Attributes:
        name: of the action.
        action: as the environment takes it.
    """

    name: str
    action: Any

    def available(self, observation: Any) -> bool:
        return True

    def act(self, observation: Any, elapsed: int) -> Any:
        return self.action

    def ends(self, observation: Any, elapsed: int) -> bool:
        return True


@dataclass(frozen=True)
class ParallelWorlds:
    """Any parallel environment with a set of options, as worlds that the schemes and the learner take.

    The agents' rewards are averaged; an episode is over when none is left. An agent that is not there acts and chooses
    nothing; it may come late, leave before the end and come back.

    Args:
        env: makes the environment; importable, so that it reaches other processes.
        options: of each agent; at least one is available anywhere.
        idle: the action of an agent that waits for others (scheme `sync_wait`); none where there is no such action.
    """

    env: Callable[[], Any]
    options: Mapping[str, Sequence[Option]]
    idle: Mapping[str, Any] | None = None

    def spaces(self) -> OptionSpaces:
        """Observations, and the environment's `state` where it has one, are flattened (`gymnasium.spaces.flatten`)."""
        with closing(self.env()) as env:
            agents = self._agents(env)
            if set(agents) != set(self.options):
                raise ConfigError(
                    f"options: expected some of each agent of {list(agents)}, got those of {list(self.options)}"
                )
            sizes = tuple(gymnasium.spaces.flatdim(env.observation_space(agent)) for agent in agents)
            space = getattr(env, "state_space", None)
        if self.idle is not None and set(self.idle) != set(agents):
            raise ConfigError(
                f"idle: expected an action of each agent of {list(agents)}, got those of {list(self.idle)}"
            )
        for agent in agents:
            if not self.options[agent]:
                raise ConfigError(f"options: expected at least one of {agent}, got none")
        options = tuple(tuple(option.name for option in self.options[agent]) for agent in agents)
        return OptionSpaces(agents, sizes, options, 0 if space is None else gymnasium.spaces.flatdim(space))

    @property
    def name(self) -> str:
        """Its name in messages."""
        function: Any = self.env.func if isinstance(self.env, functools.partial) else self.env
        return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"

    def _agents(self, env: Any) -> tuple[str, ...]:
        """All that may ever be there; an environment may know them only after it was reset."""
        if not getattr(env, "possible_agents", None):
            env.reset(seed=0)
        agents = tuple(getattr(env, "possible_agents", None) or env.agents)
        if not agents:
            raise WorldError(f"{self.name}: expected possible_agents, or agents after reset, got none")
        return agents

    def make(self, count: int) -> ParallelWorld:
        """`count` environments."""
        return ParallelWorld(self, count)

    def primitives(self) -> ParallelWorlds:
        """The environment's own actions.

        Raises:
            ConfigError: where they are not discrete.
        """
        options: dict[str, list[Option]] = {}
        with closing(self.env()) as env:
            for agent in self._agents(env):
                space = env.action_space(agent)
                if not isinstance(space, gymnasium.spaces.Discrete):
                    raise ConfigError(
                        f"datamodule.scheme=end2end: expected discrete actions, got {space} of {agent}; use another "
                        "scheme"
                    )
                options[agent] = [
                    Primitive(str(action), action) for action in range(int(space.start), int(space.start + space.n))
                ]
        return replace(self, options=options)


class ParallelWorld:
    """N parallel environments, stepped one after the other.

    Args:
        factory: that made them, with their settings.
        count: N.
    """

    success: NDArray[np.bool_] | None = None

    def __init__(self, factory: ParallelWorlds, count: int) -> None:
        self.factory, self.count, spaces = factory, count, factory.spaces()
        self.envs: list[Any] = []
        try:
            for _ in range(count):
                self.envs.append(factory.env())
        except BaseException:
            self.close()
            raise
        self.agents, self.sizes = spaces.agents, spaces.sizes
        self.flat = {agent: self.envs[0].observation_space(agent) for agent in self.agents}
        self.observation = [np.zeros((count, size), np.float32) for size in spaces.observations]
        self.seen: list[dict[str, Any]] = [{} for _ in range(count)]
        self.elapsed, self.gone = (
            np.zeros((count, len(self.agents)), np.int64),
            np.zeros((count, len(self.agents)), bool),
        )
        self.state = np.zeros((count, spaces.state), np.float32)

    def reset(self, which: NDArray[np.bool_], seeds: Sequence[int]) -> None:
        """Begin anew where `which` `[N]`."""
        for n, seed in zip(np.flatnonzero(which), seeds, strict=True):
            returned = self._returned(
                "reset", functools.partial(self.envs[n].reset, seed=seed % 2**32), "(observations, infos)", 2
            )
            self.gone[n], self.seen[n] = self._away(n, returned[0], "reset"), dict(returned[0])
            if self.gone[n].all():
                raise WorldError(f"{self.factory.name}: expected agents after reset, got none")
            self._show_state(n)
        self.elapsed[which] = 0
        for shown in self.observation:
            shown[which] = 0.0
        self._observe(which[:, None] & ~self.gone, "reset")

    def _returned(self, what: str, call: Callable[[], Any], expected: str, count: int) -> tuple[Any, ...]:
        try:
            returned = call()
        except Exception as error:
            raise failed(self.factory.name, what, error) from error
        if (
            not isinstance(returned, tuple)
            or len(returned) != count
            or not all(isinstance(part, Mapping) for part in returned)
        ):
            got = described(returned)
            raise WorldError(
                f"{self.factory.name}: expected {what} to return {expected}, each a dict by agent, as PettingZoo's "
                f"parallel environments do; got {got}"
            )
        return returned

    def _away(self, n: int, shown: Mapping[str, Any], what: str) -> NDArray[np.bool_]:
        """`[n]`: which agents are not there; of each that is, something must be shown."""
        here = list(self.envs[n].agents)
        wrong = [name for name in here if name not in self.agents]
        if wrong:
            raise WorldError(
                f"{self.factory.name}: expected agents out of {list(self.agents)}, its possible_agents, got {wrong} in "
                f"{what}"
            )
        missing = [name for name in here if name not in shown]
        if missing:
            raise WorldError(f"{self.factory.name}: expected observations of {here} in {what}, got none of {missing}")
        return np.array([name not in here for name in self.agents])

    def _show_state(self, n: int) -> None:
        """What the environment's `state()` says; after the last agent has left, what it said before."""
        env = self.envs[n]
        if self.state.shape[1] and env.agents:
            self.state[n] = self._flat(env.state_space, env.state(), "state", self.state.shape[1], "state()")

    def _observe(self, which: NDArray[np.bool_], where: str) -> None:
        for n, agent in zip(*np.nonzero(which), strict=True):
            name, shown = self.agents[agent], self.observation[agent]
            shown[n] = self._flat(self.flat[name], self.seen[n][name], f"observation of {name}", shown.shape[1], where)

    def _flat(self, space: gymnasium.Space[Any], value: Any, part: str, size: int, where: str) -> NDArray[Any]:
        try:
            flat: Any = gymnasium.spaces.flatten(space, value)
        except (ValueError, TypeError, KeyError, IndexError, AssertionError) as error:
            raise WorldError(
                f"{self.factory.name}: expected {part} in {space}, got {described(value)} in {where} ({error})"
            ) from error
        return finite_copy(self.factory.name, fitting(self.factory.name, flat, part, (size,), where), part, where)

    def available(self) -> NDArray[np.bool_]:
        """`[N, m]`, as each option says of what its agent sees; all of an agent that is not there."""
        rows = zip(self.seen, self.gone, strict=True)
        return np.array(
            [
                [
                    gone[i] or option.available(seen[name])
                    for i, name in enumerate(self.agents)
                    for option in self.factory.options[name]
                ]
                for seen, gone in rows
            ]
        )

    def waiting(self) -> NDArray[np.bool_]:
        """`[N, n]`: nobody."""
        return np.zeros_like(self.gone)

    def absent(self) -> NDArray[np.bool_]:
        """`[N, n]`: agents that are not among the environment's `agents`."""
        return self.gone

    def interrupt(self, which: NDArray[np.bool_]) -> None:
        """Stop options where `which` `[N, n]`."""
        self.elapsed[which] = 0
        self._observe(which, "step")

    def step(self, options: NDArray[np.int64], active: NDArray[np.bool_]) -> OptionStep:
        """One step of the environments `active` `[N]` with the options `[N, n]`."""
        reward, done = np.zeros(self.count), np.zeros((self.count, len(self.agents)), bool)
        terminated, truncated, left = np.zeros(self.count, bool), np.zeros(self.count, bool), np.zeros_like(self.gone)
        for n in np.flatnonzero(active):
            env, seen = self.envs[n], self.seen[n]
            here = [(agent, name) for agent, name in enumerate(self.agents) if not self.gone[n, agent]]
            actions = {
                name: self._action(name, int(options[n, agent]), seen[name], int(self.elapsed[n, agent]))
                for agent, name in here
            }
            expected = "(observations, rewards, terminations, truncations, infos)"
            shown, rewards, ended, cut, _ = self._returned("step", functools.partial(env.step, actions), expected, 5)
            away, before = self._away(n, shown, "step"), self.gone[n].copy()
            seen.update(shown)
            reward[n] = sum(finite(self.factory.name, paid) for paid in rewards.values()) / len(self.agents)
            left[n] = away & ~before
            self.gone[n] = away if env.agents else before  # the end of an episode finds those there who were
            for agent, name in here:
                if options[n, agent] == IDLE:
                    continue
                self.elapsed[n, agent] += 1
                ends = self.factory.options[name][options[n, agent]].ends(seen[name], int(self.elapsed[n, agent]))
                done[n, agent] = ends and not away[agent]
            done[n] |= before & ~away  # who comes is to choose
            if not env.agents:
                truncated[n] = any(cut.get(name) and not ended.get(name) for _, name in here)
                terminated[n] = not truncated[n]
            self._show_state(n)
        self.elapsed[done] = 0
        self._observe(done | left, "step")
        return OptionStep(reward, done, terminated, truncated)

    def _action(self, name: str, option: int, seen: Any, elapsed: int) -> Any:
        if option != IDLE:
            return self.factory.options[name][option].act(seen, elapsed)
        if self.factory.idle is None:
            raise ConfigError(
                "datamodule.scheme=sync_wait: expected an action for agents that wait, ParallelWorlds(idle=...), got "
                "none; use another scheme"
            )
        return self.factory.idle[name]

    def picture(self, episode: int) -> NDArray[np.uint8]:
        """What the environment renders; its render mode is `rgb_array`."""
        drawn = self.envs[episode].render()
        if not isinstance(drawn, np.ndarray) or drawn.ndim != 3 or drawn.shape[2] != 3:
            raise WorldError(
                f"{self.factory.name}: expected render() to return a picture [H, W, 3], got {described(drawn)}; type "
                "datamodule.film_episodes=0"
            )
        return drawn.astype(np.uint8, copy=False)

    def close(self) -> None:
        """Close all environments, even if one cannot be closed."""
        with ExitStack() as stack:
            for env in self.envs:
                stack.callback(env.close)
