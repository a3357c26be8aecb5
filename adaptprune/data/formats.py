r"""How a row of a data set becomes a training document: one adapter per schema of columns.

A chat is written in ChatML, each message ``<|im_start|>ROLE\nTEXT<|im_end|>\n``, and its answers
alone count in the loss, header and end included; so do the released scripts
(``utils/template.py``, ``post_training/load_dataset.py`` of github.com/research4pan/AdaptPruner at
29bb5ae8). Plain text counts as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic

from adaptprune.errors import UserError
from adaptprune.files.declared import Closed

if TYPE_CHECKING:
    from adaptprune.data.packing import Document, Piece

#: What a chat begins with that brings no system message of its own.
SYSTEM = "You are a helpful assistant."
Role = Literal["system", "user", "assistant"]
#: The prompt that models are given with and without an input; it is part of the data set
#: (``LLMPruner/utils/prompter.py`` of github.com/horseee/LLM-Pruner, after Stanford's Alpaca).
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
)


def chatml(role: Role, text: str) -> Piece:
    """Return one message of a chat; the assistant's count in the loss."""
    return f"<|im_start|>{role}\n{text}<|im_end|>\n", role == "assistant"


def _text(row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    if not isinstance(value, str):
        raise UserError(f"{column!r} holds no text")
    return value


class PlainText(Closed):
    """A column of plain text."""

    kind: Literal["text"]
    text: str = "text"

    @property
    def columns(self) -> list[str]:
        """Columns that are read, ``a.b`` for b inside a."""
        return [self.text]

    def document(self, row: dict[str, Any]) -> Document:
        """Return the document of a row.

        Raises:
            UserError: a column is missing or holds no text.
        """
        return _text(row, self.text)


class Exchange(Closed):
    """A column each for what is asked and what is answered (instruction-output, question-answer).

    Args:
        system: column of the system message; None for the usual one.
        user: column of the question.
        assistant: column of the answer.
    """

    kind: Literal["exchange"]
    system: str | None = None
    user: str
    assistant: str

    @property
    def columns(self) -> list[str]:
        """Columns that are read, ``a.b`` for b inside a."""
        return [column for column in (self.system, self.user, self.assistant) if column]

    def document(self, row: dict[str, Any]) -> Document:
        """Return the document of a row.

        Raises:
            UserError: a column is missing or holds no text.
        """
        return [
            chatml("system", _text(row, self.system) if self.system else SYSTEM),
            chatml("user", _text(row, self.user)),
            chatml("assistant", _text(row, self.assistant)),
        ]


class Messages(Closed):
    """A column with a list of messages, each with a role and a text.

    A system message is heard where it comes first; messages of other roles are left out.

    Args:
        messages: the column.
        role: key of a message's role.
        text: key of its text.
        system: name of the system's role.
        user: name of the user's role.
        assistant: name of the assistant's role.
    """

    kind: Literal["messages"]
    messages: str = "messages"
    role: str = "role"
    text: str = "content"
    system: str = "system"
    user: str = "user"
    assistant: str = "assistant"

    @property
    def columns(self) -> list[str]:
        """Columns that are read, ``a.b`` for b inside a."""
        return [f"{self.messages}.{key}" for key in (self.role, self.text)]

    def document(self, row: dict[str, Any]) -> Document:
        """Return the document of a row.

        Raises:
            UserError: a column is missing or holds no text.
        """
        messages = row.get(self.messages)
        if not isinstance(messages, list) or not all(isinstance(item, dict) for item in messages):
            raise UserError(f"{self.messages!r} holds no list of messages")
        speaks: dict[str, Role] = {self.user: "user", self.assistant: "assistant"}
        first = messages[0] if messages else {}
        heard = first.get(self.role) == self.system
        pieces = [chatml("system", _text(first, self.text) if heard else SYSTEM)]
        pieces += [
            chatml(speaks[item[self.role]], _text(item, self.text))
            for item in messages
            if item.get(self.role) in speaks
        ]
        return pieces


class Instruction(Closed):
    """Columns of an instruction, what it is about, and the answer, in the template of Alpaca.

    Args:
        instruction: column of what is to be done.
        input: column of what it is done to, an empty text where there is nothing.
        output: column of the answer.
    """

    kind: Literal["instruction"]
    instruction: str
    input: str
    output: str

    @property
    def columns(self) -> list[str]:
        """Columns that are read, ``a.b`` for b inside a."""
        return [self.instruction, self.input, self.output]

    def document(self, row: dict[str, Any]) -> Document:
        """Return the document of a row.

        Raises:
            UserError: a column is missing or holds no text.
        """
        about = _text(row, self.input)
        prompt = ALPACA_WITH_INPUT if about else ALPACA
        filled = prompt.format(instruction=_text(row, self.instruction), input=about)
        return [(filled, False), (_text(row, self.output), True)]


class Question(Closed):
    """Columns of a question and its answer, in the prompt that lm-eval's GSM8K asks in.

    Args:
        question: column of the question.
        answer: column of the answer.
    """

    kind: Literal["question"]
    question: str
    answer: str

    @property
    def columns(self) -> list[str]:
        """Columns that are read, ``a.b`` for b inside a."""
        return [self.question, self.answer]

    def document(self, row: dict[str, Any]) -> Document:
        """Return the document of a row.

        Raises:
            UserError: a column is missing or holds no text.
        """
        asked = f"Question: {_text(row, self.question)}\nAnswer:"
        return [(asked, False), (f" {_text(row, self.answer)}", True)]


Adapter = Annotated[
    PlainText | Exchange | Messages | Instruction | Question, pydantic.Field(discriminator="kind")
]
