"""How a conversation asks for a four-letter word."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from zkstore.admin.four_letter_words import WORDS, FourLetterWords
from zkstore.replica.conversation import Conversation, Word
from zkstore.server.config import Config
from zkstore.server.view import View

_TRACE_MASK_BYTES: Final = 8


def words_of(config: Config, view: View) -> Mapping[bytes, Word]:
    """The four-letter words of one server, in the form that conversations ask them."""
    words = FourLetterWords(view, config.four_letter_words)

    def answer(word: bytes, _: Conversation, following: bytes) -> bytes | None:
        if word == b"stmk" and len(following) < _TRACE_MASK_BYTES:
            return None
        return words.answer(word, following)

    return {word: partial(answer, word) for word in WORDS}
