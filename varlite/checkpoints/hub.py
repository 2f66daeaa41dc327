"""The hub: what the files of the published models may be called, fetching files from there, and bringing them there."""

import errno
from pathlib import Path
from typing import Any

from varlite.presets import ModelPreset, TokenizerPreset


def file_names(preset: ModelPreset | TokenizerPreset | None) -> list[str]:
    """What the file of a published model may be called: converted, which is the quicker one to open, or as it was.

    One in a sub-folder of its repository may lie in the folder itself.
    """
    if preset is None or preset.hub is None:
        return []
    places = dict.fromkeys((Path(preset.hub[1]), Path(Path(preset.hub[1]).name)))
    return [str(path) for place in places for path in (place.with_suffix(".safetensors"), place)]


def terms(preset: ModelPreset) -> str:
    """Licence, source, settings and FID of published weights, in a line; "" for a preset that does not know them."""
    if preset.hub is None or preset.origin is None:
        return ""
    licence, paper, sampling = preset.origin[2:]
    return f"{licence}; https://huggingface.co/{preset.hub[0]} ({paper}); FID {preset.fid:.2f} at {sampling}"


def one_of(folder: Path, preset: ModelPreset | TokenizerPreset) -> Path:
    """The file of a published model in a folder. Raises FileNotFoundError if it is not there."""
    for file in file_names(preset):
        if (folder / file).exists():
            return folder / file
    raise FileNotFoundError(f"weights: {folder} holds neither {' nor '.join(reversed(file_names(preset)))}")


def fetch(preset: ModelPreset | TokenizerPreset, revision: str | None = None) -> Path:
    """The file of a published model, from the hub or its cache. Raises OSError that says what to do."""
    assert preset.hub is not None
    return fetch_file(*preset.hub, revision, hint="With the file at hand: load(name, weights='folder that holds it').")


def fetch_file(
    repository: str, file: str, revision: str | None = None, token: str | None = None, hint: str = ""
) -> Path:
    """A file of a repository, from the hub or its cache. Raises OSError that says what went wrong, then the `hint`."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    given: dict[str, Any] = {} if token is None else {"token": token}
    try:
        return Path(hf_hub_download(repository, file, revision=revision, **given))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError) as error:
        raise FileNotFoundError(
            f"{file} could not be fetched from https://huggingface.co/{repository} and is not in the local cache "
            f"({type(error).__name__}). {hint}".rstrip()
        ) from None
    except Exception as error:  # of several libraries for the network, which share no class
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS):
            message = f"{file} cannot be kept in the hub's cache ({error}): make room, or set HF_HUB_CACHE"
            raise OSError(message) from None
        raise ConnectionError(
            f"the download of {file} from https://huggingface.co/{repository} was cut off ({type(error).__name__}: "
            f"{first_line(error)}): the same command goes on where it stopped"
        ) from None


def upload(
    folder: Path,
    repository: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    message: str = "Upload with varlite",
) -> str:
    """Make the files of a folder one commit of a repository, which is created if need be: the address of the commit.

    private: None is public, unless the organisation's rule is another. revision: the branch, by default main.
    Raises OSError, in one line, for what the hub refuses; ValueError for a name that cannot be a repository's.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    api = HfApi(token=token)
    try:
        name = api.create_repo(repository, private=private, exist_ok=True).repo_id
        return str(api.upload_folder(repo_id=name, folder_path=folder, commit_message=message, revision=revision))
    except HFValidationError as error:
        raise ValueError(f"repository: {first_line(error)}") from None
    except LocalTokenNotFoundError:
        raise OSError("the hub wants to know who you are: `hf auth login`, or set HF_TOKEN") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "?")
        advice = "; `hf auth login`, or set HF_TOKEN to one that may write" * (status in (401, 403))
        raise OSError(f"the hub refused {repository} (status {status}: {first_line(error)}){advice}") from None


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
