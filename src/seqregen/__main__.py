"""``python -m seqregen``: the same as the command ``seqregen``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
