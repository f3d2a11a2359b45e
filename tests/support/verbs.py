"""What a message may ask an application to do, the same in every server under attack."""

from __future__ import annotations

import time


def reply(message: str | bytes) -> str | bytes:
    """Do what a message asks for, and return the reply; any other message is its own reply.

    compute:SECONDS    compute in Python for as much CPU time
    sleep:SECONDS      block, as a query does
    big:LENGTH         reply with a text of this many characters
    length:...         reply with the message's length
    """
    verb, _, rest = message.partition(":") if isinstance(message, str) else ("", "", "")
    if verb == "compute":
        compute(float(rest))
    elif verb == "sleep":
        time.sleep(float(rest))
    elif verb == "big":
        return "x" * int(rest)
    elif verb == "length":
        return str(len(message))
    return message


async def reply_async(message: str | bytes) -> str | bytes:
    """Do the same on an event loop, which leaves to threads what blocks, but not what computes."""
    if isinstance(message, str) and message.startswith("sleep:"):
        import asyncio  # servers without an event loop don't pay for it

        return await asyncio.get_event_loop().run_in_executor(None, reply, message)
    return reply(message)


def compute(seconds: float) -> None:
    """Use CPU time in this thread, and hold the interpreter's lock as ordinary code does."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
