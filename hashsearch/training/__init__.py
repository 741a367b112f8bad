"""Training: images to a hash network, and that to an encoder file; the home of torch."""
