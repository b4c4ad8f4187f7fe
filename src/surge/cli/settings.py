"""What the demonstration searches: settings of scikit-learn classifiers."""

from __future__ import annotations

from itertools import product
from typing import Any


def settings() -> list[dict[str, Any]]:
    """The 60 settings searched."""
    found: list[dict[str, Any]] = []

    def add(classifier: str, **choices: list[Any]) -> None:
        for values in product(*choices.values()):
            found.append({"classifier": classifier, "parameters": dict(zip(choices, values, strict=True))})

    add("logistic regression", C=[0.001, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0], max_iter=[1000])
    add("support vectors", C=[0.1, 1.0, 3.0, 10.0, 30.0], kernel=["linear", "rbf", "poly", "sigmoid"])
    add("nearest neighbours", n_neighbors=[3, 5, 9, 15, 25], weights=["uniform", "distance"])
    add("decision tree", max_depth=[2, 3, 4, 6, None], criterion=["gini", "entropy"], random_state=[0])
    add("random forest", n_estimators=[10, 20, 40], max_depth=[3, None], max_features=["sqrt"], random_state=[0])
    add("naive Bayes", var_smoothing=[1e-9, 1e-7, 1e-5, 1e-3, 1e-2, 1e-1])
    return found
