"""The pure part: vocabulary and decisions. No I/O, no clock, no asyncio, no logging."""
