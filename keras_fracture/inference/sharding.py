"""A long task in parts that know nothing of each other, and whose outputs together are those of the whole."""

from keras_fracture.errors import ShardError


def parse(text):
    """The pair (I, N) of "I/N"; None stays None.

    Raises:
        ShardError: It is no such text, or there is no such shard.
    """
    if text is None:
        return None
    numbers = text.split("/")
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
        raise ShardError(f"A shard is I/N, such as 1/4 for the first of four. Received: {text!r}")
    shard = tuple(map(int, numbers))
    rows(shard, shard[1], 1)
    return shard


def rows(shard, count, batch):
    """Which rows of a task are a shard's.

    Shards are cut between batches, so that every batch holds the rows it would without shards: networks round a
    little differently in other batches.

    Args:
        shard: A pair (I, N), the I-th (from 1) of N shards; None is the whole task.
        count: Rows of the task.
        batch: Rows that are computed at a time.

    Returns:
        First row, and the row after the last.

    Raises:
        ShardError: There is no such shard, or it would be empty.
    """
    number, shards = shard or (1, 1)
    batches = -(-count // batch)
    if not 1 <= number <= shards:
        raise ShardError(f"The shards of {shards} are 1 to {shards}. Received: {number}/{shards}")
    if shards > max(batches, 1):
        raise ShardError(
            f"{count:,} images, computed {batch} at a time, make at most {batches} shards. "
            f"Received: {number}/{shards}"
        )
    start, stop = (min(batches * edge // shards * batch, count) for edge in (number - 1, number))
    return start, stop
