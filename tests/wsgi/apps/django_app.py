"""The application in Django, in one file; its only user isn't in a database."""

from __future__ import annotations

import sys

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        AUTHENTICATION_BACKENDS=["tests.wsgi.apps.django_app.Backend"],
        DEBUG=True,
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        ROOT_URLCONF="tests.wsgi.apps.django_app",
        SECRET_KEY="test",
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        USE_TZ=True,
        WSGI_APPLICATION="tests.wsgi.apps.django_app.application",
    )
    django.setup()

from django.contrib.auth import login as begin_session
from django.contrib.auth import user_logged_in
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.models import User, update_last_login
from django.urls import path

from tests.wsgi.apps.shared import COOKIE, push, state

user_logged_in.disconnect(update_last_login, dispatch_uid="update_last_login")
ANN = User(pk=1, username="ann")


class Backend(BaseBackend):
    def get_user(self, user_id):
        return ANN


def upgrade(request, **options):
    answer = push.upgrade(request.environ, **options)
    return HttpResponse(answer.body, status=answer.status, headers=answer.headers)


def open_to_all(request):
    return upgrade(request)


def ws(request):
    if not request.user.is_authenticated:
        return HttpResponse(status=401)
    return upgrade(request, data={"user": request.user.username}, headers=COOKIE)


def login(request):
    begin_session(request, ANN)
    return HttpResponse()


def notify(request):
    return JsonResponse(push.sendall(request.body.decode()), safe=False)


def get_state(request):
    return JsonResponse(state())


urlpatterns = [
    path("open", open_to_all),
    path("ws", ws),
    path("login", login),
    path("notify", notify),
    path("state", get_state),
]
application = get_wsgi_application()

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
