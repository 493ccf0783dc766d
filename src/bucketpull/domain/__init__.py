"""The pure part: vocabulary and decisions. No I/O, no clock, no asyncio, no logging.

`model`, `record` and `messages` are what is listed, stored and sent; `errors` and `retry` what can go wrong and what is done about it;
`user_input` reads what people write. The rest are decisions, one a module, of numbers in and numbers out: `placement`, `order`, `pacing`.
"""
