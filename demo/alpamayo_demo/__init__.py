"""A small model that really drives a synthetic road: the road, the training, the evaluation, the demo."""
