"""``python3 -m chat [port]``: start the chat."""

import sys

from chat.cli import main

if __name__ == "__main__":
    sys.exit(main())
