"""Model folders on the Hugging Face hub: sent whole, fetched whole, checked file by file on both ends."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.errors import HTTPError as NoAnswer  # type: ignore[attr-defined]  # httpx's, or httpx2's

from memeblend.errors import HubError
from memeblend.model.folder import FILE, model_folder, read_state

_LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN."


def push(
    folder: str | Path,
    repo: str,
    *,
    private: bool = True,
    revision: str | None = None,
    token: str | None = None,
    message: str = "Add a memeblend model",
) -> str:
    """Send a model folder, or the model of a run, to a repository of the hub; files that the model does not have go.

    The repository is made if it is not there. All files come in one commit, so nobody fetches half a model.

    Args:
        folder: a model folder or a run.
        repo: name of the repository, "user/name".
        private: whether a repository that is made now is private; one that is there stays as it is.
        revision: branch to commit to, made if it is not there; the main one when left out.
        token: of the hub; the one that `hf auth login` or HF_TOKEN left when None.
        message: of the commit.

    Returns:
        Address of the commit.

    Raises:
        ModelError: the folder is not a whole memeblend model.
        HubError: the hub refuses or does not answer, or the token can't be one.
    """
    folder, token = model_folder(folder), _checked_token(token)
    files = [*read_state(folder)["files"], FILE]
    with _hub_errors(repo), warnings.catch_warnings():
        # The tables of the memes that chose are part of the model, not a data set gone astray.
        warnings.filterwarnings("ignore", "It seems that you are about to commit a data file")
        api = HfApi(token=token)
        api.create_repo(repo, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            revision=revision,
            commit_message=message,
            allow_patterns=files,
            delete_patterns="*",
        )
    return str(commit.commit_url)


def fetch(
    repo: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """Fetch a model's repository into the hub's cache.

    Args:
        repo: name of the repository, "user/name".
        revision: branch, tag or commit; the main branch when left out.
        token: of the hub; the one that `hf auth login` or HF_TOKEN left when None.
        cache_dir: where fetched files are kept; the hub's own cache when None.
        local_files_only: take what the cache holds and ask nobody.

    Returns:
        Folder of the model.

    Raises:
        HubError: there is no such repository or revision, the hub refuses or does not answer, nothing is cached, or
            the token can't be one.
    """
    token = _checked_token(token)
    with _hub_errors(repo):
        return Path(
            snapshot_download(
                repo, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
            )
        )


def _checked_token(token: str | None) -> str | None:
    """A token that can stand in a request's header, white space around it taken off as the hub's library does with the
    one that it keeps. Errors of the libraries below would show what can't be sent, so it is refused here, unshown.

    Raises:
        HubError: it is empty, or holds white space or characters that no token has.
    """
    if token is None:
        return None
    token = token.strip()
    if not token or not all("!" <= character <= "~" for character in token):
        raise HubError(
            "The token is none of the hub's: it is empty, or holds blanks or characters other than ASCII.",
            fix="Give the token alone, as the hub shows it (hf_...), or leave it out and log in with `hf auth login`.",
        )
    return token


@contextmanager
def _hub_errors(repo: str) -> Iterator[None]:
    """What the hub's library raises, as sentences.

    Raises:
        HubError: in its place.
    """
    where = f"'{repo}' at {constants.ENDPOINT}"
    try:
        yield
    except HFValidationError as error:
        raise HubError(
            f"'{repo}' is no name of a repository: {error}.", fix="Names look like user/name; a folder must exist."
        ) from error
    except GatedRepoError as error:
        raise HubError(f"Access to {where} must be asked for first.", fix=_LOG_IN) from error
    except RepositoryNotFoundError as error:
        raise HubError(f"There is no {where}, or you may not see it.", fix=f"Check the name. {_LOG_IN}") from error
    except RevisionNotFoundError as error:
        raise HubError(f"The model {where} has no such revision.") from error
    except LocalTokenNotFoundError as error:
        raise HubError(f"Who writes to {where} must be logged in.", fix=_LOG_IN) from error
    except OfflineModeIsEnabled as error:
        raise HubError(f"{where} was not asked, since HF_HUB_OFFLINE is set.", fix="Unset it.") from error
    except LocalEntryNotFoundError as error:
        raise HubError(
            f"The model {where} is not in the cache, and the hub could not be asked.",
            fix="Check the connection, or fetch it once while there is one.",
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        fix = _LOG_IN if status in (401, 403) else ""
        raise HubError(f"The hub answered {status} for {where}: {error.server_message or error}.", fix=fix) from error
    except (NoAnswer, OSError, RuntimeError) as error:  # no connection, cut off, no space; an upload that failed
        raise HubError(f"The model {where} could not be reached: {error.__cause__ or error}.") from error
