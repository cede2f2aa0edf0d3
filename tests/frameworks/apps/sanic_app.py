from sanic import HTTPResponse, Request, Sanic, text
from service import answer

app = Sanic("shop")


@app.get("/hello/<who>")
async def hello(request: Request, who: str) -> HTTPResponse:
    return text(await answer(who))
