"""Tool Delivery (Xiao et al. 2019; Lyu et al. 2023, Section IV-A): two turtlebots and a fetch robot bring three tools
to a human in order.

Many episodes step in one call. One low-level step is a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visagent.envs.option_worlds import IDLE, OptionSpaces, OptionStep

if TYPE_CHECKING:
    from visagent.envs.parallel import OptionParallelEnv

AGENTS = ("turtlebot_0", "turtlebot_1", "fetch")
TURTLEBOTS, FETCH = (0, 1), 2
TURTLEBOT_OPTIONS = ("GoToWS", "GoToTR", "GetTool")
MOVES = ("Stay", "East", "West", "North", "South")
FETCH_OPTIONS = ("Wait", "PassTo(0)", "PassTo(1)", "Search(0)", "Search(1)", "Search(2)")
GO_TO_WORK, GO_TO_ROOM, GET_TOOL = range(3)
WAIT, PASS, SEARCH = 0, 1, 3
NOWHERE = -1
MAP_M = (7.0, 5.0)
PIXELS_PER_METRE = 100
TOOL_COLOURS = ("#56b4e9", "#f0e442", "#d55e00")
WAYPOINTS_M = np.array([[[6.0, 3.0], [2.5, 3.5], [0.8, 3.0]], [[6.0, 3.0], [2.5, 3.5], [1.2, 3.0]]])
"""Of each turtlebot: work area, the place to wait in the tool room, its spot at the table."""
STARTS_M = np.array([[3.0, 1.5], [3.0, 2.5]])
FETCH_M = (0.9, 1.8)
TOOLS, STAGED = 3, 2
STAGE_S, PASS_S, SEARCH_S = 18, 4, 6
PATIENCE_S = 10
"""Of a turtlebot that waits at the table, after the step in which it arrives."""
STEP_REWARD, FAILED_PASS_REWARD, DELIVERY_REWARD = -1.0, -10.0, 100.0
FETCH_DURATION = np.array([1, PASS_S, PASS_S, SEARCH_S, SEARCH_S, SEARCH_S])


@dataclass(frozen=True)
class ToolDeliveryWorlds:
    """Makes batches of episodes.

    Args:
        horizon: low-level steps after which an episode is truncated.
        speed: of the turtlebots, metres in a low-level step.
        primitive: agents choose low-level actions in every step instead of options: a turtlebot stays or moves by
            `speed` along an axis, the fetch robot waits or begins a pass or a search, and what it chooses until that is
            done has no effect.
    """

    horizon: int = 150
    speed: float = 0.6
    primitive: bool = False

    def __post_init__(self) -> None:
        if self.horizon < 1 or self.speed <= 0:
            raise ValueError(
                f"ToolDeliveryWorlds: expected horizon at least 1 and speed above 0, got {self.horizon} and "
                f"{self.speed}"
            )

    def spaces(self) -> OptionSpaces:
        """Two turtlebots see 13 numbers each, the fetch robot 4."""
        turtlebot = MOVES if self.primitive else TURTLEBOT_OPTIONS
        return OptionSpaces(AGENTS, (13, 13, 4), (turtlebot, turtlebot, FETCH_OPTIONS), 22)

    def primitives(self) -> ToolDeliveryWorlds:
        """See `primitive`."""
        return replace(self, primitive=True)

    def make(self, count: int) -> ToolDelivery:
        """`count` episodes."""
        return ToolDelivery(self, count)


class ToolDelivery:
    """N episodes in step; deterministic.

    Args:
        factory: that made them, with their settings.
        count: N.
    """

    def __init__(self, factory: ToolDeliveryWorlds, count: int) -> None:
        self.factory, self.count = factory, count
        spaces = factory.spaces()
        self.observation = [np.zeros((count, size), np.float32) for size in spaces.observations]
        self.always, self.nobody = np.ones((count, sum(spaces.sizes)), bool), np.zeros((count, 3), bool)
        n = count
        self.position, self.at = np.zeros((n, 2, 2)), np.zeros((n, 2), np.int64)
        self.left, self.basket = np.zeros((n, 2)), np.zeros((n, 2, TOOLS), np.int64)
        self.fetch_left, self.fetch_option = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self.fetch_busy, self.fetch_failed = np.zeros(n, bool), np.zeros(n, bool)
        self.found, self.staged = np.zeros((n, TOOLS), bool), np.zeros((n, STAGED), np.int64)
        self.ready = np.zeros((n, 2), np.float32)
        self.stage, self.human_left, self.obtained = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, bool)
        self.steps = np.zeros(n, np.int64)
        self.reset(np.ones(n, bool), range(n))

    def reset(self, which: NDArray[np.bool_], seeds: Sequence[int]) -> None:
        """Begin anew where `which` `[N]`; nothing is drawn, so that seeds play no part."""
        self.position[which], self.at[which], self.left[which] = STARTS_M, NOWHERE, 0.0
        for part in (
            self.basket,
            self.fetch_left,
            self.fetch_option,
            self.fetch_busy,
            self.fetch_failed,
            self.found,
            self.ready,
        ):
            part[which] = 0
        self.staged[which], self.stage[which], self.human_left[which] = NOWHERE, 0, STAGE_S
        self.obtained[which], self.steps[which] = False, 0
        for part in self.observation:
            part[which] = 0.0
        for robot in TURTLEBOTS:
            self.observation[robot][which, 3] = 1.0

    @property
    def state(self) -> NDArray[np.float32]:
        """`[N, 22]`: stage of the human, its time left, whether it has the tool; tools found and carried; where
        turtlebots are and wait; fetch's time left.
        """
        times = np.stack([self.human_left / STAGE_S, self.obtained, self.fetch_left / SEARCH_S], axis=1)
        position = (self.position / MAP_M).reshape(self.count, -1)
        parts = (
            np.eye(TOOLS + 1)[self.stage],
            times,
            self.found,
            self.basket.reshape(self.count, -1),
            position,
            self.left / PATIENCE_S,
        )
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def available(self) -> NDArray[np.bool_]:
        """`[N, 12]`: all options, always."""
        return self.always

    def step(self, options: NDArray[np.int64], active: NDArray[np.bool_]) -> OptionStep:
        """One low-level step.

        Args:
            options: `[N, 3]`, each agent's running one, or `IDLE` for an agent that waits for others where it is.
            active: `[N]`, the other episodes stand still.
        """
        options = np.where(active[:, None], options, IDLE)
        reward, done = STEP_REWARD * active, np.zeros((self.count, 3), bool)
        self.steps += active
        for robot in TURTLEBOTS:
            (self._drive if self.factory.primitive else self._turtlebot)(robot, options[:, robot], reward, done)
        self._fetch(options[:, FETCH], reward, done)
        terminated = active & (self.stage == TOOLS - 1) & self.obtained
        self._human(active)
        if self.factory.primitive:
            done[active] = True
        self._observe(done)
        return OptionStep(reward, done, terminated, active & ~terminated & (self.steps >= self.factory.horizon))

    @property
    def success(self) -> NDArray[np.bool_]:
        """`[N]`: all tools are delivered."""
        done: NDArray[np.bool_] = (self.stage > TOOLS - 1) | ((self.stage == TOOLS - 1) & self.obtained)
        return done

    def waiting(self) -> NDArray[np.bool_]:
        """`[N, 3]`: agents whose option goes on until another one does something: a turtlebot at the table."""
        return np.concatenate([self.left < 0, np.zeros((self.count, 1), bool)], axis=1)

    def absent(self) -> NDArray[np.bool_]:
        """`[N, 3]`: nobody."""
        return self.nobody

    def interrupt(self, which: NDArray[np.bool_]) -> None:
        """Stop options where `which` `[N, 3]`: places are kept; the progress of a pass or a search and the patience at
        the table are lost.
        """
        self.left[which[:, :FETCH] & (self.left < 0)] = 0.0
        fetch = which[:, FETCH]
        self.fetch_left[fetch], self.fetch_busy[fetch], self.fetch_failed[fetch] = 0, False, False
        self._observe(which)

    def picture(self, episode: int) -> NDArray[np.uint8]:
        """The rooms from above, 100 pixels a metre: robots with the tools that they carry, the table with those found,
        the human and its stage.
        """
        from PIL import Image, ImageDraw

        scale, (width, height) = PIXELS_PER_METRE, MAP_M
        image = Image.new("RGB", (int(width * scale), int(height * scale)), "#f7f7f2")
        draw = ImageDraw.Draw(image)

        def at(place: Sequence[float]) -> tuple[float, float]:
            return place[0] * scale, (height - place[1]) * scale

        def disc(place: Sequence[float], radius: float, colour: str, label: str = "") -> None:
            x, y = at(place)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline="black")
            draw.text((x, y), label, fill="white", anchor="mm")

        def tools(place: Sequence[float], numbers: Sequence[int]) -> None:
            x, y = at(place)
            for index, tool in enumerate(numbers):
                left = x - 18 + 22 * index
                draw.rectangle((left, y - 38, left + 18, y - 20), fill=TOOL_COLOURS[tool], outline="black")
                draw.text((left + 9, y - 29), str(tool), fill="black", anchor="mm")

        for y in range(0, image.height, 14):
            draw.line((3.5 * scale, y, 3.5 * scale, y + 7), fill="#888888", width=2)
        for place, name in zip(WAYPOINTS_M[0, :GET_TOOL], ("work area", "tool room"), strict=True):
            disc(place, 6, "#d55e00")
            draw.text(at((place[0], place[1] + 0.15)), name, fill="black", anchor="ms")
        for robot in TURTLEBOTS:
            disc(WAYPOINTS_M[robot, GET_TOOL], 4, "#888888")
        draw.rectangle((*at((0.4, 2.75)), *at((1.6, 2.2))), fill="#b58b5a", outline="black")
        tools((0.9, 2.2), [int(tool) for tool in self.staged[episode] if tool != NOWHERE])
        disc(FETCH_M, 26, "#009e73", "fetch")
        human = (6.6, 3.0)
        disc(human, 24, "#cc79a7", "human")
        waits = not self.obtained[episode] and self.stage[episode] < TOOLS
        draw.text(
            at((human[0], human[1] - 0.4)),
            f"stage {self.stage[episode]}" + (", waits" if waits else ""),
            fill="black",
            anchor="mm",
        )
        for robot in TURTLEBOTS:
            disc(self.position[episode, robot], 20, ("#0072b2", "#e69f00")[robot], f"T{robot}")
            tools(self.position[episode, robot], np.repeat(np.arange(TOOLS), self.basket[episode, robot]).tolist())
        draw.text((8, image.height - 8), f"step {self.steps[episode]}", fill="black", anchor="lb")
        return np.asarray(image)

    def close(self) -> None:
        """Nothing to give back."""

    def _turtlebot(
        self, robot: int, option: NDArray[np.int64], reward: NDArray[np.float64], done: NDArray[np.bool_]
    ) -> None:
        acts = option != IDLE
        apart = WAYPOINTS_M[robot, option] - self.position[:, robot]
        distance = np.round(np.sqrt(np.square(apart).sum(axis=1)), 2)
        arrives, moves = acts & (distance < self.factory.speed), acts & (distance >= self.factory.speed)
        left = self.left[:, robot]
        self.position[:, robot] = np.where(arrives[:, None], WAYPOINTS_M[robot, option], self.position[:, robot])
        self.position[moves, robot] += self.factory.speed * apart[moves] / distance[moves, None]
        self.at[:, robot] = np.where(arrives, option, np.where(moves, NOWHERE, self.at[:, robot]))
        left[arrives & (left >= 0)] = 0.0
        left[moves] = distance[moves] - self.factory.speed
        done[:, robot] = arrives & (option != GET_TOOL)
        waits = arrives & (option == GET_TOOL)
        left[waits] -= 1.0
        gives_up = waits & (left < -PATIENCE_S)
        left[gives_up] = 0.0
        done[gives_up, robot] = True
        self._deliver(robot, acts & (option == GO_TO_WORK) & (self.at[:, robot] == GO_TO_WORK), reward)

    def _deliver(self, robot: int, there: NDArray[np.bool_], reward: NDArray[np.float64]) -> None:
        """Give the tool that the human asks for, where a turtlebot has come with it."""
        asked = np.minimum(self.stage, TOOLS - 1)
        carries = np.take_along_axis(self.basket[:, robot], asked[:, None], axis=1)[:, 0] > 0
        gives = there & ~self.obtained & carries
        self.basket[gives, robot, asked[gives]] -= 1
        reward[gives] += DELIVERY_REWARD
        self.obtained |= gives

    def _drive(
        self, robot: int, action: NDArray[np.int64], reward: NDArray[np.float64], done: NDArray[np.bool_]
    ) -> None:
        """A low-level move; being near a place is being there."""
        moves = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]]) * self.factory.speed
        # `IDLE` is staying
        self.position[:, robot] = np.clip(self.position[:, robot] + moves[np.maximum(action, 0)], 0.0, MAP_M)
        distance = np.sqrt(np.square(WAYPOINTS_M[robot] - self.position[:, robot, None]).sum(axis=-1))
        nearest = distance.argmin(axis=1)
        self.at[:, robot] = np.where(distance.min(axis=1) < self.factory.speed, nearest, NOWHERE)
        self.left[:, robot] = np.where(self.at[:, robot] == GET_TOOL, -1.0, 0.0)
        self._deliver(robot, (action != IDLE) & (self.at[:, robot] == GO_TO_WORK), reward)

    def _fetch(self, option: NDArray[np.int64], reward: NDArray[np.float64], done: NDArray[np.bool_]) -> None:
        acts = option != IDLE
        self.fetch_left -= acts
        due = acts & (self.fetch_left <= 0)
        ends = due & self.fetch_busy
        begins = due & ~self.fetch_busy
        self.fetch_option[begins] = option[begins]
        self.fetch_left[begins] = FETCH_DURATION[option[begins]] - 1
        self.fetch_busy[begins] = option[begins] != WAIT
        done[:, FETCH] = ends | (begins & (option == WAIT))
        running = self.fetch_option
        for robot in TURTLEBOTS:
            passes, left = running == PASS + robot, self.left[:, robot]
            begin = begins & passes
            self.fetch_failed[begin] = ((self.at[:, robot] != GET_TOOL) | (left > -1))[begin]
            end = ends & passes
            good = end & ~self.fetch_failed & (left < 0)
            for n in np.flatnonzero(good & (self.staged[:, 0] != NOWHERE)):
                self.basket[n, robot, self.staged[n, 0]] += 1
                self.staged[n] = [self.staged[n, 1], NOWHERE]
            self.ready[good] = np.stack([self.staged[good, 0] != NOWHERE, np.zeros(int(good.sum()), bool)], axis=1)
            left[good] = 0.0
            done[good, robot] = True
            reward[end & ~good] += FAILED_PASS_REWARD
            self.fetch_failed[end] = False
        for n in np.flatnonzero(ends & (running >= SEARCH)):
            tool = int(running[n]) - SEARCH
            if self.staged[n, 1] == NOWHERE and not self.found[n, tool]:
                place = int(self.staged[n, 0] != NOWHERE)
                self.staged[n, place], self.found[n, tool] = tool, True
                self.ready[n] = [place == 0, place == 1]
        self.fetch_busy[ends] = False

    def _human(self, active: NDArray[np.bool_]) -> None:
        self.human_left -= active
        goes_on = active & (self.human_left <= 0) & self.obtained
        self.stage[goes_on] += 1
        self.human_left[goes_on] = STAGE_S
        self.obtained[goes_on & (self.stage < TOOLS)] = False

    def _observe(self, done: NDArray[np.bool_]) -> None:
        """Show those whose option is done what is there now; the others keep what they saw."""
        rows = np.arange(self.count)
        for robot in TURTLEBOTS:
            at, works = self.at[:, robot], (self.at[:, robot] == GO_TO_WORK)[:, None]
            seen = np.zeros((self.count, 13), np.float32)
            seen[rows, np.where(at == NOWHERE, 3, at)] = 1.0
            seen[rows, 4 + self.stage] = works[:, 0]
            seen[:, 8:11] = self.basket[:, robot]
            seen[:, 11:13] = self.ready * ~works
            self.observation[robot][done[:, robot]] = seen[done[:, robot]]
        at_table = (self.position == WAYPOINTS_M[:, GET_TOOL]).all(axis=-1).astype(np.float32)
        fetch = np.concatenate([self.ready, at_table], axis=1)
        self.observation[FETCH][done[:, FETCH]] = fetch[done[:, FETCH]]


def parallel_env(**settings: Any) -> OptionParallelEnv:
    """Tool Delivery for other libraries; see `visagent.envs.parallel.OptionParallelEnv`.

    Settings as of `ToolDeliveryWorlds`.
    """
    from visagent.envs.parallel import OptionParallelEnv

    return OptionParallelEnv(ToolDeliveryWorlds(**settings), "tool_delivery")
