from aiohttp import web
from service import answer


async def hello(request: web.Request) -> web.Response:
    return web.Response(text=await answer(request.match_info["who"]))


def make_app(arguments: list[str]) -> web.Application:
    app = web.Application()
    app.router.add_get("/hello/{who}", hello)
    return app
