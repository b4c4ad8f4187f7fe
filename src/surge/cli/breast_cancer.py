"""The demonstration's job: which classifier tells malignant from benign best?

A hyper-parameter search over scikit-learn classifiers, each judged by 5-fold cross-validation on the Wisconsin diagnostic
breast-cancer data (569 tumours, 30 measurements each; W. N. Street, W. H. Wolberg, O. L. Mangasarian, 1993), which scikit-learn
carries. This file is shipped to providers as it is: library, data and arithmetic are all inside the guest.
"""

from __future__ import annotations

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
