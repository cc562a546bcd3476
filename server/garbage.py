"""When the front's cyclic garbage is collected: all of it on a clock, and not in the middle of a large request.

Left to itself the interpreter walks every object there is whenever a quarter has come new, which a large graph does
many times over, and nobody is answered meanwhile.
"""

from __future__ import annotations

import asyncio
import gc

from executor.large_pages import allocated, enlarge

THRESHOLDS = (10_000, 10, 1_000_000)
"""The young are looked at after so many new objects, the next older after ten times of that, the old on the clock."""
PAUSE_S = 60.0
START_S = 5.0  # until what is allocated at the start is allocated


async def collect_on_a_clock() -> None:
    """Take the collection of old garbage over from the interpreter; goes on until it is cancelled.

    What was allocated meanwhile comes to lie in large pages.
    """
    gc.freeze()  # what was imported stays: the collector need not walk it again and again
    gc.set_threshold(*THRESHOLDS)
    await asyncio.sleep(START_S)
    while True:
        await asyncio.to_thread(lambda: enlarge(allocated()))  # what was allocated since
        await asyncio.sleep(PAUSE_S)
        gc.collect()
