"""Small models that no test of this folder changes."""

import examples
import pytest


@pytest.fixture(scope="session")
def model():
    return examples.lively_var()


@pytest.fixture(scope="session")
def tokenizer():
    return examples.tiny_tokenizer()
