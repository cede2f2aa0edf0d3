from quart import Quart
from service import answer

app = Quart(__name__)


@app.get("/hello/<who>")
async def hello(who: str) -> str:
    return await answer(who)
