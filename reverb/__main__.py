"""``python -m reverb``: the same as the command ``reverb``."""

import sys

from reverb.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
