"""Files on their way to the server, in pieces. What they hold in memory is bounded."""

from __future__ import annotations

import threading
import time
from typing import Hashable

from chat.protocol import Refused, SendFile

MAX_BYTES = 40 << 20
"""Bytes of all files on their way, each counted with its whole size: eight of the largest."""
MAX_BYTES_OF_ADDRESS = MAX_BYTES // 4
STALLED_SECONDS = 10.0
"""A file of which no piece came for this long makes room for others that need it."""
SLOW_SECONDS = 120.0
"""So does one that isn't complete after this time."""
RETRY_SECONDS = 2.0


class Upload:
    """A file of which a part is here.

    Args:
        first: The request with its first piece.
        account: Whose it is.
    """

    def __init__(self, first: SendFile, account: Hashable) -> None:
        self.first, self.account = first, account
        self.content = bytearray()
        self.began = self.progressed = time.monotonic()

    def is_late(self, now: float) -> bool:
        """Say whether it has to make room if others need it."""
        return now - self.progressed > STALLED_SECONDS or now - self.began > SLOW_SECONDS


class Uploads:
    """The files on their way, at most one from each client. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uploads: dict[Hashable, Upload] = {}

    def begin(self, client: Hashable, file: SendFile, account: Hashable) -> None:
        """Make room for a file. It replaces another one that the client has begun.

        Raises:
            Refused: Too many files are on their way.
        """
        with self._lock:
            self._uploads.pop(client, None)
            now = time.monotonic()
            for other, upload in list(self._uploads.items()):
                if self._fits(file, account):
                    break
                if upload.is_late(now):  # defence: chat-late-uploads
                    del self._uploads[other]
            if not self._fits(file, account):  # defence: chat-uploads
                text = "Many files are on their way: wait a moment."
                raise Refused("busy", text, RETRY_SECONDS)
            self._uploads[client] = Upload(file, account)

    def _fits(self, file: SendFile, account: Hashable) -> bool:
        sizes = [(upload.first.size, upload.account) for upload in self._uploads.values()]
        of_all = file.size + sum(size for size, _ in sizes)
        of_address = file.size + sum(size for size, other in sizes if other is account)
        return of_all <= MAX_BYTES and of_address <= MAX_BYTES_OF_ADDRESS

    def add(self, client: Hashable, file: SendFile) -> Upload | int:
        """Add a piece.

        Returns:
            The file if it is complete, or else how many bytes of it are here.

        Raises:
            Refused: This isn't the piece that comes next. The client has to begin again.
        """
        with self._lock:
            upload = self._uploads.pop(client, None)
            here = len(upload.content) if upload else 0
            if not upload or upload.first.id != file.id or file.start != here:
                raise Refused("piece", "The file has to be sent again.", RETRY_SECONDS)
            here += len(file.content)
            if here > upload.first.size:
                raise Refused("piece", "The file is larger than it was said to be.")
            upload.content += file.content
            upload.progressed = time.monotonic()
            if here == upload.first.size:
                return upload
            self._uploads[client] = upload
            return here

    def forget(self, client: Hashable) -> None:
        """Drop what a client has begun."""
        with self._lock:
            self._uploads.pop(client, None)
