"""Texts to token ids, by the tokenizer in a model's own folder."""

from pathlib import Path
from typing import Any

from vidjacobi.errors import BadCheckpoint, InvalidArgument

FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")  # one of them must be there


class Words:
    """A text tokenizer of ``transformers``, out of a folder. Nothing is fetched, no code of the folder is run.

    Raises BadCheckpoint where the folder has none that can be read.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        if not folder.exists():
            raise BadCheckpoint(f"there is no file or folder {folder}: name the one with the weights")
        self.folder = folder if folder.is_dir() else folder.parent
        if not any((self.folder / name).is_file() for name in FILES):
            raise BadCheckpoint(
                f"{self.folder} has no text tokenizer ({' or '.join(FILES[:3])}): prompts need the one that is "
                "published beside the weights"
            )
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise BadCheckpoint(f"{self.folder}: its text tokenizer cannot be read ({reason})") from error

    def __len__(self) -> int:
        return len(self.tokenizer)

    def ids(self, text: str) -> list[int]:
        """Token ids of a whole prompt, with what the tokenizer itself puts around it."""
        return list(self.tokenizer(text).input_ids)

    def token(self, attribute: str, name: str) -> str:
        """A special token by its attribute of the tokenizer, else by the name that it has in the release."""
        return str(getattr(self.tokenizer, attribute, None) or name)

    def id(self, name: str) -> int:
        """The id of a token. Raises BadCheckpoint where there is none."""
        found = self.tokenizer.convert_tokens_to_ids(name)
        if found is None or (found == self.tokenizer.unk_token_id and name != self.tokenizer.unk_token):
            raise BadCheckpoint(f"{self.folder}: its text tokenizer has no token {name}")
        return int(found)

    def special(self, attribute: str) -> int:
        """The id of the special token ``bos_token``, ``pad_token`` ... Raises BadCheckpoint where there is none."""
        name = getattr(self.tokenizer, attribute, None)
        if name is None:
            raise BadCheckpoint(f"{self.folder}: its text tokenizer names no {attribute}")
        return self.id(str(name))

    def check_plain(self, text: str) -> str:
        """The user's text, if it says something and no special token. Raises InvalidArgument."""
        if not text.strip():
            raise InvalidArgument("a prompt is empty")
        added = {index for index, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        special = {*self.tokenizer.all_special_ids, *added} - {self.tokenizer.unk_token_id}
        if found := special & set(self.tokenizer(text, add_special_tokens=False).input_ids):
            names = ", ".join(self.tokenizer.convert_ids_to_tokens(sorted(found)))
            raise InvalidArgument(
                f"the prompt {text!r:.80} holds the special token {names}, which would end it: leave it out"
            )
        return text
