"""Next to Django: a management command, as management/commands/websockets.py of an app."""

import functools
from typing import Any, Callable

from django.core.management.base import BaseCommand
from django.db import close_old_connections, connection

from ws import Client, WSServer


def with_database(callback: Callable[..., None]) -> Callable[..., None]:
    """Look after the thread's database connection, as Django does around a request."""

    @functools.wraps(callback)
    def wrapped(*arguments: Any) -> None:
        close_old_connections()
        try:
            callback(*arguments)
        finally:
            close_old_connections()

    return wrapped


class Command(BaseCommand):
    help = "Serve WebSockets"

    def handle(self, *args: Any, **options: Any) -> None:
        server = WSServer(port=8000)

        @server.onmessage
        @with_database
        def query(client: Client, message: str) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT upper(%s)", [message])
                server.send(client, cursor.fetchone()[0])

        server.run()
