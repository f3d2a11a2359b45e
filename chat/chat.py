"""``python3 chat.py [port]``: start the chat, from any folder."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Put the folder above first, so that `chat` is the package and not this file.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from chat.cli import main

    sys.exit(main())
