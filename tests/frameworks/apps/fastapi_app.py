from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from service import answer

app = FastAPI(default_response_class=PlainTextResponse)


@app.get("/hello/{who}")
async def hello(who: str) -> str:
    return await answer(who)
