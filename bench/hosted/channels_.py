"""Django Channels, with its layer in memory."""

from __future__ import annotations

from typing import Any

import django
from asgiref.sync import async_to_sync
from django.conf import settings

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
        ROOT_URLCONF=__name__,
        SECRET_KEY="bench",
    )
    django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path


class Echo(AsyncWebsocketConsumer):
    groups = ["all"]  # noqa: RUF012 -- as Channels has it

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await self.send(text_data, bytes_data)

    async def notify(self, event: dict[str, Any]) -> None:
        await self.send(event["text"])


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a page")


def notify(request: HttpRequest) -> HttpResponse:
    event = {"type": "notify", "text": request.body.decode()}
    async_to_sync(get_channel_layer().group_send)("all", event)
    return HttpResponse()


urlpatterns = [path("", page), path("notify", notify)]
application = ProtocolTypeRouter(
    {"http": get_asgi_application(), "websocket": URLRouter([path("ws", Echo.as_asgi())])}
)
