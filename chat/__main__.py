"""The chat: ``python3 -m chat [port]``."""

import sys

from chat.server import main

if __name__ == "__main__":
    sys.exit(main())
