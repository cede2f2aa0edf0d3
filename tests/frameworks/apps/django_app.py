import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from service import answer

settings.configure(
    SECRET_KEY="made up",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
)
django.setup()


async def hello(request: HttpRequest, who: str) -> HttpResponse:
    return HttpResponse(await answer(who))


urlpatterns = [path("hello/<str:who>", hello)]
app = get_asgi_application()
