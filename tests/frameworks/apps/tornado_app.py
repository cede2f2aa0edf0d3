import asyncio
import sys

from service import answer
from tornado.web import Application, RequestHandler


class Hello(RequestHandler):
    async def get(self, who: str) -> None:
        self.write(await answer(who))


async def main() -> None:
    Application([("/hello/(.*)", Hello)]).listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
