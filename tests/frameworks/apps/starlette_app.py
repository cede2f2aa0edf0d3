from service import answer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await answer(request.path_params["who"]))


app = Starlette(routes=[Route("/hello/{who}", hello)])
