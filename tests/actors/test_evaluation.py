"""Films of episodes."""

from __future__ import annotations

import pytest

from visagent.actors.evaluation import Film
from visagent.errors import UserError
from visagent.networks.uniform import UniformPolicy
from visagent.testing.worlds import CountingWorlds


@pytest.mark.process
def test_a_film_that_cannot_be_made_says_why(tmp_path):
    """Whatever the other process dies of; a finished training must not fail with it."""
    worlds = CountingWorlds(9, fails_at=3)
    film = Film(UniformPolicy(worlds.spaces()), worlds, 0, True)
    with pytest.raises(
        UserError, match=r"film\.mp4 could not be drawn and written \(RuntimeError: the world is broken\)"
    ):
        film.make(tmp_path / "film.mp4")
