"""A Home Assistant with its MQTT integration alone, for the Python that has it: home_assistant_start.py FOLDER.

Says "started" on stdout, and for each line on stdin how every entity is, with its attributes, as one JSON object; ends
when stdin ends.
"""

import asyncio
import json
import sys

from homeassistant import bootstrap, runner


async def main(folder: str) -> None:
    # No frontend, no cloud, no backups: nothing that has to do with MQTT is left out.
    bootstrap.DEFAULT_INTEGRATIONS = bootstrap.CRITICAL_INTEGRATIONS = set()
    home = await bootstrap.async_setup_hass(runner.RuntimeConfig(config_dir=folder, skip_pip=True))
    await home.async_start()
    sys.stdout.write("started\n")
    sys.stdout.flush()
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        known = {each.entity_id: [each.state, dict(each.attributes)] for each in home.states.async_all()}
        sys.stdout.write(json.dumps(known, default=str) + "\n")
        sys.stdout.flush()
    await home.async_stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
