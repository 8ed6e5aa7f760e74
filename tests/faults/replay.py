"""python -m tests.faults.replay 7 20-39: play the scripts of these seeds; keeps the folder of one
that fails.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.faults.play import Server, memory, play
from tests.faults.script import Script


def main(seeds: list[int]) -> int:
    server, failed = Server(), []
    for seed in seeds:
        script, home, began = (
            Script.draw(seed),
            Path(tempfile.mkdtemp(prefix=f"faults-{seed}-", dir=memory())),
            time.monotonic(),
        )
        print("\n".join(script.lines()), flush=True)
        try:
            play(script, home, server)
        except Exception:
            failed.append(seed)
            print(f"FAILED, see {home}\n{traceback.format_exc(limit=-3)}", flush=True)
            server = Server()
        else:
            shutil.rmtree(home)
            print(f"passed in {time.monotonic() - began:.1f} s", flush=True)
    print(f"{len(seeds)} seeds, failed: {failed or 'none'}")
    return int(bool(failed))


if __name__ == "__main__":
    words = [word.partition("-") for word in sys.argv[1:]]
    sys.exit(main([seed for a, _, b in words for seed in range(int(a), int(b or a) + 1)]))
