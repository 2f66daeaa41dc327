"""Small models that no test of this folder changes."""

import pytest
import tiny


@pytest.fixture(scope="session")
def model():
    return tiny.lively_var()


@pytest.fixture(scope="session")
def tokenizer():
    return tiny.tiny_tokenizer()
