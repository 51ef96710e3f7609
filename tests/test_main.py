from __future__ import annotations

import subprocess
import sys

from promptless import __version__


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "promptless", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"promptless {__version__}\n"
