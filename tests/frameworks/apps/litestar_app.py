from litestar import Litestar, MediaType, get
from service import answer


@get("/hello/{who:str}", media_type=MediaType.TEXT)
async def hello(who: str) -> str:
    return await answer(who)


app = Litestar([hello])
