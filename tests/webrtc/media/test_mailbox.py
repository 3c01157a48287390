"""The mailbox: order, bound, end."""

import asyncio

from webrtc.media.mailbox import Mailbox


async def test_items_come_in_order_and_end_after_closing() -> None:
    mailbox: Mailbox[int] = Mailbox(10)
    for n in range(3):
        mailbox.put(n)
    mailbox.close()
    mailbox.close()
    mailbox.put(99)
    assert [n async for n in mailbox] == [0, 1, 2]


async def test_a_stalled_reader_loses_the_oldest() -> None:
    mailbox: Mailbox[int] = Mailbox(3)
    for n in range(5):
        mailbox.put(n)
    mailbox.close()
    assert [n async for n in mailbox] == [2, 3, 4]
    assert mailbox.dropped == 2


async def test_a_waiting_reader_is_woken_by_an_item_and_by_the_end() -> None:
    mailbox: Mailbox[int] = Mailbox(3)

    async def read() -> list[int]:
        return [n async for n in mailbox]

    async with asyncio.TaskGroup() as group:
        reader = group.create_task(read())
        await asyncio.sleep(0)
        mailbox.put(1)
        await asyncio.sleep(0)
        mailbox.close()
    assert reader.result() == [1]
