"""What Python's collector of garbage looks at.

Every so often it stops all threads and walks through everything that is there: half a million objects in a
server that has imported what it needs, which takes a third of a second every ten. In that time nobody is
answered, and live slices stand still.
"""

from __future__ import annotations

import gc


def spare_what_is_there() -> None:
    """Have the collector leave alone what there is now; to be called once, when all has been imported.

    What is no longer used is freed as before. Only what is there now, and is later held by nothing but a
    circle of references, is not: at most what a task holds that has begun meanwhile.
    """
    gc.collect()
    gc.freeze()
