"""Starts the kubelet where it cannot change the machine: three sysctls are stand-ins.

Started as ``unshare --mount --propagation unchanged python -m e2e.node.kubelet COMMAND...``. The kubelet
sets vm.overcommit_memory, kernel.panic and kernel.panic_on_oops for the whole machine unless they say
already what it wants, so they do. Only its own mount namespace gets the stand-ins: in that of the runtime
they would keep a Pod with a user namespace from mounting /proc.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

WANTED = {"vm/overcommit_memory": "1", "kernel/panic": "10", "kernel/panic_on_oops": "1"}


def main() -> None:
    """Put the stand-ins in place and become the command."""
    command = sys.argv[1:]
    subprocess.run(["mount", "--make-private", "/proc"], check=True)
    for name, value in WANTED.items():
        file = Path("/run/meshca-sysctl", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
        subprocess.run(["mount", "--bind", file, Path("/proc/sys", name)], check=True)
    os.execvp(command[0], command)  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main()
