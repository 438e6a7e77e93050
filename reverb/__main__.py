"""Runs the command ``reverb`` as ``python -m reverb``."""

import sys

from reverb.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
