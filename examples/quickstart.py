"""A processor, and a producer for it: the companion of quickstart.yaml.

queueworker work emails --module examples.quickstart     # run the processor
python -m examples.quickstart                            # put 100 jobs on its queue
"""

import asyncio

from pydantic import BaseModel

from queueworker import Job, Priority, Queue
from queueworker_worker import processor


class Email(BaseModel):
    to: str
    subject: str


@processor("emails")
async def send(email: Email) -> str:
    # Where a mail server would be asked, with an id of the mail: after a fault a processor may run twice.
    await asyncio.sleep(0.1)
    return f"{email.subject!r} sent to {email.to}"


async def produce() -> None:
    emails = [Email(to=f"user{number}@example.org", subject="Hello") for number in range(100)]
    async with Queue("emails") as queue:
        added = await queue.enqueue_many([Job.create("send", email, priority=Priority.NORMAL) for email in emails])
        print(f"{sum(one.added for one in added)} jobs added to {queue.name} at {queue.address}")


if __name__ == "__main__":
    asyncio.run(produce())
