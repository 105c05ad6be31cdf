"""Pretrained weights: finding, downloading and reading them."""
