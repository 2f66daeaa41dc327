import pytest


@pytest.fixture
def few_test_images(monkeypatch):
    """Trainings of classifiers validate on 200 images."""
    from varlite.datasets.fashion import FashionMNIST
    from varlite.training import train_classifier

    def open_few(name, split, *more):
        dataset = FashionMNIST(split)
        if split == "test":
            dataset.labels, dataset.all_images = dataset.labels[:200], dataset.all_images[:200]
        return dataset

    monkeypatch.setattr(train_classifier, "open_dataset", open_few)
