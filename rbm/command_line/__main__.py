"""``python -m rbm.command_line``, the same as ``rbm``."""

import sys

from rbm.command_line.entry import main

if __name__ == "__main__":
    sys.exit(main())
