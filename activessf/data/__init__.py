"""Sources of labeled cells and slides, folds, and the datasets that training reads."""
