"""One reader per file format, each giving Keras paths to unread tensors."""
