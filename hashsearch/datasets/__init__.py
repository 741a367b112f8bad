"""Where images, labels and splits come from; one file a source."""
