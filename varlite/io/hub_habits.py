"""What users of the Hugging Face hub expect of a model: `from_pretrained`, `save_pretrained`, `push_to_hub`."""

from pathlib import Path
from typing import Any, ClassVar, Self


class HubHabits:
    """Three methods for models and tokenizers; varlite/checkpoints/pretrained.py does what they say.

    `card` is the card of the model's training, where there is one: `from_pretrained` sets it, `save_pretrained` makes
    the model card of it.
    """

    card: ClassVar[dict[str, Any]] = {}

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> Self:
        """A model of this class by preset, folder or repository of the hub: see `varlite.from_pretrained`."""
        import varlite

        return varlite.from_pretrained(name, cls, **options)

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Write this model into a folder that `from_pretrained` and `load` read: see `varlite.save_pretrained`."""
        import varlite

        varlite.save_pretrained(self, folder, **options)

    def push_to_hub(self, repository: str, **options: Any) -> str:
        """Bring this model to OWNER/NAME on the hub: see `varlite.push_to_hub`. Returns the address of the commit."""
        import varlite

        return varlite.push_to_hub(self, repository, **options)
