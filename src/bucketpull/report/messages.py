"""What errors and notes say, in another language: matched with the catalogue, where `{}` stands for names and values.

What the operating system, a library or the source said stays as it is.
"""

from functools import lru_cache

from bucketpull.report.catalogue import patterns


@lru_cache(maxsize=1024)  # what is wrong with many files is said in the same words
def translated(text: str, language: str, *contexts: str) -> str:
    """Return a message in a language, as far as its catalogue has it; names and values stay as they are.

    Besides those of messages and reasons, texts of more `contexts` are looked for.
    """
    if language == "en":
        return text
    for pattern, said in patterns(language, "message", "reason", *contexts):
        found = pattern.fullmatch(text)
        if found:
            return said.format(*(translated(value, language, *contexts) for value in found.groups()))
    return text
