"""The demonstration's job: which classifier tells malignant from benign best?

A hyper-parameter search over scikit-learn classifiers, each judged by 5-fold cross-validation on the Wisconsin diagnostic
breast-cancer data (569 tumours, 30 measurements each; W. N. Street, W. H. Wolberg, O. L. Mangasarian, 1993), which scikit-learn
carries. This file is shipped to providers as it is: library, data and arithmetic are all inside the guest.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

MEASUREMENTS, DIAGNOSES = load_breast_cancer(return_X_y=True)

CLASSIFIERS = {
    "logistic regression": LogisticRegression,
    "support vectors": SVC,
    "nearest neighbours": KNeighborsClassifier,
    "decision tree": DecisionTreeClassifier,
    "random forest": RandomForestClassifier,
    "naive Bayes": GaussianNB,
}


def cross_validate(setting: dict[str, Any]) -> dict[str, Any]:
    """The mean and the spread of a setting's accuracy over five folds."""
    classifier = CLASSIFIERS[setting["classifier"]](**setting["parameters"])
    folds = StratifiedKFold(n_splits=5, shuffle=True, random_state=0)
    scores = cross_val_score(make_pipeline(StandardScaler(), classifier), MEASUREMENTS, DIAGNOSES, cv=folds)
    return {**setting, "accuracy": float(scores.mean()), "spread": float(scores.std())}


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
