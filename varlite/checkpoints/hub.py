"""The files of the published models: what they may be called, and fetching them from the hub."""

import errno
from pathlib import Path

from varlite.presets import ModelPreset, TokenizerPreset


def file_names(preset: ModelPreset | TokenizerPreset | None) -> list[str]:
    """What the file of a published model may be called: converted, which is the quicker one to open, or as it was."""
    if preset is None or preset.hub is None:
        return []
    return [str(Path(preset.hub[1]).with_suffix(".safetensors")), preset.hub[1]]


def one_of(folder: Path, preset: ModelPreset | TokenizerPreset) -> Path:
    """The file of a published model in a folder. Raises FileNotFoundError if it is not there."""
    for file in file_names(preset):
        if (folder / file).exists():
            return folder / file
    raise FileNotFoundError(f"weights: {folder} holds neither {' nor '.join(reversed(file_names(preset)))}")


def fetch(preset: ModelPreset | TokenizerPreset, revision: str | None = None) -> Path:
    """The file of a published model, from the hub or its cache. Raises OSError that says what to do."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    assert preset.hub is not None
    repository, file = preset.hub
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError) as error:
        raise FileNotFoundError(
            f"{file} could not be fetched from https://huggingface.co/{repository} and is not in the local cache "
            f"({type(error).__name__}). With the file at hand: load(name, weights='folder that holds it')."
        ) from None
    except Exception as error:  # of several libraries for the network, which share no class
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS):
            message = f"{file} cannot be kept in the hub's cache ({error}): make room, or set HF_HUB_CACHE"
            raise OSError(message) from None
        reason = (str(error).splitlines() or [""])[0]
        raise ConnectionError(
            f"the download of {file} from https://huggingface.co/{repository} was cut off ({type(error).__name__}: "
            f"{reason}): the same command goes on where it stopped"
        ) from None
