"""Stands in for the get-pip script that ansible-test wants: the same effect from Python's own ensurepip."""

import subprocess
import sys

if __name__ == "__main__":
    options = [option for option in sys.argv[1:] if option not in ("--no-setuptools", "--no-wheel")]
    subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *options], check=True)
