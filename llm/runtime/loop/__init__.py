"""One thread a device: it steps the engines and hands their results to asyncio."""
