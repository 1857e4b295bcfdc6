"""Classifiers on the features of an encoder that is not trained any further."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from activessf.errors import InputError
from activessf.training.held_out import Targets, pr_auc, split

log = logging.getLogger(__name__)

Features = NDArray[np.float32]
Probabilities = NDArray[np.float64]

_ITERATIONS = 1000  # of the linear classifier, at most


@dataclass(frozen=True)
class Known:
    """What a classifier learns from.

    Attributes:
        features: (n, d).
        targets: Class index of each row, (n,).
        groups: Group (patient, slide) of each row; "" = unknown.
        num_classes: Classes, also those that no row has.
        seed: Of what is drawn.
    """

    features: Features
    targets: Targets
    groups: Sequence[str]
    num_classes: int
    seed: int


class Classified(NamedTuple):
    """What a classifier says.

    Attributes:
        probabilities: (m, classes); a class that is not known has 0.
        chosen: What it has chosen by itself, for the record.
    """

    probabilities: Probabilities
    chosen: dict[str, Any]


class FeatureClassifier(Protocol):
    """Tells classes by features."""

    def classify(self, known: Known, features: Features) -> Classified:
        """Class probabilities of features, (m, d)."""
        ...


@dataclass(frozen=True)
class NearestNeighbours:
    """A vote of the nearest known features by cosine, each of weight exp(similarity / T).

    As in instance discrimination (Wu et al., CVPR 2018, arXiv 1805.01978, section 3.4) and DINO, but that features are
    standardised first, as for the linear classifier: those of a masked autoencoder share a large mean, which makes
    every cosine nearly 1 and hides what sets cells apart. The probability of a class is its share of the votes.

    Attributes:
        neighbours: How many vote; all that are known if they are fewer.
        temperature: T, above 0.
    """

    neighbours: int
    temperature: float

    def __post_init__(self) -> None:
        """Check the values, which come from a user's configuration."""
        if not (isinstance(self.neighbours, int) and self.neighbours >= 1):
            raise InputError(f"neighbours={self.neighbours} must be a whole number, 1 or more.")
        if not (isinstance(self.temperature, int | float) and self.temperature > 0):
            raise InputError(f"temperature={self.temperature} must be a number above 0.")

    def classify(self, known: Known, features: Features) -> Classified:
        """See `FeatureClassifier`."""
        classifier = knn_classifier(len(known.targets), self.neighbours, self.temperature)
        classifier.fit(known.features, known.targets)
        return Classified(_of_all_classes(classifier, features, known.num_classes), {})


@dataclass(frozen=True)
class LinearProbe:
    """Logistic regression on standardised features.

    How strongly it is regularised is chosen on a part of the known rows that is held out, by the PR-AUC; with the
    choice it is fitted to all of them.

    Attributes:
        strengths: Values of C, the inverse of the regularisation, to choose from.
        validation_share: Share of the known rows that is held out for the choice, in (0, 0.5].
    """

    strengths: Sequence[float]
    validation_share: float

    def __post_init__(self) -> None:
        """Check the values, which come from a user's configuration."""
        fit = all(isinstance(strength, int | float) and strength > 0 for strength in self.strengths)
        if not (fit and len(self.strengths)):
            raise InputError(f"strengths={list(self.strengths)} must be numbers above 0, one or more.")
        if not (isinstance(self.validation_share, int | float) and 0 < self.validation_share <= 0.5):
            raise InputError(f"validation_share={self.validation_share} must lie above 0 and up to 0.5.")

    def classify(self, known: Known, features: Features) -> Classified:
        """See `FeatureClassifier`."""
        if len(np.unique(known.targets)) == 1:
            return Classified(np.eye(known.num_classes)[np.full(len(features), known.targets[0])], {})
        strength, score = self._choice(known)
        classifier = _fitted(strength, known.features, known.targets)
        chosen = {"strength": strength, "validation_pr_auc": score}
        return Classified(_of_all_classes(classifier, _double(features), known.num_classes), chosen)

    def _choice(self, known: Known) -> tuple[float, float | None]:
        """The strength with the best PR-AUC on what is held out, the lowest of equals, and that PR-AUC."""
        strengths = sorted(self.strengths)
        parts = split(known.targets, known.groups, self.validation_share, known.seed)
        if len(strengths) == 1 or parts is None or len(np.unique(known.targets[parts.known])) == 1:
            if len(strengths) > 1:
                log.warning(
                    "%d cells are too few to hold some out; the linear probe takes C = %g without a choice.",
                    len(known.targets),
                    strengths[len(strengths) // 2],
                )
            return strengths[len(strengths) // 2], None
        held_out, truth = _double(known.features[parts.held_out]), known.targets[parts.held_out]
        found = []
        for strength in strengths:
            classifier = _fitted(strength, known.features[parts.known], known.targets[parts.known])
            found.append(pr_auc(_of_all_classes(classifier, held_out, known.num_classes), truth))
        best = int(np.argmax(found))
        return strengths[best], found[best]


def knn_classifier(num_known: int, neighbours: int, temperature: float) -> Pipeline:
    """See `NearestNeighbours`."""

    def weights(distances: NDArray[np.float64]) -> NDArray[np.float64]:
        # distance = 1 - similarity. A factor common to a query's votes changes nothing; this one keeps them above 0.
        nearest = distances.min(axis=1, keepdims=True)
        votes: NDArray[np.float64] = np.exp((nearest - distances) / temperature)
        return votes

    votes_of = KNeighborsClassifier(min(neighbours, num_known), metric="cosine", weights=weights)
    return make_pipeline(StandardScaler(), votes_of)


def linear_classifier(strength: float = 1.0) -> Pipeline:
    """See `LinearProbe`."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=_ITERATIONS))


def _fitted(strength: float, features: Features, targets: Targets) -> Pipeline:
    classifier = linear_classifier(strength)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough: what tells is the held-out part
        return classifier.fit(_double(features), targets)


def _double(features: Features) -> NDArray[np.float64]:
    return features.astype(np.float64)


def _of_all_classes(classifier: Any, features: NDArray[np.floating], num_classes: int) -> Probabilities:
    probabilities = np.zeros((len(features), num_classes))
    probabilities[:, classifier.classes_] = classifier.predict_proba(features)
    return probabilities
