"""``python3 chat.py [port]``: start the chat, from any folder."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # The folder above comes first, or `chat` would be this file.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from chat.cli import main

    sys.exit(main())
