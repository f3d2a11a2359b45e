"""In Django: a view that takes WebSockets. Serve it with `python3 django_view.py runserver`."""

import sys
from typing import Any

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from ws import Client, WSServer

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], DEBUG=True, SECRET_KEY="change me")
push = WSServer(port=None)


@push.onmessage
def say(client: Client, message: str) -> None:
    push.sendall(f"{client.data['user']}: {message}")


def ws(request: HttpRequest) -> HttpResponse:
    user = request.GET.get("user")  # where there are sessions: request.user
    if not user:
        return HttpResponse("who are you?\n", status=401)
    answer = push.upgrade(request.environ, data={"user": user})
    return HttpResponse(answer.body, status=answer.status, headers=answer.headers)


def notify(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"delivered": push.sendall(request.GET["text"])})


urlpatterns: Any = [path("ws", ws), path("notify", notify)]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
