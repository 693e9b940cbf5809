"""What holds many images at once: folders, archives, TFRecords, published sets, arrays."""
