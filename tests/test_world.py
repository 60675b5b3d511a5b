"""What a world of tests says of the processes that it started."""

from __future__ import annotations

import subprocess

from tests.support.world import World


def test_what_is_left_behind_is_seen_and_another_s_is_not(world: World) -> None:
    with subprocess.Popen(["sleep", "60"]) as another:
        assert another.pid not in world.processes()
        left = "sleep 61 > /dev/null & echo $!"  # its parent ends at once
        command = subprocess.run(
            ["/bin/sh", "-c", left], env=world.environment, stdout=subprocess.PIPE, text=True, check=True
        )
        pid = int(command.stdout)
        world.wait_for(lambda: world.processes() == {pid: "sleep 61"})
        assert world.processes("sleep 60") == {}
        world._others.add(str(pid))  # as if its number had been another's
        assert world.processes() == {}
        world.sweep()
        world.nothing_left()
        another.kill()
