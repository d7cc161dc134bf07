"""Makes a virtual environment, also where Debian keeps venv's half of Python in a package of its
own.

python3 scripts/make_venv.py FOLDER
"""

import importlib.util
import os
import shutil
import subprocess
import sys

LEAST = (3, 10)


def main(folder: str) -> None:
    """Create `folder`; install Debian's package first if it is missing and we may."""
    if sys.version_info < LEAST:
        found, least = sys.version.split()[0], ".".join(map(str, LEAST))
        sys.exit(f"Python {found} is too old, {least} or later is needed: make PYTHON=python3.11")
    if importlib.util.find_spec("ensurepip") is None:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        if not (shutil.which("apt-get") and os.geteuid() == 0):
            sys.exit(f"Python's venv is missing; install it as root: apt-get install {package}")
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", package], check=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
